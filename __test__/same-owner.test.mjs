/** An owner that holds its keys already: it never waits behind others, and an attempt that was refused changes nothing. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { Locks } from "./support/product.mjs";
import { redisServer } from "./support/redis.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

onEachBackend("an owner that holds its keys", (backend) => {
  const queued = (locks, key, count) =>
    until(async () => (await locks.inspect(key))[0]?.waiting === count, `${count} wait for "${key}"`);

  test("asks again in the queue behind a job: served with its first request, ahead of the job", async () => {
    const [locks, options] = pair();
    const other = backend.locks(options);
    await other.acquire("k", { ownerId: "other" });
    const first = locks.acquire("k", { ownerId: "me", awaitQueue: true });
    await queued(locks, "k", 1);
    const job = watch(locks.execute("k", () => "job", { timeout: 60 }));
    await queued(locks, "k", 2);
    const again = locks.acquire("k", { ownerId: "me", awaitQueue: true });
    await other.release("k", { ownerId: "other" });
    await settles(Promise.all([first, again]), "both requests of the owner");
    assert.equal(job.state, "pending");
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
    assert.equal(await settles(job.promise, "the job"), "job");
  });

  test("asks for more keys while a job waits for one that it has: not behind that job", async () => {
    const [locks] = pair();
    await locks.acquire("p", { ownerId: "me" });
    const job = watch(locks.execute("p", () => "job", { timeout: 60 }));
    await queued(locks, "p", 1);
    await settles(locks.acquire(["p", "q"], { ownerId: "me", awaitQueue: true }), "the owner gets the other key too");
    assert.equal(job.state, "pending");
    assert.equal(await locks.release(["p", "q"], { ownerId: "me" }), true);
    assert.equal(await settles(job.promise, "the job"), "job");
  });

  test('ownerless "open": a caller without owner extends an ownerless lock while a job waits for it', async () => {
    const [locks] = pair({ ownerless: "open" });
    await locks.acquire("o");
    const job = watch(locks.execute("o", () => "job", { timeout: 60 }));
    await queued(locks, "o", 1);
    await settles(locks.acquire("o", { awaitQueue: true }), "the acquire without owner");
    assert.equal(job.state, "pending");
    assert.equal(await locks.release("o"), true);
    assert.equal(await settles(job.promise, "the job"), "job");
  });

  /** A `Locks`, and the options that make another one of its namespace. */
  function pair(more = {}) {
    const options = { namespace: freshNamespace(), ...more };
    return [backend.locks(options), options];
  }
});

describe("an attempt on one's own lock that ends in a time-out, though Redis carries it out later", () => {
  let server, admin, namespace;
  before(async () => {
    server = await redisServer();
    admin = server.connect();
  });
  after(() => server.stop());
  beforeEach(() => (namespace = freshNamespace()));

  const open = (t, options = {}) => {
    const locks = new Locks({ redisUrl: server.url, namespace, ...options });
    t.after(() => locks.close());
    return locks;
  };

  /** Has `attempt` time out while the server answers nobody, then waits until the server is done with all of it. */
  async function refusedInAPause(locks, attempt) {
    await locks.inspect("k");
    await admin.client("PAUSE", 1_000, "ALL");
    const refused = watch(attempt());
    await until(() => refused.state !== "pending", "the attempt ends");
    assert.match(refused.reason?.code ?? "granted", /^(LOCK_TIMEOUT|REDIS_UNREACHABLE)$/);
    await settles(locks.execute("other", () => {}, { timeout: 30 }), "the server answers again");
  }

  /** Fails unless "k" is `owner`'s and has no more of its 600 seconds than it had, now and for a while. */
  async function isAsBefore(owner) {
    const looksSo = async () => {
      const [value, left] = [await admin.get(`${namespace}k`), await admin.pttl(`${namespace}k`)];
      return value === owner && left > 0 && left <= 600_000;
    };
    await until(looksSo, `the lock is ${owner}'s, with the expiry that it had`, 5_000);
    await stays(looksSo, "the lock is as it was", 300);
  }

  for (const [title, expire] of [["no expiry", undefined], ["a later expiry", 6_000]]) {
    test(`it asked for ${title}: the lock keeps the expiry that it had`, async (t) => {
      const locks = open(t);
      await locks.acquire("k", { ownerId: "me", expire: 600 });
      await refusedInAPause(locks, () => locks.acquire("k", { ownerId: "me", expire, awaitQueue: true, timeout: 0.2 }));
      await isAsBefore("me");
      assert.equal(await locks.release("k", { ownerId: "me" }), true);
    });
  }

  test('ownerless "open", it asked under a name: the lock stays without owner, and anyone can release it', async (t) => {
    const locks = open(t, { ownerless: "open" });
    await locks.acquire("k", { expire: 600 });
    await refusedInAPause(locks, () => locks.acquire("k", { ownerId: "me", awaitQueue: true, timeout: 0.2 }));
    await isAsBefore("*");
    assert.equal(await locks.release("k"), true);
  });
});
