/** What callers of `acquire`, `release` and `releaseAll` see, on both backends. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { lockError, medusaError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

const byKey = (entries) => Object.fromEntries(entries.map((entry) => [entry.key, entry]));

onEachBackend("acquire and release", (backend) => {
  test("a held lock is refused at once, with Medusa's words, whoever asks", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("k", { ownerId: "a" });
    for (const ownerId of ["b", undefined, null, "*"]) {
      await assert.rejects(locking.acquire("k", { ownerId }), medusaError("LOCK_HELD", refusal("k")));
    }
    await assert.rejects(locks.acquire("k", { ownerId: "b" }), lockError("LOCK_HELD", refusal("k")));
    const [lock] = await locks.inspect();
    assert.deepEqual([lock.key, lock.ownerId, lock.expiresIn], ["k", "a", null]);
  });

  test("an execute's lock refuses an acquire, and an acquired one refuses an execute", async () => {
    const { locking } = await backend.medusa();
    const held = await holding(locking, "k");
    await assert.rejects(locking.acquire("k"), medusaError("LOCK_HELD", refusal("k")));
    assert.equal(await locking.release("k"), false);
    await held.end();
    await locking.acquire("k");
    await assert.rejects(locking.execute("k", () => {}, { timeout: 0.1 }), medusaError("LOCK_TIMEOUT", TIMED_OUT));
    assert.equal(await locking.release("k"), true);
    assert.equal(await locking.execute("k", () => "free"), "free");
  });

  test("no owner: null, undefined, * and no arguments are the same", async () => {
    const { locking, locks } = await backend.medusa();
    for (const args of [undefined, {}, { ownerId: null }, { ownerId: "*" }]) {
      await locking.acquire("k", args);
      assert.equal((await locks.inspect("k"))[0].ownerId, null);
      assert.equal(await locking.release("k"), true);
    }
    await locking.acquire("k");
    assert.equal(await locking.release("k", { ownerId: "*" }), true);
    assert.equal(await locking.release("k"), false);
  });

  test("an ownerless lock is refused to an ownerless caller: else it would exclude nobody", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("k", { expire: 60 });
    await assert.rejects(locking.acquire("k", { expire: 500 }), medusaError("LOCK_HELD", refusal("k")));
    const [{ expiresIn }] = await locks.inspect("k");
    assert.ok(expiresIn > 0 && expiresIn <= 60, `the refused call changed the expiry to ${expiresIn} s`);
  });

  test("an ownerless lock is not a named owner's to release, nor a named one anybody's", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("mine", { ownerId: "me" });
    await locking.acquire("nobodys");
    assert.equal(await locking.release("mine"), false);
    assert.equal(await locking.release("mine", { ownerId: "you" }), false);
    assert.equal(await locking.release("nobodys", { ownerId: "me" }), false);
    assert.equal((await locks.inspect()).length, 2);
    assert.equal(await locking.release("mine", { ownerId: "me" }), true);
    assert.equal(await locking.release("nobodys"), true);
    assert.deepEqual(await locks.inspect(), []);
  });

  test('ownerless "open": anyone may extend, adopt and release an ownerless lock, and nobody a named one', async () => {
    const { locking, locks } = await backend.medusa({ ownerless: "open" });
    await locking.acquire("k", { expire: 20 });
    await locking.acquire("k", { expire: 500 });
    const [extended] = await locks.inspect("k");
    assert.equal(extended.ownerId, null);
    assert.ok(extended.expiresIn > 20 && extended.expiresIn <= 500, `extended to ${extended.expiresIn} s`);

    await locking.acquire("k", { ownerId: "adopter", expire: 60 });
    assert.equal((await locks.inspect("k"))[0].ownerId, "adopter");
    await assert.rejects(locking.acquire("k"), medusaError("LOCK_HELD", refusal("k")));
    await assert.rejects(locking.acquire("k", { ownerId: "other" }), medusaError("LOCK_HELD", refusal("k")));
    assert.equal(await locking.release("k"), false);
    assert.equal(await locking.release("k", { ownerId: "adopter" }), true);

    await locking.acquire("k");
    assert.equal(await locking.release("k", { ownerId: "passer-by" }), true);
    assert.deepEqual(await locks.inspect(), []);
  });

  test("the same owner acquires again: it succeeds and sets the new expiry", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("k", { ownerId: "index-sync", expire: 20 });
    await locking.acquire("k", { ownerId: "index-sync", expire: 500 });
    assert.ok((await locks.inspect("k"))[0].expiresIn > 20);
    await locking.acquire("k", { ownerId: "index-sync", expire: 10 });
    assert.ok((await locks.inspect("k"))[0].expiresIn <= 10);
  });

  test("the same owner acquires again without expire: the lock no longer expires", async () => {
    const { locking, locks } = await backend.medusa();
    for (const expire of [undefined, null, 0]) {
      await locking.acquire("k", { ownerId: "me", expire: 20 });
      await locking.acquire("k", { ownerId: "me", expire });
      assert.equal((await locks.inspect("k"))[0].expiresIn, null);
      assert.equal(await locking.release("k", { ownerId: "me" }), true);
    }
  });

  test("the same owner under awaitQueue does not wait for itself, even with others waiting", async () => {
    const { locking, inspect } = await backend.medusa();
    await locking.acquire("k", { ownerId: "me", expire: 20 });
    const other = watch(locking.execute("k", () => "other", { timeout: 60 }));
    await until(async () => (await inspect("k"))[0].waiting === 1, "the other one is queued");
    await settles(locking.acquire("k", { ownerId: "me", expire: 500, awaitQueue: true }), "the owner's own acquire");
    assert.ok((await inspect("k"))[0].expiresIn > 20);
    assert.equal(await locking.release("k", { ownerId: "me" }), true);
    assert.equal(await settles(other.promise, "the one behind"), "other");
  });

  test("the same owner takes a set of which it has a part: the rest is added, all with the new expiry", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("b", { ownerId: "me" });
    await locking.acquire(["a", "b"], { ownerId: "me", expire: 60 });
    const seen = byKey(await locks.inspect());
    assert.deepEqual(Object.keys(seen).sort(), ["a", "b"]);
    for (const { ownerId, expiresIn } of Object.values(seen)) {
      assert.equal(ownerId, "me");
      assert.ok(expiresIn > 0 && expiresIn <= 60);
    }
  });

  test("all or nothing: a failed acquire of several keys leaves none of them locked", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("b", { ownerId: "other" });
    await assert.rejects(locking.acquire(["c", "b", "a"], { ownerId: "me", expire: 60 }), medusaError("LOCK_HELD", refusal("b")));
    assert.deepEqual((await locks.inspect()).map(({ key }) => key), ["b"]);
    await locking.acquire(["a", "c"], { ownerId: "third" });
  });

  test("all or nothing: a failed acquire leaves what its owner had already as it was", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("a", { ownerId: "me", expire: 20 });
    await locking.acquire("b", { ownerId: "other" });
    await assert.rejects(locking.acquire(["a", "b"], { ownerId: "me", expire: 500 }), medusaError("LOCK_HELD", refusal("b")));
    const { a } = byKey(await locks.inspect());
    assert.equal(a.ownerId, "me");
    assert.ok(a.expiresIn > 0 && a.expiresIn <= 20);
  });

  test("the refusal names the first held key in sorted order", async () => {
    const { locking } = await backend.medusa();
    await locking.acquire(["m", "c"], { ownerId: "other" });
    await assert.rejects(locking.acquire(["z", "m", "c", "a"]), medusaError("LOCK_HELD", refusal("c")));
  });

  test("no keys, and keys named twice", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire([]);
    assert.equal(await locking.release([]), true);
    await locking.acquire(["k", "k", "l", "k"]);
    assert.equal((await locks.inspect()).length, 2);
    assert.equal(await locking.release(["l", "k", "k"]), true);
    assert.deepEqual(await locks.inspect(), []);
  });

  test("release of several keys frees what is the owner's and says whether that was all", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire(["a", "b"], { ownerId: "me" });
    await locking.acquire("c", { ownerId: "other" });
    assert.equal(await locking.release(["a", "c"], { ownerId: "me" }), false);
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["b", "c"]);
    assert.equal(await locking.release(["b", "never"], { ownerId: "me" }), false);
    assert.deepEqual((await locks.inspect()).map(({ key }) => key), ["c"]);
  });

  test("acquire resolves with nothing, and a lock may be released by another Locks than the one that took it", async () => {
    const { locking, locks } = await backend.medusa();
    assert.equal(await locking.acquire("k", { ownerId: "me" }), undefined);
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
    await locks.acquire("k");
    assert.equal(await locking.release("k"), true);
  });

  test("expire: fractions of seconds count, and an expired lock is free", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("k", { ownerId: "me", expire: 0.4 });
    const [seen] = await locks.inspect("k");
    if (seen) assert.ok(seen.expiresIn > 0 && seen.expiresIn <= 0.4, `expires in ${seen.expiresIn} s`);
    await until(async () => (await locks.inspect()).length === 0, "the lock has expired");
    assert.equal(await locking.release("k", { ownerId: "me" }), false);
    await locking.acquire("k", { ownerId: "other" });
  });

  test("awaitQueue waits until the lock is free", async () => {
    const { locking, inspect } = await backend.medusa();
    await locking.acquire("k", { ownerId: "me" });
    const waiter = watch(locking.acquire("k", { ownerId: "other", awaitQueue: true }));
    await until(async () => (await inspect("k"))[0].waiting === 1, "the other one is queued");
    assert.equal(waiter.state, "pending");
    assert.equal(await locking.release("k", { ownerId: "me" }), true);
    await settles(waiter.promise, "the waiter is granted");
    assert.equal((await inspect("k"))[0].ownerId, "other");
  });

  test("awaitQueue with a timeout ends with the time-out's message and leaves the queue", async () => {
    const { locking, inspect } = await backend.medusa();
    await locking.acquire("k", { ownerId: "me" });
    const waiter = locking.acquire(["j", "k"], { ownerId: "other", awaitQueue: true, timeout: 0.2 });
    await assert.rejects(waiter, medusaError("LOCK_TIMEOUT", TIMED_OUT));
    const [seen, ...more] = await inspect();
    assert.deepEqual([seen.key, seen.waiting, more], ["k", 0, []]);
  });

  test("acquireWait queues a plain acquire first, then refuses it with the refusal's message", async () => {
    const { locking, inspect } = await backend.medusa({ acquireWait: 0.3 });
    await locking.acquire("k");
    await assert.rejects(locking.acquire("k"), medusaError("LOCK_HELD", refusal("k")));
    const patient = await backend.medusa({ acquireWait: 60 });
    await patient.locking.acquire("k");
    const waiter = watch(patient.locking.acquire("k"));
    await until(async () => (await patient.inspect("k"))[0].waiting === 1, "the second acquire is queued");
    assert.equal(await patient.locking.release("k"), true);
    await settles(waiter.promise, "the queued acquire is granted");
    assert.equal((await inspect("k"))[0].waiting, 0);
  });

  test("abort: an acquire that waits ends with the signal's reason and takes nothing", async () => {
    const locks = backend.locks();
    await locks.acquire("k", { ownerId: "me" });
    const caller = new AbortController();
    const waiter = watch(locks.acquire("k", { ownerId: "other", awaitQueue: true, signal: caller.signal }));
    await until(async () => (await locks.inspect("k"))[0].waiting === 1, "the other one is queued");
    const reason = new Error("no longer wanted");
    caller.abort(reason);
    await settles(assert.rejects(waiter.promise, (error) => error === reason), "the aborted waiter is answered");
    await assert.rejects(locks.acquire("l", { signal: AbortSignal.abort(reason) }), (error) => error === reason);
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
    await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
  });

  test("abort of an acquire under way leaves no lock behind, whichever comes first", async () => {
    const locks = backend.locks();
    for (let round = 0; round < 50; round += 1) {
      const caller = new AbortController();
      const taking = locks.acquire("k", { ownerId: "me", signal: caller.signal });
      if (round % 2) setImmediate(() => caller.abort());
      else caller.abort();
      const taken = await taking.then(() => true, (error) => error !== caller.signal.reason);
      if (taken) assert.equal(await locks.release("k", { ownerId: "me" }), true);
      await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
    }
  });

  test("releaseAll with an owner frees that owner's locks, all of them and no others", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire(["a", "b", "c"], { ownerId: "me" });
    await locking.acquire("d", { ownerId: "other" });
    await locking.acquire("e");
    const held = await holding(locking, "f");
    await locking.releaseAll({ ownerId: "me" });
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["d", "e", "f"]);
    assert.equal(held.signal.aborted, false);
    await held.end();
  });

  test("releaseAll without an owner frees every lock of the namespace: jobs are told, and no other namespace is touched", async () => {
    const { locking, locks } = await backend.medusa({ lease: 3 });
    const elsewhere = backend.locks();
    await elsewhere.acquire("k");
    await locking.acquire(Array.from({ length: 300 }, (_, n) => `owned_${n}`), { ownerId: "me" });
    await locking.acquire("ownerless", { expire: 60 });
    const held = await holding(locking, ["job_1", "job_2"]);
    await locking.releaseAll();
    assert.deepEqual(await locks.inspect(), []);
    await until(() => held.signal.aborted, "the job's signal aborts");
    assert.ok(medusaError("LOCK_LOST")(held.signal.reason));
    await assert.rejects(held.end("a result that must not count"), medusaError("LOCK_LOST"));
    assert.equal((await elsewhere.inspect("k")).length, 1);
  });

  test("releaseAll wakes who waits", async () => {
    const { locking, inspect } = await backend.medusa();
    await locking.acquire("k", { ownerId: "me" });
    const waiter = locking.execute("k", () => "granted", { timeout: 60 });
    await until(async () => (await inspect("k"))[0].waiting === 1, "the waiter is queued");
    await locking.releaseAll({ ownerId: "me" });
    assert.equal(await settles(waiter, "the waiter is granted"), "granted");
  });

  test("inspect: of some keys, of all, of free ones", async () => {
    const locks = backend.locks();
    await locks.acquire("a", { ownerId: "me", expire: 60 });
    await locks.acquire(["b", "c"]);
    const seen = byKey(await locks.inspect(["a", "b", "free"]));
    assert.deepEqual(Object.keys(seen).sort(), ["a", "b"]);
    assert.equal(seen.a.ownerId, "me");
    assert.ok(seen.a.expiresIn > 0 && seen.a.expiresIn <= 60);
    assert.deepEqual([seen.b.ownerId, seen.b.expiresIn, seen.b.waiting], [null, null, 0]);
    assert.deepEqual(await locks.inspect("free"), []);
    assert.deepEqual(await locks.inspect([]), []);
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["a", "b", "c"]);
  });
});
