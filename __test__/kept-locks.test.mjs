/** `acquireRenew`: a lock of `acquire` is kept beyond its expiry while the process that took it lives and has not released it. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { OldProvider } from "./support/old-provider.mjs";
import { Locks } from "./support/product.mjs";
import { redisServer } from "./support/redis.mjs";
import { until } from "./support/waiting.mjs";

const isHeld = async (locks, key) => (await locks.inspect(key)).length === 1;
const lapses = (locks, key) => until(async () => !(await isHeld(locks, key)), `"${key}" lapses`);

/** Waits for so many seconds on the clock by which locks lapse: until one that `plain`, which renews none, took then lapses. */
async function passes(plain, seconds) {
  await plain.acquire("clock", { ownerId: "clock", expire: seconds });
  await lapses(plain, "clock");
}

onEachBackend("acquireRenew", (backend) => {
  let keeps, plain, namespace;
  const withRenew = (acquireRenew) => backend.locks({ namespace, acquireRenew });
  beforeEach(() => {
    namespace = freshNamespace();
    [keeps, plain] = [withRenew(60), backend.locks({ namespace })];
  });

  test("keeps locks, of owners and of nobody, one and sets, beyond their expiry, until they are released", async () => {
    await keeps.acquire("k", { expire: 0.4 });
    await keeps.acquire(["a", "b"], { ownerId: "me", expire: 0.4 });
    await passes(plain, 1.5);
    assert.deepEqual((await plain.inspect()).map(({ key }) => key), ["a", "b", "k"]);
    assert.equal(await keeps.release("k"), true);
    assert.equal(await keeps.release("a", { ownerId: "me" }), true);
    await passes(plain, 1);
    assert.deepEqual((await plain.inspect()).map(({ key }) => key), ["b"]);
  });

  test("ends what it keeps when that time has passed", async () => {
    const begun = performance.now();
    await withRenew(0.7).acquire("k", { expire: 0.3 });
    await lapses(plain, "k");
    assert.ok(performance.now() - begun >= 990, `${performance.now() - begun} ms`);
  });

  test("is off by default", async () => {
    await plain.acquire("k", { expire: 0.2 });
    await lapses(plain, "k");
  });

  test("leaves a lock without an expiry as it is", async () => {
    await keeps.acquire("k");
    assert.equal((await plain.inspect("k"))[0].expiresIn, null);
    assert.equal(await keeps.release("k"), true);
  });

  test("serves who waits as soon as the lock is released", async () => {
    await keeps.acquire("k", { expire: 0.3 });
    const waits = plain.acquire("k", { awaitQueue: true, expire: 60 });
    await passes(plain, 0.8);
    assert.equal(await keeps.release("k"), true);
    await waits;
    assert.equal(await plain.release("k"), true);
  });
});

describe("acquireRenew on Redis", () => {
  let server, admin, keeps, plain, namespace;
  before(async () => {
    server = await redisServer();
    admin = server.connect();
  });
  after(() => server.stop());
  afterEach(stopScripts);
  beforeEach((t) => {
    namespace = freshNamespace();
    keeps = new Locks({ redisUrl: server.url, namespace, acquireRenew: 60 });
    plain = new Locks({ redisUrl: server.url, namespace });
    t.after(() => Promise.all([keeps.close(), plain.close()]));
  });

  test("ends the lock of a process that was killed with its expiry", async () => {
    const child = startScript(
      `const locks = new Locks(input);
       await locks.acquire("k", { expire: 1 });
       say("holds");
       setInterval(() => {}, 1_000);`,
      { input: { redisUrl: server.url, namespace, acquireRenew: 600 } },
    );
    await child.line("holds");
    await passes(plain, 2);
    assert.ok(await isHeld(plain, "k"), "while it lives");
    child.kill();
    await child.exited;
    await lapses(plain, "k");
  });

  test("ends the lock of a process whose event loop hangs for longer than maxStall", async () => {
    const child = startScript(
      `const locks = new Locks(input);
       await locks.acquire("k", { expire: 0.6 });
       say("holds");
       for (;;) {}`,
      { input: { redisUrl: server.url, namespace, acquireRenew: 600, maxStall: 1.2 } },
    );
    await child.line("holds");
    await lapses(plain, "k");
  });

  test("leaves alone what an old node released and took", async () => {
    const old = new OldProvider(admin, namespace);
    await keeps.acquire("k", { expire: 0.9 });
    assert.equal(await old.release("k"), true);
    await old.acquire("k", { expire: 1 });
    await lapses(plain, "k");
  });

  test("leaves alone what its owner took again elsewhere", async () => {
    await keeps.acquire("k", { ownerId: "me", expire: 0.9 });
    await plain.acquire("k", { ownerId: "me", expire: 1 });
    await lapses(plain, "k");
  });

  test("follows its owner that takes the lock again here", async () => {
    await keeps.acquire("k", { ownerId: "me", expire: 0.3 });
    await keeps.acquire("k", { ownerId: "me", expire: 0.4 });
    await passes(plain, 1.2);
    assert.ok(await isHeld(plain, "k"));
    await keeps.acquire("k", { ownerId: "me" });
    await passes(plain, 0.8);
    assert.equal((await plain.inspect("k"))[0].expiresIn, null);
  });

  test("leaves what was released by another process, and ends with close", async () => {
    await keeps.acquire(["a", "b"], { expire: 0.5 });
    assert.equal(await plain.release("a"), true);
    await plain.acquire("a", { expire: 0.8 });
    await lapses(plain, "a");
    assert.ok(await isHeld(plain, "b"));
    await keeps.close();
    await lapses(plain, "b");
  });

  test("goes on after a connection has broken", async () => {
    await keeps.acquire("k", { expire: 1.5 });
    await admin.client("KILL", "TYPE", "normal", "SKIPME", "yes");
    await admin.client("KILL", "TYPE", "pubsub");
    await passes(plain, 3);
    assert.ok(await isHeld(plain, "k"));
  });
});
