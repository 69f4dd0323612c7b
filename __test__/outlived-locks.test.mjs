/** A release without an owner frees what its process was given, or nothing: never the lock of whoever came after a lapsed one. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { refusal } from "./support/errors.mjs";
import { OldProvider } from "./support/old-provider.mjs";
import { Locks } from "./support/product.mjs";
import { redisServer } from "./support/redis.mjs";
import { until } from "./support/waiting.mjs";

const SHORT = 0.2;
const LONG = 60;

const lapsed = (locks, key) => until(async () => (await locks.inspect(key)).length === 0, `"${key}" has lapsed`);
const isHeld = async (locks, key) => (await locks.inspect(key)).length === 1;

/** The warnings of this package until the test ends. */
function warningsOf(t) {
  const warnings = [];
  const note = (warning) => warning.name === "LockWarning" && warnings.push(warning);
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  return warnings;
}

onEachBackend("a lock without an owner that has lapsed", (backend) => {
  let one, other;
  beforeEach(() => {
    const options = { namespace: freshNamespace() };
    [one, other] = [backend.locks(options), backend.locks(options)];
  });

  test("is not released any more: its successor keeps the key, and a warning says how late the release was", async (t) => {
    const warnings = warningsOf(t);
    await one.acquire("k", { expire: SHORT });
    await lapsed(one, "k");
    await other.acquire("k", { expire: LONG });
    assert.equal(await one.release("k"), false);
    assert.ok(await isHeld(other, "k"));
    await assert.rejects(one.acquire("k"), { message: refusal("k") });
    await until(() => warnings.length > 0, "the warning");
    assert.match(warnings[0].message, /^The lock for key "k" had expired \d+(\.\d+)? s before its holder released it: /);
    assert.equal(warnings[0].code, "LOCK_EXPIRED");
    assert.equal(await other.release("k"), true);
    assert.equal(await isHeld(other, "k"), false);
    assert.equal(warnings.length, 1);
  });

  test("and the next one of the same process: the first release is the lapsed one's, the second frees", async (t) => {
    const warnings = warningsOf(t);
    await one.acquire("k", { expire: SHORT });
    await lapsed(one, "k");
    await one.acquire("k", { expire: LONG });
    assert.equal(await one.release("k"), false);
    assert.ok(await isHeld(one, "k"));
    assert.equal(await one.release("k"), true);
    assert.equal(await isHeld(one, "k"), false);
    await until(() => warnings.length > 0, "the warning");
    assert.equal(warnings.length, 1);
  });

  test("and nobody took since: false and one warning, and once more false", async (t) => {
    const warnings = warningsOf(t);
    await one.acquire("k", { expire: SHORT });
    await lapsed(one, "k");
    assert.deepEqual([await one.release("k"), await one.release("k")], [false, false]);
    await until(() => warnings.length > 0, "the warning");
    assert.equal(warnings.length, 1);
  });

  test("in a set: what still holds of it is freed, what others hold by now is not", async (t) => {
    const warnings = warningsOf(t);
    await one.acquire("a", { expire: SHORT });
    await one.acquire(["b", "c"], { expire: LONG });
    await lapsed(one, "a");
    await other.acquire("a", { expire: LONG });
    assert.equal(await one.release(["a", "b", "c"]), false);
    assert.deepEqual((await one.inspect()).map(({ key }) => key), ["a"]);
    await until(() => warnings.length > 0, "the warning");
    assert.match(warnings[0].message, /^The lock for key "a" /);
    assert.equal(await other.release("a"), true);
  });

  test("has nothing to do with a named owner's lock of the same key", async (t) => {
    const warnings = warningsOf(t);
    await one.acquire("k", { expire: SHORT });
    await lapsed(one, "k");
    await one.acquire("k", { ownerId: "me", expire: LONG });
    assert.equal(await one.release("k"), false);
    assert.equal(await one.release("k", { ownerId: "me" }), true);
    await until(() => warnings.length > 0, "the warning");
  });

  test("is told of through Medusa's logger, in one line", async () => {
    const { locking, inspect, logger } = await backend.medusa();
    await locking.acquire("k", { expire: SHORT });
    await until(async () => (await inspect("k")).length === 0, "it has lapsed");
    assert.equal(await locking.release("k"), false);
    assert.equal(logger.at("warn").filter((line) => line.includes("had expired")).length, 1);
  });

  test('with ownerless "open": anybody releases anybody\'s, as the guide says', async () => {
    const options = { namespace: freshNamespace(), ownerless: "open" };
    const [mine, theirs] = [backend.locks(options), backend.locks(options)];
    await mine.acquire("k", { expire: SHORT });
    await lapsed(mine, "k");
    await theirs.acquire("k", { expire: LONG });
    assert.equal(await mine.release("k"), true);
  });
});

