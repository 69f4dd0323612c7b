/**
 * Waiting in the queues of Redis for as long as was asked for: who gives up leaves every queue and holds up nobody, and who does
 * not is served.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { lockError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { elapsed } from "./support/fleet-children.mjs";
import { fleetServer, queued, RARE_POLLS, waitersOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { startProxy } from "./support/proxy.mjs";
import { Locks } from "./support/product.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(() => leaveNothing());
after(() => server.stop());

const nobodyWaits = (lock) => until(async () => (await waitersOf(admin, lock)).length === 0, `nobody waits for ${lock}`);

/** Ways to wait for `keys` through `locks` and to give up: each says how that ends. */
const WAYS = {
  "an execute that times out": (locks, keys) => ({
    call: locks.execute(keys, () => assert.fail("ran"), { timeout: 2 }),
    error: lockError("LOCK_TIMEOUT", TIMED_OUT),
  }),
  "an execute that is aborted": (locks, keys) => {
    const caller = new AbortController();
    const call = locks.execute(keys, () => assert.fail("ran"), { timeout: 60, signal: caller.signal });
    return { call, error: { name: "AbortError" }, giveUp: () => caller.abort() };
  },
  "awaitQueue with a timeout": (locks, keys) => ({
    call: locks.acquire(keys, { ownerId: "late", awaitQueue: true, timeout: 2 }),
    error: lockError("LOCK_TIMEOUT", TIMED_OUT),
  }),
  "awaitQueue with a signal": (locks, keys) => {
    const caller = new AbortController();
    const call = locks.acquire(keys, { ownerId: "late", awaitQueue: true, signal: caller.signal });
    return { call, error: { name: "AbortError" }, giveUp: () => caller.abort() };
  },
  "acquireWait that runs out": (locks, keys) => ({
    call: locks.acquire(keys, { ownerId: "late" }),
    error: lockError("LOCK_HELD", refusal("a")),
  }),
  "a client that closes": (locks, keys) => ({
    call: locks.acquire(keys, { ownerId: "late", awaitQueue: true }),
    error: lockError("CLOSED"),
    giveUp: () => locks.close(),
  }),
};

for (const [title, wait] of Object.entries(WAYS)) {
  test(`${title} leaves every queue, and whoever waited behind it for another key is let through`, async () => {
    const { clients, lock } = fleet(3, { acquireWait: 2, ...RARE_POLLS });
    const held = await holding(clients[0], "a");
    const { call, error, giveUp } = wait(clients[1], ["a", "b"]);
    const refused = assert.rejects(call, error);
    await queued(admin, lock("b"), 1);
    const behind = watch(clients[2].execute("b", () => "served", { timeout: 60 }));
    await queued(admin, lock("b"), 2);
    assert.equal(behind.state, "pending");
    giveUp?.();
    await settles(refused, "it is told");
    // Who says nothing is found to be frozen after two seconds.
    const ms = await elapsed(behind.promise, "the one behind it");
    assert.ok(ms < 900, `${ms} ms`);
    assert.equal(behind.value, "served");
    await nobodyWaits(lock("a"));
    await nobodyWaits(lock("b"));
    assert.equal(await held.end("done"), "done");
  });
}

test("who gives up is not granted the lock afterwards, and the next in the queue is", async () => {
  const { clients, lock } = fleet(4, RARE_POLLS);
  for (let round = 0; round < 10; round += 1) {
    const held = await holding(clients[0], "k");
    const caller = new AbortController();
    const job = () => assert.fail("ran");
    const gone = assert.rejects(clients[1].execute("k", job, { timeout: 60, signal: caller.signal }), { name: "AbortError" });
    await queued(admin, lock("k"), 1);
    const next = clients[2].execute("k", () => "next", { timeout: 60 });
    await queued(admin, lock("k"), 2);
    // In this order, in one turn of the event loop: it may have been handed over to the one that is gone.
    const ended = held.end();
    caller.abort();
    await settles(Promise.all([gone, ended]), "both are answered");
    assert.equal(await settles(next, "the next one"), "next");
  }
});

