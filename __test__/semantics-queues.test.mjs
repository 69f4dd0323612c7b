/** Who is served when several wait, on both backends: first come, first served, and nobody stuck behind who has gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { lockError, medusaError, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

/** Polling that never helps within a test: what is granted was woken. */
const NO_POLLER = { defaultRetryInterval: 600_000, maximumRetryInterval: 600_000 };

const queued = (inspect, key, count) =>
  until(async () => (await inspect(key))[0]?.waiting === count, `${count} wait for "${key}"`);

onEachBackend("queues", (backend) => {
  test("waiters of one process are served in the order in which they came", async () => {
    const { locking, inspect } = await backend.medusa();
    const held = await holding(locking, "k");
    const served = [];
    const waiters = Array.from({ length: 50 }, (_, n) => {
      if (n % 5 === 0) {
        const ownerId = `owner_${n}`;
        return locking.acquire("k", { ownerId, awaitQueue: true }).then(() => {
          served.push(n);
          return locking.release("k", { ownerId });
        });
      }
      return locking.execute("k", () => void served.push(n), { timeout: 60 });
    });
    await queued(inspect, "k", 50);
    await held.end();
    await Promise.all(waiters);
    assert.deepEqual(served, Array.from({ length: 50 }, (_, n) => n));
  });

  test("a release wakes the next one by itself, with the poller out of the way", async () => {
    const { locking, inspect } = await backend.medusa(NO_POLLER);
    const held = await holding(locking, "k");
    const executes = Array.from({ length: 10 }, (_, n) => locking.execute("k", () => n, { timeout: 60 }));
    await queued(inspect, "k", 10);
    await held.end();
    assert.deepEqual(await settles(Promise.all(executes), "all are served"), Array.from({ length: 10 }, (_, n) => n));

    await locking.acquire("k", { ownerId: "me" });
    const waiter = locking.acquire("k", { ownerId: "other", awaitQueue: true });
    await queued(inspect, "k", 1);
    await locking.release("k", { ownerId: "me" });
    await settles(waiter, "the acquire that waited");
  });

  test("expiry frees a lock for a waiter, with the poller out of the way", async () => {
    const { locking } = await backend.medusa(NO_POLLER);
    await locking.acquire(["a", "b"], { ownerId: "gone", expire: 0.5 });
    const result = locking.execute(["b", "a"], () => "served", { timeout: 60 });
    assert.equal(await settles(result, "the waiter is served when the lock expires"), "served");
  });

  test("a large set is not starved by small ones that come after it", async () => {
    const { locking, inspect } = await backend.medusa();
    const held = await holding(locking, "b");
    const served = [];
    const large = locking.execute(["a", "b", "c"], () => void served.push("large"), { timeout: 60 });
    await queued(inspect, "b", 1);
    const small = ["a", "c"].map((key) => locking.execute(key, () => void served.push(key), { timeout: 60 }));
    await stays(() => served.length === 0, "nobody overtakes the large set", 200);
    await held.end();
    await settles(Promise.all([large, ...small]), "all are served");
    assert.equal(served[0], "large");
    assert.deepEqual(served.slice(1).sort(), ["a", "c"]);
  });

  test("a waiter that times out leaves the queue, and those behind it go on", async () => {
    const { locking, inspect } = await backend.medusa();
    const held = await holding(locking, "a");
    const ahead = watch(locking.execute(["a", "b"], () => assert.fail("ran"), { timeout: 0.5 }));
    await queued(inspect, "a", 1);
    const behind = watch(locking.execute("b", () => "served", { timeout: 60 }));
    await assert.rejects(ahead.promise, medusaError("LOCK_TIMEOUT", TIMED_OUT));
    assert.equal(await settles(behind.promise, "the one behind, whose key is free"), "served");
    await held.end();
    await until(async () => (await inspect()).length === 0, "nothing stays locked");
  });

  test("a waiter that is aborted leaves the queue, and those behind it go on", async () => {
    const locks = backend.locks();
    const inspect = (keys) => locks.inspect(keys);
    const held = await holding(locks, "a");
    const caller = new AbortController();
    const ahead = watch(locks.execute(["a", "b"], () => assert.fail("ran"), { timeout: 60, signal: caller.signal }));
    await queued(inspect, "a", 1);
    const behind = watch(locks.execute("b", () => "served", { timeout: 60 }));
    await stays(() => behind.state === "pending", "the one behind waits", 100);
    caller.abort();
    assert.equal(await settles(behind.promise, "the one behind"), "served");
    await assert.rejects(ahead.promise, { name: "AbortError" });
    await held.end();
  });

  test("a job that fails hands over like one that succeeds", async () => {
    const { locking, inspect } = await backend.medusa(NO_POLLER);
    const held = await holding(locking, "k");
    const next = locking.execute("k", () => "next", { timeout: 60 });
    await queued(inspect, "k", 1);
    held.fail(new Error("the job's own"));
    await assert.rejects(held.done, /the job's own/);
    assert.equal(await settles(next, "the next one"), "next");
  });

  test("a job that queues for its own key again is behind who waited already", async () => {
    const { locking, inspect } = await backend.medusa();
    const served = [];
    const held = await holding(locking, "k");
    const first = locking.execute("k", () => void served.push("first"), { timeout: 60 });
    await queued(inspect, "k", 1);
    const again = locking.execute("k", () => void served.push("again"), { timeout: 60 });
    await held.end();
    await Promise.all([first, again]);
    assert.deepEqual(served, ["first", "again"]);
  });

  test("disjoint sets run side by side, overlapping ones one after the other", async () => {
    const { locking, inspect } = await backend.medusa();
    const left = await holding(locking, ["a", "b"]);
    const right = await holding(locking, ["c", "d"]);
    const middle = watch(holding(locking, ["b", "c"], { timeout: 60 }));
    await queued(inspect, "b", 1);
    await left.end();
    await stays(() => middle.state === "pending", "one of its keys is still held", 200);
    await right.end();
    const held = await settles(middle.promise, "both keys are free");
    assert.deepEqual((await inspect()).map(({ key }) => key).sort(), ["b", "c"]);
    await held.end();
  });

  test("two Locks of one namespace exclude each other and wake each other", async () => {
    const { namespace, locks: one } = await backend.medusa();
    const two = backend.locks({ namespace });
    const held = await holding(one, "k");
    await assert.rejects(two.execute("k", () => assert.fail("ran"), { timeout: 0 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    const waiter = watch(two.execute("k", () => "granted", { timeout: 60 }));
    await stays(() => waiter.state === "pending", "the other waits", 100);
    await held.end();
    assert.equal(await settles(waiter.promise, "the other is granted"), "granted");
  });

  test("namespaces do not see each other", async () => {
    const [one, two] = [backend.locks(), backend.locks()];
    await one.acquire("k", { ownerId: "me" });
    await two.acquire("k", { ownerId: "me" });
    assert.equal(await two.release("k", { ownerId: "me" }), true);
    assert.equal((await one.inspect()).length, 1);
    assert.equal((await two.inspect()).length, 0);
  });
});
