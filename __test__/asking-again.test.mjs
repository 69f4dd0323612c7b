/**
 * Callers that are refused and ask again, as Medusa's lock step does: they keep their place, so that those who queue cannot starve
 * them. Whoever does not come back holds nobody up for long.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { onEachBackend } from "./support/backends.mjs";
import { lockError, refusal } from "./support/errors.mjs";
import { fleetServer, queued, waitersOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

/** How long Medusa's lock step sleeps between two tries. */
const STEP_PAUSE_MS = 300;

/** Far from how late a timer may be on a busy machine, and from the second within which a caller must come back. */
const LONG_PAUSE_MS = 500;

/** Asks until it is served, as the lock step does; `onRefused` is told each time that it is not. */
async function poll(locks, key, args, pauseMs = STEP_PAUSE_MS, onRefused = () => {}) {
  for (;;) {
    try {
      return await locks.acquire(key, args);
    } catch (error) {
      lockError("LOCK_HELD", refusal([key].flat()[0]))(error);
    }
    onRefused();
    await sleep(pauseMs);
  }
}

/** A try that must be refused. */
const refused = (locks, key, args) => assert.rejects(locks.acquire(key, args), lockError("LOCK_HELD"));

onEachBackend("asking again", (backend) => {
  for (const [who, args] of [
    ["of an owner", { ownerId: "poller", expire: 10 }],
    ["without an owner, with acquireWait 0", { expire: 10 }],
  ]) {
    test(`a caller ${who} that polls is served beside callers that queue without a pause`, async () => {
      const options = backend.options({ acquireWait: 0 });
      const [locks, others] = [backend.locks(options), backend.locks(options)];
      let goesOn = true;
      const queue = Array.from({ length: 4 }, async (_, index) => {
        const one = index % 2 === 0 ? locks : others;
        while (goesOn) await one.execute("k", () => sleep(20), { timeout: 60 });
      });
      await settles(poll(locks, "k", args), "the one that polls is served");
      await locks.release("k", { ownerId: args.ownerId });
      goesOn = false;
      await Promise.all(queue);
    });
  }

  test("those that poll are served in the order in which they began", async () => {
    const options = backend.options();
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    const stuck = await holding(others, "k");
    const served = [];
    const names = ["first", "second", "third"];
    const pollers = [];
    const refusals = { first: 0, second: 0, third: 0 };
    for (const name of names) {
      const args = { ownerId: name, expire: 10, timeout: 0.05 };
      const one = poll(locks, "k", args, LONG_PAUSE_MS, () => (refusals[name] += 1)).then(async () => {
        served.push(name);
        await locks.release("k", { ownerId: name });
      });
      pollers.push(one);
      await until(() => refusals[name] > 0, `${name} has asked`);
    }
    const haveComeBack = () => names.every((name) => refusals[name] > 1);
    await until(haveComeBack, "each has come back, so that its request stays while it is away");
    stuck.end();
    await settles(Promise.all(pollers), "all are served");
    assert.deepEqual(served, names);
  });

  test("a caller that has come back finds the lock free for it that was released while it was away", async () => {
    const options = backend.options();
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    const held = await holding(others, "k");
    const args = { ownerId: "poller", expire: 10 };
    await refused(locks, "k", args);
    await sleep(LONG_PAUSE_MS);
    await refused(locks, "k", args);
    const behind = watch(others.execute("k", () => "done", { timeout: 60 }));
    held.end();
    await held.done;
    await sleep(50);
    assert.equal(behind.state, "pending", "the one behind is not let past");
    await locks.acquire("k", args);
    const [seen] = await locks.inspect("k");
    assert.equal(seen.ownerId, "poller");
    assert.ok(seen.expiresIn > 9, "its expiry counts from when it came back");
    await locks.release("k", { ownerId: "poller" });
    assert.equal(await settles(behind.promise, "the one behind is served"), "done");
  });

  test("one that was refused once holds nobody up, and one that does not come back only for a moment", async () => {
    const options = backend.options();
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    const args = { ownerId: "gone", expire: 10 };
    for (const times of [1, 2]) {
      const held = await holding(others, "k");
      for (let count = 0; count < times; count += 1) {
        await refused(locks, "k", args);
        await sleep(50);
      }
      held.end();
      await held.done;
      assert.equal(await settles(others.execute("k", () => "done", { timeout: 60 }), `served after ${times}`), "done");
      assert.deepEqual(await locks.inspect(), []);
    }
  });

  test("what is asked for as another owner, for other keys or for another time is not taken for the same caller", async () => {
    const options = backend.options();
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    const held = await holding(others, "k");
    await refused(locks, "k", { ownerId: "one", expire: 10 });
    await refused(locks, "k", { ownerId: "two", expire: 10 });
    await refused(locks, "k", { ownerId: "one", expire: 11 });
    await refused(locks, ["j", "k"], { ownerId: "one", expire: 10 });
    held.end();
    await held.done;
    // Nobody came back, so nothing is kept for anybody.
    await locks.execute(["j", "k"], () => "done", { timeout: 0 });
  });

  test("a caller that comes back and then waits is served in its place, and one that gives up frees it", async () => {
    const options = backend.options();
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    const held = await holding(others, "k");
    const args = { ownerId: "poller", expire: 10 };
    await refused(locks, "k", args);
    await refused(locks, "k", args);
    const behind = watch(others.execute("k", () => "behind", { timeout: 60 }));
    const caller = new AbortController();
    const waits = watch(locks.acquire("k", { ...args, timeout: 60, signal: caller.signal }));
    await sleep(20);
    caller.abort(new Error("no longer wanted"));
    await assert.rejects(waits.promise, /no longer wanted/);
    held.end();
    assert.equal(await settles(behind.promise, "the one behind is served"), "behind");
    await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
  });

  test("close ends what is kept for callers that are away", async () => {
    const options = backend.options();
    const [locks, others] = [backend.locks(options), backend.locks(options)];
    const held = await holding(others, "k");
    const args = { ownerId: "poller", expire: 10 };
    await refused(locks, "k", args);
    await sleep(500);
    await refused(locks, "k", args);
    await locks.close();
    held.end();
    await held.done;
    await others.execute("k", () => "done", { timeout: 60 });
  });
});

