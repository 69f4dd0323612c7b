/**
 * As many keys as one call may name, on a real server: every script takes them, and what Lua can unpack is enough. Waiting,
 * giving up, renewing, releasing and sweeping, of jobs and of acquires. (`fleet-queue.test.mjs` has the handover of such sets.)
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { lockError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { fleetServer, inboxes, queued, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { settles, stays, until } from "./support/waiting.mjs";

/** The bound of one call. */
const KEYS_MAX = 1_000;
const keys = Array.from({ length: KEYS_MAX }, (_, n) => `k${String(n).padStart(3, "0")}`);
const [first, last] = [keys[0], keys.at(-1)];

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(() => leaveNothing());
after(() => server.stop());

const WAITING = {
  "a job": (locks, timeout) => locks.execute(keys, () => assert.fail("ran"), { timeout }),
  "an acquire": (locks, timeout) => locks.acquire(keys, { ownerId: "late", awaitQueue: true, timeout }),
};
for (const [title, wait] of Object.entries(WAITING)) {
  test(`${title} that gives up leaves all thousand queues, and those behind it for one of the keys are let through`, async () => {
    const { clients: [holder, late, behind], lock } = fleet(3, RARE_POLLS);
    const held = await holding(holder, first);
    const refused = assert.rejects(wait(late, 3), lockError("LOCK_TIMEOUT", TIMED_OUT));
    await queued(admin, lock(last), 1);
    const single = behind.execute(last, () => "served", { timeout: 60 });
    await queued(admin, lock(last), 2);
    await refused;
    assert.equal(await settles(single, "the one behind it"), "served");
    await held.end();
    assert.equal(await behind.execute(keys, () => "all of them", { timeout: 0 }), "all of them");
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
  await queued(admin, lock(last), 1);
  await locks.releaseAll({ ownerId: "me" });
  assert.equal(await settles(waiting, "the one that waits"), "served");
});

test("a lease on all of them is renewed, and the loss of one is told", async () => {
  const { clients: [locks], lock } = fleet(1);
  const held = await holding(locks, keys, { expire: 1.5 });
  await stays(async () => !held.signal.aborted && (await admin.exists(...keys.map(lock))) === KEYS_MAX, "it is renewed", 4_000);
  await admin.del(lock(last));
  await until(() => held.signal.aborted, "it is told");
  await assert.rejects(held.end(), lockError("LOCK_LOST"));
});

test("one release serves a thousand waiters, behind a dead one for all of the keys", async () => {
  const { clients: [holder, dead, other], lock } = fleet(3, RARE_POLLS);
  const held = await holding(holder, keys);
  const gone = assert.rejects(dead.execute(keys, () => assert.fail("ran"), { timeout: 60 }), lockError("CLOSED"));
  await queued(admin, lock(last), 1);
  const served = keys.map((key) => other.execute(key, () => key, { timeout: 60 }));
  await queued(admin, lock(last), 2);
  // Its inbox has no listener, and its places stay: as if its process had been killed.
  const [place] = await admin.zrange(await queueOf(lock(last)), 0, 0);
  await admin.hset(place, "inbox", "locking-native:inbox:nobody");
  await held.end();
  assert.deepEqual(await settles(Promise.all(served), "all of them"), keys);
  await dead.close();
  await gone;
  await until(async () => (await inboxes(admin)).length === 2, "its own inbox is closed");
});

const queueOf = async (lock) => (await admin.keys("locking-native:*:queue:*")).find((name) => name.endsWith(lock));
