/**
 * What a contended lock costs the server does not depend on how many wait for it: the commands that the scripts run, counted by the
 * server, are the same with two waiting processes and with two thousand.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { held, scriptServer, waits } from "./support/scripts.mjs";

const FEW = 2;
const MANY = [20, 200, 2_000];

let redis, admin;
before(async () => {
  redis = await scriptServer();
  ({ admin } = redis);
});
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

/** How often each command ran on the server during `work`, in scripts and out of them. */
async function commandsOf(work) {
  await admin.config("RESETSTAT");
  await work();
  const stats = await admin.info("commandstats");
  const counts = [...stats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name, count]) => [name, Number(count)]);
  return Object.fromEntries(counts.filter(([name]) => !name.startsWith("config") && name !== "info"));
}

/** What happens to a lock that `count` processes wait for, and what it costs. */
async function costsWith(count) {
  const job = await held(await redis.member(), ["a"]);
  const waiting = [];
  for (let n = 0; n < count; n += 1) waiting.push(await waits(await redis.member(), ["a"]));
  const [next, last] = [waiting[0], waiting.at(-1)];
  const [stranger, leaving] = [await redis.member(), await redis.member()].map((member) => member.job(["a"]));
  const costs = {
    "one more that waits": await commandsOf(() => leaving.waits()),
    "giving up": await commandsOf(() => leaving.cancel()),
    "a poll of the last one": await commandsOf(() => last.waits()),
    "a poll of the next one": await commandsOf(() => next.waits()),
    "a try that does not wait": await commandsOf(() => stranger.try()),
    "a release, with the handover": await commandsOf(() => job.release()),
    "a claim": await commandsOf(() => next.gets()),
  };
  const told = await Promise.all(waiting.map((waiter) => waiter.told()));
  assert.deepEqual(told.map((words) => words.length), waiting.map((_, n) => (n === 0 ? 1 : 0)), "who is called");
  await next.release();
  await redis.leaveNothing();
  return costs;
}

test("a handover, waiting, a poll, a try and giving up run the same commands whether 2, 20, 200 or 2000 processes wait", async () => {
  const few = await costsWith(FEW);
  assert.equal(few["a release, with the handover"].eval + few["a claim"].eval, 2, "scripts for a handover");
  assert.equal(few["a release, with the handover"].publish, 1);
  for (const count of MANY) assert.deepEqual(await costsWith(count), few, `${count} wait`);
});
