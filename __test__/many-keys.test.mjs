/**
 * As many keys as one call may name, on a real server: every script takes them, and what Lua can unpack is enough. Waiting,
 * giving up, handing over, renewing, releasing and sweeping, of jobs and of acquires. (`fleet-queue.test.mjs` has the handover of
 * small sets, `scripts-many-keys.test.mjs` what they cost.)
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { lockError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { fleetServer, inboxes, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { PATIENCE_MS, settles, stays, until } from "./support/waiting.mjs";

/** The bound of one call. */
const KEYS_MAX = 10_000;
const keys = Array.from({ length: KEYS_MAX }, (_, n) => `k${String(n).padStart(4, "0")}`);
const [first, last] = [keys[0], keys.at(-1)];
/** The server may be busy with one call for half a second. */
const LONG_MS = 4 * PATIENCE_MS;

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(() => leaveNothing());
after(() => server.stop());

/** The queue of a lock: the list names all that there are. */
const queueOf = async (lock) => (await admin.zrange("locking-native:queues", 0, -1)).find((name) => name.endsWith(`}:queue:${lock}`));
async function waitersOf(lock) {
  const queue = await queueOf(lock);
  return queue === undefined ? [] : admin.zrangebyscore(queue, 0, "+inf");
}
const queued = (lock, count) =>
  until(async () => (await waitersOf(lock)).length === count, `${count} in the queue of ${lock}`, LONG_MS);

const WAITING = {
  "a job": (locks, timeout) => locks.execute(keys, () => "served", { timeout }),
  "an acquire": async (locks, timeout) => {
    await locks.acquire(keys, { ownerId: "late", expire: 60, awaitQueue: true, timeout });
    assert.equal(await locks.release(keys, { ownerId: "late" }), true);
    return "served";
  },
};
for (const [title, wait] of Object.entries(WAITING)) {
  test(`${title} that gives up leaves all its queues, and those behind it for one of the keys are let through`, async () => {
    const { clients: [holder, late, behind], lock } = fleet(3, RARE_POLLS);
    const held = await holding(holder, first);
    const refused = assert.rejects(wait(late, 4), lockError("LOCK_TIMEOUT", TIMED_OUT));
    await queued(lock(last), 1);
    const single = behind.execute(last, () => "served", { timeout: 60 });
    await queued(lock(last), 2);
    await refused;
    assert.equal(await settles(single, "the one behind it"), "served");
    await held.end();
    assert.equal(await behind.execute(keys, () => "all of them", { timeout: 0 }), "all of them");
  });

  test(`${title} is handed all of them by the release of another process, of a job and of an owner`, async () => {
    const { clients: [one, other], lock } = fleet(2, RARE_POLLS);
    const held = await holding(one, keys);
    const behindJob = wait(other, 60);
    await queued(lock(last), 1);
    await held.end();
    assert.equal(await settles(behindJob, "the one behind a job", LONG_MS), "served");
    await one.acquire(keys, { ownerId: "early" });
    const behindOwner = wait(other, 60);
    await queued(lock(last), 1);
    assert.equal(await one.release(keys, { ownerId: "early" }), true);
    assert.equal(await settles(behindOwner, "the one behind an owner", LONG_MS), "served");
  });
}

