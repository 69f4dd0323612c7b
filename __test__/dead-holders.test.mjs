/** Processes that die or freeze while they hold a lock: it goes to those who wait when its lease lapses, and to nobody before. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { startScript, stopScripts } from "./support/children.mjs";
import { freeze, insides, startChild } from "./support/fleet-children.mjs";
import { fleetServer, median, queued, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { settles, until } from "./support/waiting.mjs";

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  await stopScripts();
  await leaveNothing();
});
after(() => server.stop());

/** How many ms after the leases on `locks` had lapsed each of `waiting` was inside: they resolve with when that was. */
async function lateness(locks, waiting) {
  const lapses = [];
  for (const lock of locks) {
    const left = await admin.pttl(lock);
    assert.ok(left > 0, `${lock} has ${left} ms left`);
    lapses.push(performance.now() + left);
  }
  const served = await settles(Promise.all(waiting), "those that wait");
  return served.map((at, n) => Math.round(at - lapses[n]));
}

function soonAfter(late) {
  assert.ok(Math.max(...late) < 1_000, `late by ${late} ms`);
  assert.ok(median(late) < 300, `late by ${late} ms`);
  assert.ok(Math.min(...late) > -100, `early by ${late} ms`);
}

const now = () => performance.now();

test("killed while it holds: its locks go to those who wait when its leases lapse, not at their next polls", async () => {
  const { clients, lock, options } = fleet(1, RARE_POLLS);
  const keys = ["a", "b", "c", "d", "e", "f", "g"];
  const holder = startChild(options, keys, { stayMs: 60_000, expire: 2.5 });
  await until(() => insides(holder).length === keys.length, "it holds them all");
  const waiting = keys.map((key) => clients[0].execute(key, now, { timeout: 60 }));
  for (const key of keys) await queued(admin, lock(key), 1);
  holder.kill();
  soonAfter(await lateness(keys.map(lock), waiting));
});

test("killed while it holds, and is next for the same locks with others: those behind it have them when the leases lapse", async () => {
  const { clients, lock, options } = fleet(1, RARE_POLLS);
  const keys = ["a", "b", "c", "d", "e", "f", "g"];
  const sets = keys.map((key) => [key, `${key}2`]);
  const holder = startChild(options, [...keys, ...sets], { stayMs: 60_000, expire: 2.5 });
  await until(() => insides(holder).length === keys.length, "it holds them all");
  for (const key of keys) await queued(admin, lock(key), 1);
  const waiting = keys.map((key) => clients[0].execute(key, now, { timeout: 60 }));
  for (const key of keys) await queued(admin, lock(key), 2);
  holder.kill();
  soonAfter(await lateness(keys.map(lock), waiting));
});

test("killed with leases of a second, which were handed over to it: they too go to those who wait when they lapse", async () => {
  const { clients, lock, options } = fleet(2, RARE_POLLS);
  const keys = ["a", "b", "c", "d", "e"];
  const before = await Promise.all(keys.map((key) => holding(clients[0], key)));
  const holder = startChild(options, keys, { stayMs: 60_000, expire: 1 });
  for (const key of keys) await queued(admin, lock(key), 1);
  const waiting = keys.map((key) => clients[1].execute(key, now, { timeout: 60 }));
  for (const key of keys) await queued(admin, lock(key), 2);
  await Promise.all(before.map((held) => held.end()));
  await until(() => insides(holder).length === keys.length, "it holds them all");
  holder.kill();
  soonAfter(await lateness(keys.map(lock), waiting));
});

test("killed with a lock of acquire: it goes to the next one when it expires, and so does that one's", async () => {
  const { clients, lock, options } = fleet(3, RARE_POLLS);
  const held = await holding(clients[2], "k");
  const holder = startScript(
    `
    const locks = new Locks(input);
    await locks.acquire("k", { ownerId: "dead", expire: 1.5, awaitQueue: true });
    say("taken");
    setInterval(() => {}, 1_000);
    `,
    { input: options },
  );
  await queued(admin, lock("k"), 1);
  const second = clients[0].acquire("k", { ownerId: "second", awaitQueue: true, expire: 0.4 }).then(now);
  await queued(admin, lock("k"), 2);
  const third = clients[1].execute("k", now, { timeout: 60 });
  await queued(admin, lock("k"), 3);
  await held.end();
  await holder.line("taken");
  holder.kill();
  const [late] = await lateness([lock("k")], [second]);
  assert.ok(late < 1_000, `late by ${late} ms`);
  const after_ = (await settles(third, "the third")) - (await second);
  assert.ok(after_ > 300 && after_ < 400 + 1_000, `${after_} ms after an expiry of 400 ms was set`);
});

test("stopped past its lease: the next one has the lock, and the stopped one is told when it goes on", async () => {
  const { clients, lock, options } = fleet(1, RARE_POLLS);
  const holder = startChild(options, ["k"], { stayMs: 500, expire: 1 });
  await holder.line("inside");
  await freeze(holder);
  const next = await holding(clients[0], "k", { timeout: 60 });
  assert.ok(next.lock.fencingToken > insides(holder)[0]);
  holder.kill("SIGCONT");
  assert.equal(await holder.line("failed"), "LOCK_LOST");
  assert.equal(await admin.get(lock("k")), next.lock.ownerId);
  assert.equal(await next.end("done"), "done");
});

test("stopped while it runs, with others that wait: each is inside once, with tokens that rise", async () => {
  const { clients, lock, options } = fleet(1, RARE_POLLS);
  const held = await holding(clients[0], "k");
  const children = [];
  for (let n = 0; n < 3; n += 1) {
    children.push(startChild(options, ["k"], { stayMs: 500, expire: 1 }));
    await queued(admin, lock("k"), n + 1);
  }
  await held.end();
  await children[0].line("inside");
  await Promise.all([freeze(children[0]), freeze(children[1])]);
  await children[2].line("done");
  children[1].kill("SIGCONT");
  children[0].kill("SIGCONT");
  await Promise.all(children.map((child) => child.line("done")));
  const [first, second, third] = children.map(insides);
  assert.deepEqual([first.length, second.length, third.length], [1, 1, 1]);
  assert.ok(held.lock.fencingToken < first[0] && first[0] < third[0] && third[0] < second[0], `${[first, second, third]}`);
  assert.equal(await children[0].line("failed"), "LOCK_LOST");
  assert.ok(!children[1].lines.includes("failed LOCK_LOST"));
});
