/**
 * docs/PROTOCOL.md is enough to write another client from: one that was, in support/second-client.mjs, is a member of a fleet of
 * ours. It waits in the same queues, is called and claims, hands over, and is passed over when it is gone.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { lockError, TIMED_OUT } from "./support/errors.mjs";
import { elapsed } from "./support/fleet-children.mjs";
import { calls, fleetServer, inboxes, median, queued, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { GivenUp, scriptsOfProtocol, SecondClient } from "./support/second-client.mjs";
import { deferred, settles, stays, until, watch } from "./support/waiting.mjs";

const CLAIM_MS = 2_000;
/** Who waits polls once a second: whoever was served sooner was told. */
const TOLD_MS = 800;
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 2_500;

let server, admin, fleet, leaveNothing;
const connected = [];
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  await leaveNothing();
  for (const client of connected.splice(0)) client.die();
});
after(() => server.stop());

/** `count` clients of ours, and another one of the same namespace. */
async function mixed(count, options = {}) {
  const opened = fleet(count, { ...RARE_POLLS, ...options });
  const second = await SecondClient.connect(server.url, opened.namespace);
  connected.push(second);
  return { ...opened, second };
}

/** Has `client` hold `keys` until `end()`. */
async function inside(client, keys, options) {
  const [started, end] = [deferred(), deferred()];
  const done = client.execute(keys, (token, lost) => (started.resolve({ token, lost }), end.promise), options);
  done.catch(started.reject);
  const held = await settles(started.promise, "its job runs");
  return { ...held, end: () => (end.resolve(), done) };
}

test("the protocol says of which files each script is made", () => {
  const names = ["acquire_job", "acquire_lock", "cancel_job", "cancel_lock", "inspect", "keep", "release", "renew", "reserve", "sweep"];
  assert.deepEqual([...scriptsOfProtocol].sort(), names);
});

