/** What the queues cost the server: how many scripts a call, a handover and a wait take, and how many channels a fleet has. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { lockError, TIMED_OUT } from "./support/errors.mjs";
import { calls, connectionOf, fleetServer, inboxes, median, queued, scriptCalls, waitersOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { deferred, settles, stays, until } from "./support/waiting.mjs";

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(() => leaveNothing());
after(() => server.stop());

/** How many scripts run until `work` is done. */
async function costOf(admin, work) {
  await admin.config("RESETSTAT");
  await work();
  return scriptCalls(admin);
}

/** Has the server learn every script: the first call of one is followed by another that brings its source. */
async function warmUp(locks, other) {
  await locks.execute("warm", () => {});
  await locks.acquire("warm", { ownerId: "me" });
  await assert.rejects(other.acquire("warm", { ownerId: "you", timeout: 0.1 }), lockError("LOCK_HELD"));
  await assert.rejects(other.execute("warm", () => assert.fail("ran"), { timeout: 0.1 }), lockError("LOCK_TIMEOUT"));
  await locks.release("warm", { ownerId: "me" });
}

for (const [title, keys] of [["a key", "k"], ["ten keys", Array.from({ length: 10 }, (_, n) => `k${n}`)]]) {
  test(`${title} that nobody else wants: one script to acquire, one to release, two to execute`, async () => {
    const { clients: [locks, other] } = fleet(2);
    await warmUp(locks, other);
    const ownerId = "me";
    assert.equal(await costOf(admin, () => locks.acquire(keys, { ownerId })), 1);
    assert.equal(await costOf(admin, () => assert.rejects(other.acquire(keys), lockError("LOCK_HELD"))), 1);
    assert.equal(await costOf(admin, () => locks.release(keys, { ownerId })), 1);
    assert.equal(await costOf(admin, () => locks.acquire(keys, { ownerId, awaitQueue: true })), 1);
    assert.equal(await costOf(admin, () => other.release(keys, { ownerId })), 1);
    assert.equal(await costOf(admin, () => locks.execute(keys, () => {})), 2);
  });
}

for (const waiters of [2, 20, 200]) {
  test(`a handover takes three scripts at most and calls one client, with ${waiters} that wait`, async () => {
    const { clients: [holder, other, ...others], lock } = fleet(2 + waiters);
    await warmUp(holder, other);
    await Promise.all(others.map((client) => client.inspect("k")));
    const held = await holding(holder, "k");
    const jobs = [];
    const job = () => {
      const end = deferred();
      jobs.push(end);
      return end.promise;
    };
    const waiting = others.map((client) => client.execute("k", job, { timeout: 60 }));
    await queued(admin, lock("k"), waiters);

    // Everybody who waits asks once a second as well, and is told of a moment for which the lock is left free: with 200 that is
    // in nearly every turn. scripts-cost.test.mjs has the same without polls, with up to 2000.
    const costs = [];
    const messages = [];
    let end = held.end;
    for (let turn = 1; turn <= Math.min(waiters, 8); turn += 1) {
      const scripts = await costOf(admin, async () => {
        end();
        await until(() => jobs.length === turn, "the next job runs");
      });
      costs.push(scripts);
      messages.push(await calls(admin, "publish"));
      end = jobs[turn - 1].resolve;
    }
    assert.ok((waiters <= 20 ? median(costs) : Math.min(...costs)) <= 3, `${costs} scripts`);
    assert.ok(median(messages) <= 1, `${messages} messages`);

    for (let turn = 1; turn <= waiters; turn += 1) {
      await until(() => jobs.length >= turn, `the ${turn}th job`);
      jobs[turn - 1].resolve();
    }
    await settles(Promise.all(waiting), "all are served");
  });
}

test("a wait of ten seconds takes fifteen scripts at most, however many callers of a client wait, and a few more behind a node that tells nobody", async () => {
  const foreign = await fleetServer();
  /** How many scripts a wait takes for a lock that `hold` took, which resolves with how to release it. */
  const wait = async ({ admin, fleet }, hold) => {
    const { clients: [locks, other], lock } = fleet(2);
    await warmUp(other, locks);
    const release = await hold(other, lock("k"));
    const scripts = await costOf(admin, async () => {
      const late = locks.acquire("k", { ownerId: "me", awaitQueue: true, timeout: 10 });
      // They give up before it does: none of them shall come to ask.
      const behind = Array.from({ length: 50 }, () => locks.execute("k", () => assert.fail("ran"), { timeout: 9 }));
      for (const call of [...behind, late]) await assert.rejects(call, lockError("LOCK_TIMEOUT", TIMED_OUT));
      await until(async () => (await waitersOf(admin, lock("k"))).length === 0, "it has left the queue");
    });
    await release();
    return scripts;
  };
  try {
    const [told, silent] = await Promise.all([
      wait({ admin, fleet }, async (other) => {
        await other.acquire("k", { ownerId: "you" });
        return () => other.release("k", { ownerId: "you" });
      }),
      wait(foreign, async (_other, name) => {
        await foreign.admin.set(name, "execute:somebody");
        return () => foreign.admin.del(name);
      }),
    ]);
    assert.ok(told <= 15, `${told} scripts`);
    assert.ok(silent <= 20, `${silent} scripts behind a node that tells nobody`);
  } finally {
    await foreign.closeAll();
    await foreign.server.stop();
  }
});

test("a client listens on one channel, from its first call until it closes, whatever it waits for", async () => {
  await admin.config("RESETSTAT");
  const { clients, lock } = fleet(10);
  const held = await holding(clients[0], ["a", "b", "c"]);
  const waiting = clients.slice(1).flatMap((client) => ["a", "b", "c"].map((key) => client.execute(key, () => key, { timeout: 60 })));
  for (const key of ["a", "b", "c"]) await queued(admin, lock(key), 9);
  assert.equal((await inboxes(admin)).length, clients.length);
  assert.equal(new Set(await inboxes(admin)).size, clients.length);
  const listeners = await admin.pubsub("NUMSUB", ...(await inboxes(admin)));
  assert.deepEqual(listeners.filter((_, n) => n % 2 === 1).map(Number), Array(clients.length).fill(1));
  await held.end();
  await settles(Promise.all(waiting), "all are served");
  assert.equal(await calls(admin, "subscribe"), clients.length);
  assert.equal(await calls(admin, "psubscribe", "ssubscribe"), 0);
  await Promise.all(clients.map((client) => client.close()));
  await until(async () => (await inboxes(admin)).length === 0, "nobody listens");
});

test("a client whose connection was cut listens on one channel again, a new one", async () => {
  const { options } = fleet(0);
  const locks = new Locks({ ...options, redisOptions: { connectionName: "cut" } });
  await locks.execute("k", () => {});
  const before = await inboxes(admin);
  assert.equal(before.length, 1);
  await admin.client("KILL", "ID", (await connectionOf(admin, "cut")).id);
  await until(async () => (await connectionOf(admin, "cut"))?.channels === 1, "it listens");
  // What was said of the one before, to whoever remembers it, is of a connection that is gone.
  assert.notDeepEqual(await inboxes(admin), before);
  await stays(async () => (await inboxes(admin)).length === 1, "one channel", 300);
  await locks.close();
});
