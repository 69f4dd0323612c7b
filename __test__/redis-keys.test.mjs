/**
 * What stands in Redis, and that nodes with `@medusajs/locking-redis` and ours exclude each other on the same server while a
 * deploy rolls over. Both providers are loaded into one Locking Module.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { medusaError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { incumbent, lockingModule, ours } from "./support/medusa.mjs";
import { Locks } from "./support/product.mjs";
import { allKeys, bookkeeping, nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, stays, watch } from "./support/waiting.mjs";

/** The incumbent's time-out keeps this process alive until it has passed, even when the lock was granted long before. */
const PATIENT = { timeout: 15 };

let server, admin;
const closing = [];

before(async () => {
  server = await redisServer();
  admin = server.connect();
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});
after(() => server.stop());

/** Old and new in one namespace; `theirs` and `native` are the Locking Module seen through one provider each. */
async function sideBySide(options = {}) {
  const namespace = freshNamespace();
  const shared = { redisUrl: server.url, namespace };
  const { locking, provider, close } = await lockingModule([ours({ ...shared, ...options }), incumbent(shared)]);
  closing.push(close);
  const through = (id) => ({
    execute: (keys, job, args) => locking.execute(keys, job, { ...args, provider: id }),
    acquire: (keys, args) => locking.acquire(keys, { ...args, provider: id }),
    release: (keys, args) => locking.release(keys, { ...args, provider: id }),
    releaseAll: (args) => locking.releaseAll({ ...args, provider: id }),
  });
  const value = (key) => admin.get(`${namespace}${key}`);
  return { native: through("native"), theirs: through("incumbent"), namespace, value, provider };
}

describe("what stands in Redis", () => {
  test("an acquired lock is a string, its owner, and its expiry in milliseconds", async () => {
    const { native, namespace, value } = await sideBySide();
    await native.acquire("k", { ownerId: "me", expire: 2.5 });
    assert.equal(await admin.type(`${namespace}k`), "string");
    assert.equal(await value("k"), "me");
    const left = await admin.pttl(`${namespace}k`);
    assert.ok(left > 0 && left <= 2_500, `${left} ms`);
    await native.acquire("k", { ownerId: "me" });
    assert.equal(await admin.pttl(`${namespace}k`), -1);
    await native.release("k", { ownerId: "me" });
    assert.equal(await value("k"), null);
  });

  test("an ownerless lock is *", async () => {
    const { native, namespace, value } = await sideBySide();
    await native.acquire(["k", "l"]);
    assert.deepEqual([await value("k"), await value("l")], ["*", "*"]);
    assert.equal(await admin.pttl(`${namespace}k`), -1);
    await native.release(["k", "l"]);
    assert.deepEqual([await value("k"), await value("l")], [null, null]);
  });

  test("of owners that ask in the same turn each has its own lock, and gives back its own and no other", async () => {
    const namespace = freshNamespace();
    const locks = new Locks({ redisUrl: server.url, namespace });
    closing.push(() => locks.close());
    const acquire = (owners) => Promise.all(owners.map((ownerId, n) => locks.acquire(`k${n}`, { ownerId })));
    const release = (owners) => Promise.all(owners.map((ownerId, n) => locks.release(`k${n}`, { ownerId })));
    for (const owners of [["a", "b", null, "c"], ["a", "a", "a", "b"], ["a", "a", "a", "a"], [null, null, null, null]]) {
      await acquire(owners);
      const held = await admin.mget(owners.map((_, n) => `${namespace}k${n}`));
      assert.deepEqual(held, owners.map((ownerId) => ownerId ?? "*"));
      // The first two have changed places: that is no matter where they are one and the same.
      const [first, second, ...others] = owners;
      assert.deepEqual(await release([second, first, ...others]), [first === second, first === second, true, true]);
      if (first !== second) await release(owners);
      await nothingLeft(admin, namespace);
    }
  });

  test("an execute's lock names the process and its grant, never *, and always expires", async () => {
    const namespace = freshNamespace();
    const locks = new Locks({ redisUrl: server.url, namespace });
    closing.push(() => locks.close());
    await locks.execute(
      ["a", "b"],
      async (_signal, lock) => {
        assert.equal(await admin.get(`${namespace}a`), lock.ownerId);
        assert.equal(await admin.get(`${namespace}b`), lock.ownerId);
        assert.match(lock.ownerId, new RegExp(`^execute:.+:${process.pid}:.+#${lock.fencingToken}$`));
        const left = await admin.pttl(`${namespace}a`);
        assert.ok(left > 0 && left <= 7_000, `${left} ms`);
      },
      { expire: 7 },
    );
    assert.equal(await admin.get(`${namespace}a`), null);
  });

  test("waiting or not, only locks stand under the namespace, and all of them are strings", async () => {
    const { native, namespace } = await sideBySide();
    const held = await holding(native, ["a", "b"]);
    const waiters = [native.execute(["b", "c"], () => {}), native.execute("a", () => {})];
    await stays(
      async () => {
        const names = (await allKeys(admin)).filter((key) => key.startsWith(namespace));
        const types = await Promise.all(names.map((name) => admin.type(name)));
        return names.join() === [`${namespace}a`, `${namespace}b`].join() && types.every((type) => type === "string");
      },
      "two locks and nothing else",
      300,
    );
    await held.end();
    await Promise.all(waiters);
  });

  test("after work nothing of ours is left but the fence counter, and every name of ours begins with locking-native:", async () => {
    const { native, namespace } = await sideBySide();
    const before = await allKeys(admin);
    const work = Array.from({ length: 200 }, (_, n) => native.execute([`k${n % 7}`, `l${n % 5}`], () => n, PATIENT));
    await Promise.all(work);
    for (let n = 0; n < 20; n += 1) {
      await native.acquire(`m${n}`, { ownerId: "me", expire: 60 });
      await native.release(`m${n}`, { ownerId: "me" });
    }
    await nothingLeft(admin, namespace);
    const added = (await allKeys(admin)).filter((key) => !before.includes(key));
    assert.deepEqual(added.filter((key) => !key.startsWith("locking-native:fence:")), []);
    assert.deepEqual(added.filter((key) => key.startsWith(namespace)), []);
    assert.ok(added.length <= 1, `one counter, not one for each key: ${added}`);
  });

  test("a lock that expires takes our bookkeeping with it", async () => {
    const { native, namespace } = await sideBySide();
    await native.acquire(["k", "l"], { ownerId: "me", expire: 0.3 });
    await native.acquire("o", { expire: 0.3 });
    await nothingLeft(admin, namespace);
  });

  test("a fencing token keeps rising although the counter was lost", async () => {
    const locks = new Locks({ redisUrl: server.url, namespace: freshNamespace() });
    closing.push(() => locks.close());
    const token = () => locks.execute("k", (_signal, lock) => lock.fencingToken);
    const first = await token();
    for (const key of await allKeys(admin)) if (key.startsWith("locking-native:")) await admin.del(key);
    assert.ok((await token()) > first);
  });
});

