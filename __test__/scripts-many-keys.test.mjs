/**
 * What many keys in a call cost the server, in the commands that the scripts run: no more than as many times as much as there are
 * more keys, whoever is gone, and next to nothing for a poll.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { held, scriptServer, waits } from "./support/scripts.mjs";

const keysOf = (count) => Array.from({ length: count }, (_, n) => `k${String(n).padStart(4, "0")}`);
/** What grows with the square would be 10 times this. */
const TIMES_MAX = 13;
const FEW = 100;
const MORE = 1_000;
const LEASE = { lease: 600_000 };

let redis, admin;
before(async () => {
  redis = await scriptServer();
  ({ admin } = redis);
});
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

/** How many commands ran on the server during `work`, those in scripts included. */
async function commandsOf(work) {
  await admin.config("RESETSTAT");
  await work();
  const stats = await admin.info("commandstats");
  const counts = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].filter(([, name]) => !/^config|^info/.test(name));
  return counts.reduce((sum, [, , count]) => sum + Number(count), 0);
}

/** Each with what happens to locks of so many keys; what it costs. */
const COSTS = {
  async "waiting, giving up, a handover and a claim, of jobs"(keys) {
    const [holder, next, leaving] = [await redis.member(), await redis.member(), await redis.member()];
    const job = await held(holder, keys, LEASE);
    return commandsOf(async () => {
      const [one, other] = [next.job(keys, LEASE), leaving.job(keys, LEASE)];
      await one.waits();
      await other.waits();
      await other.cancel();
      await job.release();
      await one.gets();
      await one.release();
    });
  },
  async "the same of owners, and what is refused and looked at"(keys) {
    const [holder, next, stranger] = [await redis.member(), await redis.member(), await redis.member()];
    const lock = holder.acquire("one", keys);
    await lock.gets();
    return commandsOf(async () => {
      const one = next.acquire("other", keys);
      await one.waits();
      await stranger.acquire("third", keys).try();
      await redis.inspect(keys);
      assert.equal(await lock.release(), 1);
      await one.gets();
      await redis.sweep(keys, "other");
    });
  },
  async "a release behind which there is a dead waiter for each key, and then a live one for all"(keys) {
    const [holder, dead, live] = [await redis.member(), await redis.member(), await redis.member()];
    const job = await held(holder, keys, LEASE);
    for (const key of keys) await waits(dead, [key], LEASE);
    const all = await waits(live, keys, LEASE);
    await dead.die();
    const commands = await commandsOf(() => job.release());
    assert.ok(await all.isHandedOver());
    await all.gets();
    return commands;
  },
  async "a release that serves an owner once for each key, who waits for all of them as well"(keys) {
    const [holder, other] = [await redis.member(), await redis.member()];
    const job = await held(holder, [...keys, "y"], LEASE);
    const keeping = await held(holder, ["x"], LEASE);
    const single = [];
    for (const key of keys) single.push(other.acquire("me", [key]));
    for (const one of single) await one.waits();
    // The first for y alone, which is looked at first: it is refused because of x, and may have more with each that is served.
    const all = other.acquire("me", ["x", ...keys, "y"]);
    await all.waits();
    const commands = await commandsOf(() => job.release());
    for (const one of single) assert.deepEqual(await one.told(), ["granted"]);
    await keeping.release();
    await all.gets();
    await redis.sweep(["x", ...keys, "y"], "me");
    return commands;
  },
};
for (const [title, costOf] of Object.entries(COSTS)) {
  test(`${title}: ten times the keys cost no more than ten times as much, and a little`, async () => {
    const few = await costOf(keysOf(FEW));
    await redis.leaveNothing();
    const more = await costOf(keysOf(MORE));
    assert.ok(more < TIMES_MAX * few, `${few} commands for ${FEW} keys, ${more} for ${MORE}`);
  });
}

for (const [title, make] of [
  ["job", (member, keys) => member.job(keys, LEASE)],
  ["acquire", (member, keys) => member.acquire("me", keys)],
]) {
  test(`a poll of a ${title} for many keys is a look at the one that kept it, until that is free or not all are known`, async () => {
    const keys = keysOf(MORE);
    const [holder, other, waiter] = [await redis.member(), await redis.member(), await redis.member()];
    const middle = await held(holder, [keys[500]], LEASE);
    const end = await held(other, [keys.at(-1)], LEASE);
    const all = make(waiter, keys);
    const first = await all.waits();
    assert.equal(first.index, 501);
    const polledAt = await admin.hget(all.waiter, "polled");
    assert.ok((await commandsOf(() => all.waits())) < 30);
    assert.deepEqual(Object.keys(await all.waits()), Object.keys(first));
    assert.ok((await all.waits()).ms > 590_000, "it is told when the lock that keeps it lapses");
    assert.ok(Number(await admin.hget(all.waiter, "polled")) > Number(polledAt), "it counts as a poll");
    // After a while all are looked at again: they would expire.
    const [index, looked, count] = (await admin.hget(all.waiter, "kept")).split(" ").map(Number);
    assert.deepEqual([index, count], [501, MORE]);
    await admin.hset(all.waiter, "kept", `${index} ${looked - 11_000_000} ${count}`);
    await admin.pexpire(redis.queue(keys[0]), 5_000);
    assert.ok((await commandsOf(() => all.waits())) > MORE);
    assert.ok((await admin.pttl(redis.queue(keys[0]))) > 50_000);
    // Freed by somebody who tells nobody.
    await redis.lapse(keys[500]);
    assert.equal((await all.waits()).index, MORE);
    await end.release();
    assert.deepEqual(await all.told(), ["granted"]);
    await all.gets();
    await all.release();
    await middle.release();
  });
}

test("a release of one key for which a waiter for many is the first costs the same whether they are 200 or 2000", async () => {
  const costs = [];
  for (const count of [200, 2_000]) {
    const keys = keysOf(count);
    const holder = await redis.member();
    const jobs = [];
    for (const key of [keys[0], keys[50], keys[51], keys.at(-1)]) jobs.push(await held(holder, [key], LEASE));
    const all = await waits(await redis.member(), keys, LEASE);
    // The last one first: the one that keeps the waiter stays.
    costs.push(await commandsOf(() => jobs[3].release()), await commandsOf(() => jobs[1].release()));
    // What kept it goes: it is kept by the next one from there on, and still by that when another is freed.
    await jobs[0].release();
    assert.match(await admin.hget(all.waiter, "kept"), /^52 /);
    assert.deepEqual(await all.told(), []);
    await jobs[2].release();
    assert.deepEqual(await all.told(), ["granted"]);
    await all.gets();
    await all.release();
    await redis.leaveNothing();
  }
  assert.equal(new Set(costs).size, 1, `${costs} commands`);
});