describe("asking again, across processes", () => {
  let server, admin, fleet, leaveNothing;
  before(async () => {
    ({ server, admin, fleet, leaveNothing } = await fleetServer());
  });
  afterEach(() => leaveNothing());
  after(() => server.stop());

  test("the place that a waiter left is its own in the server's queue when it comes back", async () => {
    const { clients, lock } = fleet(3);
    const [holder, first, second] = clients;
    const held = await holding(holder, "k");
    const args = { ownerId: "first", expire: 10, timeout: 0.1 };
    await refused(first, "k", args);
    const later = watch(second.acquire("k", { ownerId: "second", expire: 10, timeout: 60 }));
    await queued(admin, lock("k"), 1);
    const [other] = await waitersOf(admin, lock("k"));
    const back = watch(first.acquire("k", { ...args, timeout: 0.1 }));
    await queued(admin, lock("k"), 2);
    assert.equal((await waitersOf(admin, lock("k")))[1], other, "it stands before the one that came later");
    await assert.rejects(back.promise, lockError("LOCK_HELD"));
    held.end();
    await settles(later.promise, "the later one is served when the first one stays away");
    await second.release("k", { ownerId: "second" });
  });

  test("a try that is refused once costs the server nothing more, and leaves nothing in its queues", async () => {
    const { clients, lock } = fleet(2);
    const held = await holding(clients[0], "k");
    await refused(clients[1], "k", { ownerId: "one", expire: 10 });
    assert.deepEqual(await waitersOf(admin, lock("k")), []);
    held.end();
    await held.done;
  });
});
