/**
 * Which calls queue when they do not say so: those that Medusa's workflows make, and no other. And for how long: a lock that one
 * holder keeps is given up on, a line that moves is not.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { onEachBackend } from "./support/backends.mjs";
import { lockError, medusaError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { fleetServer, queued } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { OldProvider } from "./support/old-provider.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

/** What `acquireLockStep` of `@medusajs/core-flows` hands to the Locking Module. */
const LOCK_STEP = { expire: 10, ownerId: undefined, provider: undefined };

/** Seconds after which a waiter gives up on a lock that stays with one holder. */
const SPAN = 1.5;
/** How long each holder stays. Far below the span, for the machine may be busy. */
const HOLD_MS = 400;
/** So many holders one after the other outlast the span. */
const HOLDERS = 6;

onEachBackend("default waits", (backend) => {
  const waiting = (locks, key, count) =>
    until(async () => (await locks.inspect(key))[0]?.waiting === count, `${count} wait for ${key}`);

  test("an acquire as Medusa's lock step makes it queues, and is served when the lock is released", async () => {
    const { locking, inspect } = await backend.medusa();
    await locking.acquire("cart", LOCK_STEP);
    const second = watch(locking.acquire("cart", LOCK_STEP));
    await until(async () => (await inspect("cart"))[0].waiting === 1, "the second one queues");
    assert.equal(second.state, "pending");
    await locking.release("cart", { ownerId: undefined, provider: undefined });
    await settles(second.promise, "the second one is served");
  });

  test("behind a lock that one holder keeps it is refused after 2 s, in the words of a refusal", async () => {
    const { locking } = await backend.medusa();
    await locking.acquire("cart", LOCK_STEP);
    const asked = performance.now();
    await assert.rejects(locking.acquire("cart", LOCK_STEP), medusaError("LOCK_HELD", refusal("cart")));
    assert.ok(performance.now() - asked >= 1_990, "it waited for 2 s");
  });

  for (const [what, args] of [
    ["without an expiry", { ownerId: undefined, provider: undefined }],
    ["without the property provider", { expire: 10, ownerId: undefined }],
    ["of an owner", { ...LOCK_STEP, ownerId: "index-sync-1" }],
    ["without arguments", undefined],
  ]) {
    test(`a plain acquire ${what} is refused without a wait`, async () => {
      const { locking, inspect } = await backend.medusa();
      await locking.acquire("cart", { ownerId: "somebody" });
      const asked = watch(locking.acquire("cart", args));
      await assert.rejects(asked.promise, medusaError("LOCK_HELD", refusal("cart")));
      assert.equal((await inspect("cart"))[0].waiting, 0);
    });
  }

  test("a number for acquireWait counts for all: 0 makes the lock step's a try as well", async () => {
    const { locking } = await backend.medusa({ acquireWait: 0 });
    await locking.acquire("cart", LOCK_STEP);
    const asked = performance.now();
    await assert.rejects(locking.acquire("cart", LOCK_STEP), medusaError("LOCK_HELD", refusal("cart")));
    assert.ok(performance.now() - asked < 1_500, "it did not wait");
  });

  /** Holds `key` one after the other, each of them having queued before the one before it ends. */
  async function moveLine(holders, key, during = async () => {}) {
    let before = await holding(holders(), key, { timeout: 60 });
    await during();
    for (let count = 1; count < HOLDERS; count += 1) {
      const next = holding(holders(), key, { timeout: 60 });
      await sleep(HOLD_MS);
      before.end();
      await before.done;
      before = await next;
    }
    await sleep(HOLD_MS);
    before.end();
    await before.done;
  }

  for (const [method, ask] of [
    ["execute", (locks) => locks.execute("k", () => "done")],
    ["acquire of the lock step", (locks) => locks.acquire("k", LOCK_STEP)],
  ]) {
    test(`${method} waits on behind a lock that changes hands, and is served last`, async () => {
      const options = backend.options({ waitLockingTimeout: SPAN, acquireWait: SPAN });
      const [first, other] = [backend.locks(options), backend.locks(options)];
      const stuck = await holding(first, "k");
      const line = Array.from({ length: HOLDERS }, () => holding(other, "k", { timeout: 60 }));
      await waiting(other, "k", HOLDERS);
      const late = watch(ask(first));
      const asked = performance.now();
      await sleep(HOLD_MS);
      stuck.end();
      for (const one of line) {
        const held = await one;
        await sleep(HOLD_MS);
        held.end();
        await held.done;
      }
      await settles(late.promise, "the last one of the line is served");
      assert.ok(performance.now() - asked > SPAN * 1_000, "the line took longer than the wait of one lock");
    });
  }

  test("a lock that stays with one holder is given up on, also by those behind the first that wait", async () => {
    const locks = backend.locks({ waitLockingTimeout: 0.5 });
    const stuck = await holding(locks, "k");
    const asked = performance.now();
    const waiters = Array.from({ length: 5 }, () => locks.execute("k", () => assert.fail("ran")));
    for (const waiter of waiters) await assert.rejects(waiter, lockError("LOCK_TIMEOUT", TIMED_OUT));
    assert.ok(performance.now() - asked >= 495);
    stuck.end();
    await stuck.done;
  });

  test("with waitWhileMoving 0, and with a timeout of its own, a call waits for so long and no longer", async () => {
    const options = backend.options({ waitLockingTimeout: 0.6, waitWhileMoving: 0 });
    const [holders, waiter] = [backend.locks(options), backend.locks({ ...options, waitWhileMoving: 30 })];
    await moveLine(() => holders, "k", async () => {
      const asked = performance.now();
      await assert.rejects(holders.execute("k", () => assert.fail("ran"), undefined), lockError("LOCK_TIMEOUT", TIMED_OUT));
      await assert.rejects(waiter.execute("k", () => assert.fail("ran"), { timeout: 0.3 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
      assert.ok(performance.now() - asked >= 890);
    });
  });

  test("waitWhileMoving is the end, however the line moves", async () => {
    const locks = backend.locks({ waitLockingTimeout: 0.5, waitWhileMoving: 1 });
    const first = await holding(locks, "k");
    const line = Array.from({ length: 8 }, () => holding(locks, "k", { timeout: 60 }));
    const late = watch(locks.execute("k", () => assert.fail("ran")));
    const asked = performance.now();
    first.end();
    for (const one of line) {
      const held = await one;
      await sleep(250);
      held.end();
      await held.done;
    }
    await assert.rejects(late.promise, lockError("LOCK_TIMEOUT", TIMED_OUT));
    assert.ok(performance.now() - asked >= 995);
  });

  test("of several keys one that is stuck is enough to give up", async () => {
    const options = backend.options({ waitLockingTimeout: 1 });
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    await locks.acquire("stuck", { ownerId: "somebody" });
    let moves = true;
    const moving = (async () => {
      while (moves) await others.execute("moves", () => sleep(100), { timeout: 60 });
    })();
    await assert.rejects(locks.execute(["moves", "stuck"], () => assert.fail("ran")), lockError("LOCK_TIMEOUT", TIMED_OUT));
    moves = false;
    await moving;
  });
});

describe("default waits behind nodes that know no queue", () => {
  let server, admin, fleet, leaveNothing;
  before(async () => {
    ({ server, admin, fleet, leaveNothing } = await fleetServer());
  });
  afterEach(() => leaveNothing((key) => key.includes("}:lock:")));
  after(() => server.stop());

  test("a lock without an owner that such nodes take one after the other is a line that moves", async () => {
    const { clients, namespace, lock } = fleet(1, { waitLockingTimeout: SPAN });
    const redis = server.connect();
    const old = new OldProvider(redis, namespace);
    await old.acquire("k", { expire: 30 });
    const waiter = watch(clients[0].execute("k", () => "done"));
    await queued(admin, lock("k"), 1);
    for (let count = 1; count < HOLDERS; count += 1) {
      await sleep(HOLD_MS);
      // As if the node released it and another one took it before anybody looked.
      await admin.set(lock("k"), "*", "PX", 30_000 + 40 * count);
      assert.equal(waiter.state, "pending");
    }
    await old.release("k");
    assert.equal(await settles(waiter.promise, "the waiter is served"), "done");
  });

  test("one that such a node keeps is given up on", async () => {
    const { clients, namespace } = fleet(1, { waitLockingTimeout: SPAN });
    await new OldProvider(server.connect(), namespace).acquire("k", { expire: 60 });
    const asked = performance.now();
    await assert.rejects(clients[0].execute("k", () => assert.fail("ran")), lockError("LOCK_TIMEOUT", TIMED_OUT));
    const took = performance.now() - asked;
    assert.ok(took >= SPAN * 1_000 - 5, `${took} ms`);
    await admin.del(`${namespace}k`);
  });
});
