// What a call costs that names 1 to 10,000 keys, in memory and on a Redis server of its own: `node benchmark/keys.mjs [runs]`.
// Times in ms: what the server takes for its scripts, and until the caller has its answer. docs/PERFORMANCE.md has a table of one run.

import { setTimeout as sleep } from "node:timers/promises";
import { createRequire } from "node:module";
import { Locks } from "../dist/native.js";
import { startRedis } from "../scripts/redis-server.mjs";
import { deferred, until } from "../__test__/support/waiting.mjs";

const { Redis } = createRequire(import.meta.url)("ioredis");

const COUNTS = [1, 10, 100, 1_000, 10_000];
const RUNS = Number(process.argv[2] ?? 3);
/** In seconds: so long that nothing is renewed but where that is measured. */
const LEASE = 600;

const keysOf = (count) => Array.from({ length: count }, (_, n) => `inventory:${String(n).padStart(5, "0")}`);

/** Times of each operation, by its name and the number of keys: the least of all runs. */
class Times {
  rows = new Map();

  add(name, count, ms) {
    const row = this.rows.get(name) ?? new Map();
    row.set(count, Math.min(ms, row.get(count) ?? Infinity));
    this.rows.set(name, row);
  }

  print() {
    const short = (ms) => (ms === undefined ? "" : String(Number(ms.toPrecision(2))));
    console.log(`| | ${COUNTS.join(" | ")} |`);
    console.log(`|---|${COUNTS.map(() => "---|").join("")}`);
    for (const [name, row] of this.rows) console.log(`| ${name} | ${COUNTS.map((count) => short(row.get(count))).join(" | ")} |`);
  }
}

async function holding(locks, keys, options) {
  const [started, job] = [deferred(), deferred()];
  const done = locks.execute(keys, () => (started.resolve(), job.promise), options);
  done.catch(started.reject);
  await started.promise;
  return { end: () => (job.resolve(), done) };
}

/** `clock(name, work)` takes the time of `work`, `isWaiting(count)` waits until so many wait. */
async function measure(locks, other, count, clock, isWaiting) {
  const keys = keysOf(count);
  const job = { expire: LEASE, timeout: LEASE };
  let held;
  await clock("`execute`: take", async () => (held = await holding(locks, keys, job)));
  await clock("`execute`: release", () => held.end());
  await clock("`acquire`", () => locks.acquire(keys, { ownerId: "owner", expire: LEASE }));
  await clock("`acquire` again", () => locks.acquire(keys, { ownerId: "owner", expire: LEASE }));
  await clock("`acquire` that is refused", () => other.acquire(keys, { ownerId: "other" }).catch(() => {}));
  await clock("`inspect`", () => locks.inspect(keys));
  await clock("`release`", () => locks.release(keys, { ownerId: "owner" }));

  held = await holding(locks, keys, job);
  const giving = new AbortController();
  const leaving = other.execute(keys, () => {}, { ...job, signal: giving.signal }).catch(() => {});
  await isWaiting(1);
  await clock("giving up", async () => {
    giving.abort();
    await leaving;
    await isWaiting(0);
  });
  let next;
  await clock("waiting", async () => {
    next = holding(other, keys, job);
    await isWaiting(1);
  });
  await clock("release, handover and claim", async () => {
    await held.end();
    await (await next).end();
  });
}

async function inMemory(times) {
  const [locks, other] = [new Locks({ namespace: "keys" }), new Locks({ namespace: "keys" })];
  for (const count of COUNTS) {
    const clock = async (name, work) => {
      const start = performance.now();
      await work();
      times.add(name, count, performance.now() - start);
    };
    for (let run = 0; run < RUNS; run += 1) await measure(locks, other, count, clock, async () => {});
  }
  await Promise.all([locks.close(), other.close()]);
}

async function onRedis(server, callers) {
  const redis = await startRedis();
  const admin = new Redis(redis.url);
  const options = { redisUrl: redis.url, namespace: "keys:", maximumRetryInterval: 1_000 };
  const [locks, other] = [new Locks(options), new Locks(options)];
  const scripts = async () => {
    const stats = await admin.info("commandstats");
    const found = [...stats.matchAll(/^cmdstat_eval(?:sha)?:calls=(\d+),usec=(\d+)/gm)];
    return { calls: found.reduce((sum, [, calls]) => sum + Number(calls), 0), ms: found.reduce((sum, [, , us]) => sum + Number(us), 0) / 1_000 };
  };
  const isWaiting = async (count) => until(async () => (await admin.exists("locking-native:queues")) === count, "it waits");
  for (const count of COUNTS) {
    const clock = async (name, work) => {
      await admin.config("RESETSTAT");
      const [start, cpuStart] = [performance.now(), await cpuMs(admin)];
      await work();
      callers.add(name, count, performance.now() - start);
      // On a busy machine a long script is interrupted, and the processor's time is less than that of the clock.
      server.add(name, count, Math.min((await scripts()).ms, (await cpuMs(admin)) - cpuStart));
    };
    for (let run = 0; run < RUNS; run += 1) {
      await measure(locks, other, count, clock, isWaiting);
      await measureLater(locks, other, count, admin, scripts, server);
    }
  }
  await Promise.all([locks.close(), other.close()]);
  admin.disconnect();
  await redis.stop();
}

/** The processor's time that the server has used. */
async function cpuMs(admin) {
  const used = [...(await admin.info("cpu")).matchAll(/^used_cpu_(?:sys|user):([\d.]+)/gm)];
  return used.reduce((sum, [, seconds]) => sum + Number(seconds) * 1_000, 0);
}

/** What comes by itself: renewals and polls. */
async function measureLater(locks, other, count, admin, scripts, server) {
  const keys = keysOf(count);
  const each = async (name, ms) => {
    await admin.config("RESETSTAT");
    await sleep(ms);
    const { calls, ms: spent } = await scripts();
    if (calls > 0) server.add(name, count, spent / calls);
  };
  const held = await holding(locks, keys, { expire: 1.5, timeout: LEASE });
  await each("a renewal", 1_700);
  await held.end();
  const kept = await holding(locks, keys, { expire: LEASE, timeout: LEASE });
  const next = holding(other, keys, { expire: LEASE, timeout: LEASE });
  await until(async () => (await admin.exists("locking-native:queues")) === 1, "it waits");
  await each("a poll", 2_500);
  await kept.end();
  await (await next).end();
}

const [memory, server, callers] = [new Times(), new Times(), new Times()];
await inMemory(memory);
await onRedis(server, callers);
for (const [title, times] of [["In memory, until the answer", memory], ["On Redis, the server", server], ["On Redis, until the answer", callers]]) {
  console.log(`\n${title}, ms\n`);
  times.print();
}