// Nobody who has the lock says so in time: what is handed over must be claimed within 2 s, what is claimed lapses after 15 s.
for (const [title, value] of [["has been handed over to it", /#0$/], ["has been claimed for it", /#[1-9]\d+$/]]) {
  test(`who gives up when the lock ${title}, and has not heard of it: it is given back at once`, async (t) => {
    const proxy = await startProxy(server.port);
    t.after(() => proxy.stop());
    const { clients: [holder, next], lock, options } = fleet(2, RARE_POLLS);
    const late = new Locks({ ...options, redisUrl: proxy.url });
    t.after(() => late.close());
    const held = await holding(holder, "k");
    const caller = new AbortController();
    const job = () => assert.fail("ran");
    const gone = assert.rejects(late.execute("k", job, { timeout: 60, signal: caller.signal }), { name: "AbortError" });
    await queued(admin, lock("k"), 1);
    const waiting = next.execute("k", () => "served", { timeout: 60 });
    await queued(admin, lock("k"), 2);
    proxy.delayReplies(300);
    await held.end();
    const isThere = async () => {
      const owner = await admin.get(lock("k"));
      return owner !== held.lock.ownerId && value.test(owner);
    };
    await until(isThere, "the lock is its own");
    caller.abort();
    await settles(gone, "its caller is told");
    const ms = await elapsed(waiting, "the next one");
    assert.ok(ms < 1_500, `${ms} ms`);
  });
}

test("awaitQueue without a timeout waits on past waitLockingTimeout", async () => {
  const { clients, lock } = fleet(2, { waitLockingTimeout: 0.2 });
  await clients[0].acquire("k", { ownerId: "first" });
  const waiting = watch(clients[1].acquire("k", { ownerId: "second", awaitQueue: true }));
  await queued(admin, lock("k"), 1);
  await stays(() => waiting.state === "pending", "it waits", 2_500);
  assert.equal((await waitersOf(admin, lock("k"))).length, 1);
  await clients[0].release("k", { ownerId: "first" });
  await settles(waiting.promise, "the one that waited");
  assert.equal(await admin.get(lock("k")), "second");
  assert.equal(await clients[0].release("k", { ownerId: "second" }), true);
});

test("acquireWait queues a plain acquire, and it is served in its turn", async () => {
  const { clients, lock } = fleet(3, { acquireWait: 60, ...RARE_POLLS });
  await clients[0].acquire("k", { ownerId: "first" });
  const second = watch(clients[1].acquire("k", { ownerId: "second" }));
  await queued(admin, lock("k"), 1);
  const third = watch(clients[2].acquire("k", { ownerId: "third" }));
  await queued(admin, lock("k"), 2);
  await clients[0].release("k", { ownerId: "first" });
  await settles(second.promise, "the second");
  assert.equal(third.state, "pending");
  await clients[0].release("k", { ownerId: "second" });
  await settles(third.promise, "the third");
  await clients[0].release("k", { ownerId: "third" });
});

test("a named owner takes its own lock again past those who wait, and keeps them waiting", async () => {
  const { clients, lock } = fleet(3, RARE_POLLS);
  await clients[0].acquire("k", { ownerId: "me", expire: 60 });
  const waiting = watch(clients[1].acquire("k", { ownerId: "other", awaitQueue: true }));
  await queued(admin, lock("k"), 1);
  await settles(clients[2].acquire("k", { ownerId: "me", expire: 600 }), "the same owner");
  await settles(clients[2].acquire("k", { ownerId: "me", expire: 600, awaitQueue: true }), "the same owner in the queue");
  assert.equal(waiting.state, "pending");
  await clients[0].release("k", { ownerId: "me" });
  await settles(waiting.promise, "the one that waited");
  await clients[0].release("k", { ownerId: "other" });
});

test("releaseAll hands over what somebody waits for", async () => {
  const { clients, lock } = fleet(3, RARE_POLLS);
  await clients[0].acquire(["a", "b"], { ownerId: "me" });
  const waiting = [clients[1].execute("a", () => "a", { timeout: 60 }), clients[2].execute("b", () => "b", { timeout: 60 })];
  await queued(admin, lock("a"), 1);
  await queued(admin, lock("b"), 1);
  await clients[0].releaseAll({ ownerId: "me" });
  assert.deepEqual(await settles(Promise.all(waiting), "both are served"), ["a", "b"]);
});