describe("side by side with @medusajs/locking-redis", () => {
  test("an execute of either excludes the other's", async () => {
    const { native, theirs } = await sideBySide();
    const late = { timeout: 1 };
    const mine = await holding(native, "k");
    await assert.rejects(theirs.execute("k", () => assert.fail("ran"), late), { message: TIMED_OUT });
    await mine.end();
    const old = await holding(theirs, "k");
    await assert.rejects(native.execute("k", () => assert.fail("ran"), late), medusaError("LOCK_TIMEOUT", TIMED_OUT));
    await old.end();
    assert.equal(await native.execute("k", () => "free"), "free");
  });

  test("each waits for the other's execute and then goes on", async () => {
    const { native, theirs } = await sideBySide();
    for (const [first, second] of [[native, theirs], [theirs, native]]) {
      const held = await holding(first, ["k"]);
      const waiter = watch(second.execute("k", () => "next", PATIENT));
      await stays(() => waiter.state === "pending", "the other waits", 200);
      await held.end();
      assert.equal(await settles(waiter.promise, "the other goes on"), "next");
    }
  });

  test("an acquired lock of either refuses the other, and either releases the other's for its owner", async () => {
    const { native, theirs } = await sideBySide();
    for (const [first, second] of [[native, theirs], [theirs, native]]) {
      for (const ownerId of ["me", undefined]) {
        await first.acquire("k", { ownerId, expire: 60 });
        await assert.rejects(second.acquire("k", { ownerId: "you" }), { message: refusal("k") });
        await assert.rejects(second.acquire("k"), { message: refusal("k") });
        assert.equal(await second.release("k", { ownerId: "you" }), false);
        assert.equal(await second.release("k", { ownerId }), true);
        assert.equal(await first.release("k", { ownerId }), false);
      }
    }
  });

  test("the same owner extends through the one what it took through the other", async () => {
    const { native, theirs, namespace } = await sideBySide();
    await theirs.acquire("k", { ownerId: "index-sync", expire: 5 });
    await native.acquire("k", { ownerId: "index-sync", expire: 500 });
    assert.ok((await admin.pttl(`${namespace}k`)) > 5_000);
    await theirs.acquire("k", { ownerId: "index-sync", expire: 5 });
    assert.ok((await admin.pttl(`${namespace}k`)) <= 5_000);
  });

  test("awaitQueue of either waits for the other", async () => {
    const { native, theirs, value } = await sideBySide();
    for (const [first, second] of [[native, theirs], [theirs, native]]) {
      await first.acquire("k", { ownerId: "first" });
      const waiter = watch(second.acquire("k", { ownerId: "second", awaitQueue: true }));
      await stays(() => waiter.state === "pending", "the other waits", 200);
      assert.equal(await first.release("k", { ownerId: "first" }), true);
      await settles(waiter.promise, "the other goes on");
      assert.equal(await value("k"), "second");
      await second.release("k", { ownerId: "second" });
    }
  });

  test("a lock of theirs that expires is ours at once, without a release", async () => {
    const { native, theirs } = await sideBySide({ defaultRetryInterval: 600_000, maximumRetryInterval: 600_000 });
    await theirs.acquire("k", { ownerId: "crashed", expire: 1 });
    assert.equal(await settles(native.execute("k", () => "mine", PATIENT), "the lock expires"), "mine");
  });

  test("a set of ours waits for a part that is theirs, and takes nothing meanwhile", async () => {
    const { native, theirs, value } = await sideBySide();
    await theirs.acquire("b", { ownerId: "old" });
    const waiter = watch(native.execute(["a", "b", "c"], () => "all", PATIENT));
    await stays(async () => (await value("a")) === null && (await value("c")) === null, "nothing is taken", 300);
    await theirs.release("b", { ownerId: "old" });
    assert.equal(await settles(waiter.promise, "the whole set"), "all");
  });

  test("their releaseAll and ownerless release do not free our execute's locks, nor does their scan stumble", async () => {
    const { native, theirs, value } = await sideBySide();
    const held = await holding(native, ["k", "l"]);
    const waiter = native.execute("k", () => "next", PATIENT);
    await native.acquire("named", { ownerId: "me" });
    await native.acquire("nobodys");
    assert.equal(await theirs.release(["k", "l"]), false);
    await theirs.releaseAll();
    assert.match(await value("k"), /^execute:/);
    assert.match(await value("l"), /^execute:/);
    assert.equal(await value("named"), "me");
    assert.equal(await value("nobodys"), null);
    assert.equal(held.signal.aborted, false);
    await held.end();
    assert.equal(await settles(waiter, "the next one"), "next");
  });

  test("our releaseAll frees theirs: one owner's, or everything", async () => {
    const { native, theirs, value } = await sideBySide();
    await theirs.acquire(["a", "b"], { ownerId: "me" });
    await theirs.acquire("c", { ownerId: "other" });
    await theirs.acquire("d");
    await native.releaseAll({ ownerId: "me" });
    assert.deepEqual([await value("a"), await value("b"), await value("c"), await value("d")], [null, null, "other", "*"]);
    await native.releaseAll();
    assert.deepEqual([await value("c"), await value("d")], [null, null]);
  });

  test("what an old node releases of ours leaves no record that stays for ever", async () => {
    const { native, theirs, namespace } = await sideBySide();
    await native.acquire("named", { ownerId: "me" });
    await native.acquire("nobodys");
    await native.acquire("short", { expire: 60 });
    assert.equal(await theirs.release("named", { ownerId: "me" }), true);
    await theirs.releaseAll();
    for (const record of await bookkeeping(admin, namespace)) {
      assert.ok((await admin.pttl(record)) > 0, `${record} never expires`);
    }
    await native.acquire(["named", "nobodys", "short"], { ownerId: "you" });
    assert.equal(await native.release(["named", "nobodys", "short"], { ownerId: "you" }), true);
    await nothingLeft(admin, namespace);
  });

  test("a rolling deploy: both kinds of nodes hammer one key, and no two are inside at once", async () => {
    const { native, theirs, namespace } = await sideBySide();
    let inside = 0;
    let done = 0;
    const job = async () => {
      inside += 1;
      assert.equal(inside, 1);
      await new Promise(setImmediate);
      inside -= 1;
      done += 1;
    };
    const worker = async (door, keys) => {
      for (let n = 0; n < 10; n += 1) await door.execute(keys, job, PATIENT);
    };
    await Promise.all([worker(native, "k"), worker(native, ["k", "l"]), worker(theirs, "k"), worker(theirs, ["k"])]);
    assert.equal(done, 40);
    await nothingLeft(admin, namespace);
  });
});