onEachBackend("a release without an owner", (backend) => {
  let one, other;
  beforeEach(() => {
    const options = { namespace: freshNamespace() };
    [one, other] = [backend.locks(options), backend.locks(options)];
  });

  test("frees what was taken elsewhere, where the process was given none", async () => {
    await one.acquire("k", { expire: LONG });
    assert.equal(await other.release("k"), true);
    assert.equal(await isHeld(one, "k"), false);
  });

  test("frees the next grant, where another process released the one before", async () => {
    for (const expire of [LONG, undefined]) {
      await one.acquire("k", { expire });
      assert.equal(await other.release("k"), true);
      await one.acquire("k", { expire });
      assert.equal(await one.release("k"), true);
      assert.equal(await isHeld(one, "k"), false);
    }
  });

  test("frees a lock without an expiry, and one that was waited for", async () => {
    await one.acquire("k");
    const waits = other.acquire("k", { awaitQueue: true, expire: LONG });
    assert.equal(await one.release("k"), true);
    await waits;
    assert.equal(await other.release("k"), true);
  });

  test("frees sets that were taken apart, and each of many that are released at once", async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => one.acquire(key, { expire: LONG })));
    assert.equal(await one.release(keys.slice(0, 20)), true);
    const all = await Promise.all(keys.slice(20).map((key) => one.release(key)));
    assert.deepEqual(new Set(all), new Set([true]));
    assert.deepEqual(await one.inspect(), []);
  });
});

describe("on Redis, a release without an owner compares the grant", () => {
  let server, admin, one, other, old, lock;
  before(async () => {
    server = await redisServer();
    admin = server.connect();
  });
  after(() => server.stop());
  beforeEach(async (t) => {
    const namespace = freshNamespace();
    lock = `${namespace}k`;
    one = new Locks({ redisUrl: server.url, namespace });
    other = new Locks({ redisUrl: server.url, namespace });
    old = new OldProvider(admin, namespace);
    t.after(() => Promise.all([one.close(), other.close()]));
  });

  test("with a lock that an old node took over after ours had lapsed", async () => {
    await one.acquire("k", { expire: SHORT });
    await lapsed(one, "k");
    await old.acquire("k", { expire: 10 });
    assert.equal(await one.release("k"), false);
    assert.equal(await admin.get(lock), "*");
  });

  test("with a lock that an old node released, and took, beside the record of ours", async (t) => {
    const warnings = warningsOf(t);
    for (const [ours, theirs] of [[LONG, 10], [LONG, undefined], [undefined, 10]]) {
      await admin.del(lock);
      await one.acquire("k", { expire: ours });
      await old.release("k");
      await old.acquire("k", { expire: theirs });
      assert.equal(await one.release("k"), false, `${ours} ${theirs}`);
      assert.equal(await admin.get(lock), "*");
    }
    assert.deepEqual(warnings, []);
  });

  test("with what others took after everything was released, or forgotten", async () => {
    for (const gone of [() => other.releaseAll(), () => admin.flushall()]) {
      await one.acquire("k", { expire: LONG });
      await gone();
      await other.acquire("k", { expire: LONG });
      assert.equal(await one.release("k"), false);
      assert.ok(await isHeld(other, "k"));
      assert.equal(await other.release("k"), true);
    }
  });

  test("with each of a set: one that another process was given is left alone, and of that it was given none, freed", async () => {
    await one.acquire("k", { expire: LONG });
    await other.acquire("l", { expire: LONG });
    assert.equal(await one.release(["k", "l"]), false);
    assert.deepEqual((await one.inspect()).map(({ key }) => key), ["l"]);
    assert.equal(await one.release("l"), true);
  });
});