describe("in one queue with ours", () => {
  test("all are served in the order in which they asked, with tokens that rise, and are told so", async () => {
    const { clients: [holder, ...others], second, lock } = await mixed(4);
    const held = await holding(holder, "k");
    const served = [];
    const ours = (n, client) => client.execute("k", (_signal, { fencingToken }) => void served.push([n, fencingToken]), { timeout: 60 });
    const its = (n) => second.execute(["k"], (token) => void served.push([n, token]));
    const waiting = [];
    for (const n of [0, 1, 2, 3, 4, 5]) {
      waiting.push(n % 2 === 0 ? ours(n, others[n / 2]) : its(n));
      await queued(admin, lock("k"), n + 1);
    }
    assert.equal((await inboxes(admin)).length, 5);
    const ms = await elapsed(Promise.all([held.end(), ...waiting]), "all are served");
    assert.deepEqual(served.map(([n]) => n), [0, 1, 2, 3, 4, 5]);
    for (const [n, [, token]] of served.entries()) {
      assert.ok(token > (n === 0 ? held.lock.fencingToken : served[n - 1][1]), `${n}: ${JSON.stringify(served)}`);
    }
    assert.ok(ms < TOLD_MS, `${ms} ms: they polled`);
    assert.deepEqual(second.heard, ["granted 1", "granted 2", "granted 3"]);
  });

  test("it excludes ours and ours exclude it, from sets that overlap too; what it holds lasts for as long as it renews it", async () => {
    const { clients: [locks], second } = await mixed(1);
    const held = await inside(second, ["a", "b"], { leaseMs: 900 });
    await assert.rejects(locks.execute(["b", "c"], () => assert.fail("ran"), { timeout: 0.2 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    await stays(async () => !held.lost() && (await locks.inspect("a"))[0]?.fencingToken === held.token, "it is renewed", 2_000);
    await held.end();

    const ours = await holding(locks, ["b", "c"]);
    const late = second.execute(["a", "b"], () => assert.fail("ran"), { timeoutMs: 300 });
    await assert.rejects(late, GivenUp);
    const { owner, token } = await second.inspect("b");
    assert.deepEqual([owner, token], [ours.lock.ownerId, ours.lock.fencingToken]);
    assert.equal(await second.inspect("a"), null);
    await ours.end();
  });

  test("whatever keys and namespaces are called, they meet in the same queues", async () => {
    const keys = ["plain", "{tag}", "a{b}c", "{}", "}{", "a:queue:b", "}:waiter:{", "since 1", " ", "é\u{1F512}", "{1:2}"];
    for (const namespace of ["ns:", "shop{1}:", "n{s}:queue:"]) {
      const { clients: [locks], second, lock } = await mixed(1, { namespace });
      for (const ourTurn of [true, false]) {
        const held = ourTurn ? await inside(second, keys) : await holding(locks, keys);
        const execute = (key) => (ourTurn ? locks.execute(key, () => key, { timeout: 60 }) : second.execute([key], () => key));
        const waiting = keys.map(execute);
        for (const key of keys) await queued(admin, lock(key), 1);
        const ms = await elapsed(Promise.all([held.end(), ...waiting]), "all are served");
        assert.ok(ms < TOLD_MS, `${ms} ms: they polled`);
      }
    }
  });

  test("whoever gives up, of either kind, lets those behind it through", async () => {
    const { clients: [holder, other], second, lock } = await mixed(2);
    const held = await holding(holder, "a");
    const itGivesUp = assert.rejects(second.execute(["a", "b"], () => assert.fail("ran"), { timeoutMs: 700 }), GivenUp);
    await queued(admin, lock("b"), 1);
    const behindIt = other.execute("b", () => "served", { timeout: 60 });
    await itGivesUp;
    assert.equal(await settles(behindIt, "ours behind it"), "served");

    const caller = new AbortController();
    const oursGivesUp = assert.rejects(other.execute(["a", "b"], () => assert.fail("ran"), { timeout: 60, signal: caller.signal }), { name: "AbortError" });
    await queued(admin, lock("b"), 1);
    const behindOurs = second.execute(["b"], () => "served");
    await queued(admin, lock("b"), 2);
    caller.abort();
    const ms = await elapsed(Promise.all([oursGivesUp, behindOurs]), "it, behind ours");
    assert.ok(ms < TOLD_MS, `${ms} ms: it polled`);
    await held.end();
  });
});

describe("locks of owners", () => {
  test("are taken by one kind, shown with their tokens and released by the other, and handed to who waits there", async () => {
    const { clients: [locks], second, lock } = await mixed(1);
    const token = await second.acquire(["k"], "me", { expireMs: 30_000 });
    const [shown] = await locks.inspect("k");
    assert.deepEqual([shown.ownerId, shown.fencingToken], ["me", token]);
    const waiting = watch(locks.acquire("k", { ownerId: "you", awaitQueue: true }));
    await queued(admin, lock("k"), 1);
    assert.equal(waiting.state, "pending");
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
    await settles(waiting.promise, "ours has it");

    const next = second.acquire(["k"], "me");
    await queued(admin, lock("k"), 1);
    assert.equal(await second.release(["k"], "you"), true);
    assert.ok((await settles(next, "it has it")) > token);
    assert.deepEqual(await second.inspect("k"), { owner: "me", ms: -1, token: await next });
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
  });

  test("releaseAll of either kind hands over to those of the other that wait", async () => {
    const { clients: [locks], second, lock } = await mixed(1);
    await locks.acquire(["a", "b"], { ownerId: "me" });
    await locks.acquire("c", { ownerId: "you" });
    const its = watch(second.execute(["a", "b"], () => "it"));
    await queued(admin, lock("a"), 1);
    await locks.releaseAll({ ownerId: "me" });
    assert.equal(await settles(its.promise, "it"), "it");

    const ours = watch(locks.execute(["b", "c"], () => "ours", { timeout: 60 }));
    await queued(admin, lock("c"), 1);
    await second.releaseAll("me");
    assert.equal(ours.state, "pending", "c is another one's");
    await second.releaseAll("you");
    assert.equal(await settles(ours.promise, "ours"), "ours");
  });
});

describe("gone", () => {
  test("dead while it waits: it is passed over at the next release", async () => {
    const { clients: [holder, other], second, lock } = await mixed(2);
    const held = await holding(holder, "k");
    const its = second.execute(["k"], () => assert.fail("ran"));
    its.catch(() => {});
    await queued(admin, lock("k"), 1);
    const behind = other.execute("k", () => "served", { timeout: 60 });
    await queued(admin, lock("k"), 2);
    second.die();
    await until(async () => (await inboxes(admin)).length === 2, "the server has noticed");
    const ms = await elapsed(Promise.all([held.end(), behind]), "ours behind it");
    assert.ok(ms < TOLD_MS, `${ms} ms`);
  });

  test("it does not claim what it was handed: ours behind it has that when the claim expires", async () => {
    const { clients: [holder, other], second, lock } = await mixed(2);
    const held = await holding(holder, "k");
    second.execute(["k"], () => assert.fail("ran"), { claim: false });
    await queued(admin, lock("k"), 1);
    const behind = other.execute("k", () => "served", { timeout: 60 });
    await queued(admin, lock("k"), 2);
    await held.end();
    assert.match(await admin.get(lock("k")), /^execute:second:.*#0$/);
    const ms = await elapsed(behind, "ours behind it");
    assert.ok(ms > CLAIM_MS / 2 && ms < CLAIM_MS + MARGIN_MS, `${ms} ms`);
  });

  test("dead while it holds: ours has the lock when its lease lapses", async () => {
    const { clients: [locks], second, lock } = await mixed(1);
    await inside(second, ["k"], { leaseMs: 2_500 });
    const waiting = locks.execute("k", () => performance.now(), { timeout: 60 });
    await queued(admin, lock("k"), 1);
    second.die();
    const lapses = performance.now() + (await admin.pttl(lock("k")));
    const late = (await settles(waiting, "ours")) - lapses;
    assert.ok(late > -100 && late < 600, `late by ${late} ms`);
  });
});

test("a handover between it and ours takes three scripts at most", async () => {
  const { clients: [locks], second, lock } = await mixed(1, { localHandoffs: 0 });
  const costs = [];
  for (let round = 0; round < 6; round += 1) {
    const ourTurn = round % 2 === 0;
    const held = ourTurn ? await inside(second, ["k"]) : await holding(locks, "k");
    const next = deferred();
    const started = deferred();
    const job = () => (started.resolve(), next.promise);
    const waiting = ourTurn ? locks.execute("k", job, { timeout: 60 }) : second.execute(["k"], job);
    await queued(admin, lock("k"), 1);
    await admin.config("RESETSTAT");
    const ended = held.end();
    await settles(started.promise, "the next one's job");
    costs.push(await calls(admin, "eval", "evalsha"));
    next.resolve();
    await Promise.all([ended, waiting]);
  }
  // A poll may come in between.
  assert.ok(median(costs) <= 3, `${costs} scripts`);
});