test("what does not wait is refused by the last key as well as by the first, and takes nothing", async () => {
  const { clients: [holder, locks], lock } = fleet(2, RARE_POLLS);
  for (const key of [first, last]) {
    const held = await holding(holder, key);
    await assert.rejects(locks.acquire(keys, { ownerId: "me" }), lockError("LOCK_HELD", refusal(key)));
    await assert.rejects(locks.execute(keys, () => assert.fail("ran"), { timeout: 0 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    assert.equal(await admin.exists(...keys.map(lock)), 1);
    await held.end();
  }
});

test("an owner's locks are taken again, seen, and released by releaseAll, which hands them all over", async () => {
  const { clients: [locks, other], lock } = fleet(2, RARE_POLLS);
  await locks.acquire(keys, { ownerId: "me", expire: 60 });
  await locks.acquire(keys, { ownerId: "me", expire: 600 });
  assert.ok((await admin.pttl(lock(last))) > 60_000);
  const seen = await other.inspect(keys);
  assert.deepEqual(seen.map(({ key, ownerId }) => [key, ownerId]), keys.map((key) => [key, "me"]));
  assert.deepEqual(new Set(seen.map(({ fencingToken }) => fencingToken)), new Set([seen[0].fencingToken]));
  assert.ok(seen[0].fencingToken > 0);
  const waiting = other.execute(keys, () => "served", { timeout: 60 });
  await queued(lock(last), 1);
  await locks.releaseAll({ ownerId: "me" });
  assert.equal(await settles(waiting, "the one that waits", LONG_MS), "served");
});

test("of an owner's locks those are released that it has, and the rest of another's stay", async () => {
  const { clients: [locks], lock } = fleet(1);
  await locks.acquire(keys.slice(1), { ownerId: "me", expire: 60 });
  await locks.acquire(first, { ownerId: "other" });
  assert.equal(await locks.release(keys, { ownerId: "me" }), false);
  assert.deepEqual((await locks.inspect()).map(({ key, ownerId }) => [key, ownerId]), [[first, "other"]]);
  assert.equal(await admin.exists(...keys.map(lock)), 1);
  await locks.release(first, { ownerId: "other" });
});

test("locks of a very long owner id are looked up in pages, each of which the server lets out", async () => {
  const { clients: [locks] } = fleet(1);
  const some = keys.slice(0, 2_500);
  const ownerId = "o".repeat(16_384);
  await locks.acquire(some, { ownerId, expire: 60 });
  await locks.acquire(some, { ownerId, expire: 60 });
  // A subscribed client to which the server has 32 MB to send is cut off.
  for (const seen of [await locks.inspect(some), await locks.inspect()]) {
    assert.deepEqual(seen.map(({ key }) => key), some);
    assert.ok(seen.every((lock) => lock.ownerId === ownerId && lock.fencingToken > 0));
  }
  assert.equal(await locks.release(some, { ownerId }), true);
});

test("a lease on all of them is renewed, and the loss of one is told", async () => {
  const { clients: [locks], lock } = fleet(1);
  const held = await holding(locks, keys, { expire: 2 });
  const isHeld = async () => !held.signal.aborted && (await admin.exists(lock(first), lock(last))) === 2;
  await stays(isHeld, "it is renewed", 5_000);
  assert.equal(await admin.exists(...keys.map(lock)), KEYS_MAX);
  await admin.del(lock(last));
  await until(() => held.signal.aborted, "it is told");
  await assert.rejects(held.end(), lockError("LOCK_LOST"));
});

test("leases of many and of few keys are renewed side by side", async () => {
  const { clients: [locks], lock } = fleet(1);
  const sets = [keys.slice(0, 10), keys.slice(10, 1_500), keys.slice(1_500, 1_501), keys.slice(1_501, 8_000), keys.slice(8_000)];
  const all = await Promise.all(sets.map((set) => holding(locks, set, { expire: 2 })));
  const isHeld = async () => all.every(({ signal }) => !signal.aborted) && (await admin.exists(...sets.map(([key]) => lock(key)))) === sets.length;
  await stays(isHeld, "they are renewed", 4_000);
  await Promise.all(all.map((held) => held.end()));
});

test("one release serves a thousand waiters, behind a dead one for all of the keys", async () => {
  const { clients: [holder, dead, other], lock } = fleet(3, RARE_POLLS);
  const held = await holding(holder, keys);
  const gone = assert.rejects(dead.execute(keys, () => assert.fail("ran"), { timeout: 60 }), lockError("CLOSED"));
  await queued(lock(last), 1);
  const thousand = keys.slice(-1_000);
  const served = thousand.map((key) => other.execute(key, () => key, { timeout: 60 }));
  await queued(lock(last), 2);
  // Its inbox has no listener, and its places stay: as if its process had been killed.
  const [place] = await waitersOf(lock(last));
  await admin.hset(place, "inbox", "locking-native:inbox:nobody");
  await held.end();
  assert.deepEqual(await settles(Promise.all(served), "all of them", LONG_MS), thousand);
  await dead.close();
  await gone;
  await until(async () => (await inboxes(admin)).length === 2, "its own inbox is closed");
});
