/** Processes that die or freeze while they wait: those behind them are served soon, in turn, and one at a time. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { stopScripts } from "./support/children.mjs";
import { elapsed, freeze, insides, startChild } from "./support/fleet-children.mjs";
import { connectionOf, fleetServer, inboxes, queued, queueName, RARE_POLLS, waitersOf, waitsIn } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

/** Within this time whoever was handed a lock must claim it, and whoever waits must ask again. */
const CLAIM_MS = 2_000;
/** Who is not called asks at least this often. */
const POLL_MS = 1_000;
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 2_500;

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  await stopScripts();
  await leaveNothing();
});
after(() => server.stop());

test("killed while it waits: its waiters are passed over at the next release, all of them at once", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const held = await holding(clients[0], "k");
  const dead = startChild(options, ["k", ["k", "l"], ["k", "m"], ["j", "k"], ["a", "k", "z"]], { apart: true });
  await queued(admin, lock("k"), 5);
  const behind = clients[1].execute("k", () => "served", { timeout: 60 });
  await queued(admin, lock("k"), 6);
  dead.kill();
  await until(async () => (await inboxes(admin)).length === clients.length, "the server has noticed");
  const ms = await elapsed(Promise.all([held.end(), behind]), "the one that lives");
  assert.ok(ms < 1_000, `${ms} ms to pass over the dead`);
  assert.deepEqual(insides(dead), []);
});

test("killed while it waits: those behind it for its other keys are let through too", async () => {
  const { clients, lock, options } = fleet(3, RARE_POLLS);
  const held = await holding(clients[0], "a");
  const dead = startChild(options, [["a", "b"]]);
  await queued(admin, lock("b"), 1);
  const behind = clients[1].execute("b", () => "served", { timeout: 60 });
  await queued(admin, lock("b"), 2);
  dead.kill();
  // "b" was never held: nobody's release tells of it.
  const ms = await elapsed(behind, "the one behind it");
  assert.ok(ms < CLAIM_MS + MARGIN_MS, `${ms} ms`);
  await held.end();
});

test("stopped while it waits: it costs one claim expiry, and when it goes on it does not act on the stale grant", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const held = await holding(clients[0], "k");
  const frozen = startChild(options, ["k"]);
  await queued(admin, lock("k"), 1);
  const behind = holding(clients[1], "k", { timeout: 60 });
  await queued(admin, lock("k"), 2);
  await freeze(frozen);
  const ms = await elapsed(Promise.all([held.end(), behind]), "the one behind it");
  assert.ok(ms < CLAIM_MS + MARGIN_MS, `${ms} ms`);
  const next = await behind;
  frozen.kill("SIGCONT");
  await queued(admin, lock("k"), 1);
  await stays(() => frozen.lines.length === 0, "it is not inside while another one is", 1_000);
  assert.equal(await next.end("done"), "done");
  await frozen.line("done");
  const tokens = insides(frozen);
  assert.equal(tokens.length, 1);
  assert.ok(tokens[0] > next.lock.fencingToken, "it has a grant of its own, a newer one");
});

for (const [title, sets] of [["apart", ["k", "l", "m"]], ["that overlap", ["k", ["k", "l"], ["k", "m"], ["k", "l", "m"]]]]) {
  test(`stopped while it waits for sets ${title}: they cost one claim expiry together`, async () => {
    const { clients, lock, options } = fleet(2, RARE_POLLS);
    const held = await holding(clients[0], ["k", "l", "m"]);
    const frozen = startChild(options, sets);
    await waitsIn(admin, lock("k"), frozen.pid);
    const behind = clients[1].execute(["k", "l", "m"], () => "served", { timeout: 60 });
    await waitsIn(admin, lock("k"), process.pid);
    await freeze(frozen);
    const ms = await elapsed(Promise.all([held.end(), behind]), "the one behind it");
    assert.ok(ms < CLAIM_MS + MARGIN_MS, `${ms} ms`);
    frozen.kill("SIGCONT");
    await frozen.line("done");
    assert.equal(insides(frozen).length, sets.length);
  });
}

test("stopped and handed the lock: inspect shows whose it is, without a token, and no longer than the claim expiry", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const held = await holding(clients[0], "k");
  const frozen = startChild(options, ["k"]);
  await queued(admin, lock("k"), 1);
  await freeze(frozen);
  await held.end();
  const [shown] = await clients[1].inspect("k");
  assert.match(shown.ownerId, new RegExp(`^execute:.*:${frozen.pid}:`));
  assert.equal(shown.fencingToken, null);
  assert.ok(shown.expiresIn > 0 && shown.expiresIn <= CLAIM_MS / 1_000, `${shown.expiresIn} s`);
  frozen.kill("SIGCONT");
  await frozen.line("done");
});

test("stopped, handed the lock, and killed: the next one has it when the claim expires", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const held = await holding(clients[0], "k");
  const frozen = startChild(options, ["k"]);
  await queued(admin, lock("k"), 1);
  const behind = clients[1].execute("k", () => "served", { timeout: 60 });
  await queued(admin, lock("k"), 2);
  await freeze(frozen);
  await held.end();
  assert.match(await admin.get(lock("k")), new RegExp(`^execute:.*:${frozen.pid}:.*#0$`));
  frozen.kill();
  const ms = await elapsed(behind, "the one behind it");
  assert.ok(ms < CLAIM_MS + MARGIN_MS, `${ms} ms`);
});

test("stopped while it keeps a key free that it wants with another: those behind it go on without it", async () => {
  const { clients, lock, options } = fleet(3, RARE_POLLS);
  const held = await holding(clients[0], "a");
  const frozen = startChild(options, [["a", "b"]]);
  await queued(admin, lock("b"), 1);
  await freeze(frozen);
  const ms = await elapsed(clients[1].execute("b", () => "served", { timeout: 60 }), "the one behind it");
  assert.ok(ms < CLAIM_MS + POLL_MS + MARGIN_MS, `${ms} ms`);

  const later = watch(clients[2].execute("a", () => "later", { timeout: 60 }));
  await waitsIn(admin, lock("a"), process.pid);
  frozen.kill("SIGCONT");
  await waitsIn(admin, lock("a"), frozen.pid);
  const [first] = await waitersOf(admin, lock("a"));
  assert.ok(first.includes(`:${frozen.pid}:`), "it is back in its old place");
  await held.end();
  await frozen.line("done");
  assert.equal(await settles(later.promise, "the one behind it"), "later");
});

test("stopped for longer than it is remembered as a waiter's process, and going on: it waits again and is served", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const held = await holding(clients[0], "k");
  const frozen = startChild(options, ["k"]);
  await queued(admin, lock("k"), 1);
  await freeze(frozen);
  // What the server forgets after a minute, it forgets now.
  for (const name of await admin.keys("locking-native:{*")) await admin.del(name);
  const behind = clients[1].execute("k", () => "served", { timeout: 60 });
  await queued(admin, lock("k"), 1);
  frozen.kill("SIGCONT");
  await queued(admin, lock("k"), 2);
  await held.end();
  assert.equal(await settles(behind, "the other one"), "served");
  await frozen.line("done");
  assert.equal(insides(frozen).length, 1);
});

test("gone, and brought back by an older state of the server that is put back in place: they hold up nobody", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const { clients: [leaving] } = fleet(1, { ...options, redisOptions: { connectionName: "leaving" } });
  const held = await holding(clients[0], "k");
  const caller = new AbortController();
  const left = leaving.execute("k", () => assert.fail("ran"), { timeout: 60, signal: caller.signal });
  await queued(admin, lock("k"), 1);
  const records = [await queueName(admin, lock("k")), ...(await waitersOf(admin, lock("k")))];
  const state = await Promise.all(records.map((record) => admin.dumpBuffer(record)));
  caller.abort();
  await assert.rejects(left, { name: "AbortError" });
  await queued(admin, lock("k"), 0);

  // A server that comes back has no connection of before, and its state may be older than what became of its waiters.
  await admin.client("KILL", "ID", (await connectionOf(admin, "leaving")).id);
  await until(() => leaving.inspect("k").catch(() => false), "it is connected again");
  await Promise.all(records.map((record, n) => admin.restore(record, 60_000, state[n])));
  const behind = clients[1].execute("k", () => "served", { timeout: 60 });
  await queued(admin, lock("k"), 2);
  const ms = await elapsed(Promise.all([held.end(), behind]), "the one that waits");
  assert.ok(ms < CLAIM_MS / 2, `${ms} ms to pass over who has given up`);
});
