// A lane without a process of Node: `redis-benchmark` does on one connection what a contestant would do, and knows
// nothing of promises, waiters or leases. What it takes is what the server and the network take.
import { createRequire } from "node:module";
import { drive } from "./redis-benchmark.mjs";
import { digits, recordCalls } from "./recorded-calls.mjs";
import { RedisProbe } from "./redis-probe.mjs";

const { Redis } = createRequire(import.meta.url)("ioredis");

/** Apart from the contestants' locks. Emptied after each round. */
const database = 1;
/** The numbers that `acquire` draws from: so many that it hardly ever draws one twice. */
const fresh = 2_000_000_000;
/** How many locks there are to each one that `release` draws: then few are drawn that have been released already. */
const sparePerDraw = 8;
/** The share of the locks drawn that must really have been taken, or released, but for so many drawn twice by chance. */
const leastShare = 0.85;
const twiceByChance = 20;
const locksMax = 1_000_000;
const fillPerCall = 10_000;

const fillScript = `
for i = ARGV[1], ARGV[2] - 1 do
  local number = string.format('%012d', i)
  for k = 3, #ARGV - 1, 2 do
    redis.call('SET', ARGV[k] .. number .. ARGV[k + 1], ARGV[#ARGV], 'PX', 60000)
  end
end`;

/** Stands in for a Participant in the workload `lanes`. */
export class Floor {
  #contestant;
  #redisUrl;
  #client;
  #probe;
  #calls = null;

  static async open(contestant, { redisUrl }) {
    const url = `${redisUrl}/${database}`;
    const client = new Redis(url, { lazyConnect: true });
    await client.connect();
    return new Floor(contestant, redisUrl, client, await RedisProbe.open(url, database));
  }

  constructor(contestant, redisUrl, client, probe) {
    this.#contestant = contestant;
    this.#redisUrl = redisUrl;
    this.#client = client;
    this.#probe = probe;
  }

  /** @returns cost, as far as it can be told, and what it cost the server */
  async run(_workload, { operation, width, keysPerCall, count }) {
    this.#calls ??= await recordCalls(this.#client, this.#contestant, { redisUrl: this.#redisUrl, operation, keysPerCall });
    try {
      const parts = await this.#parts(count, width);
      const sum = (field) => parts.reduce((total, part) => total + part[field], 0);
      const server = { commands: sum("commands"), cpuUs: sum("cpuUs"), bytes: sum("bytes"), keys: 0 };
      return { operations: count, wallMs: sum("ms"), cpuUs: null, loopUs: null, server };
    } finally {
      await this.#client.flushdb();
    }
  }

  async stop() {
    this.#client.disconnect();
    this.#probe.close();
  }

  async #parts(count, pipeline) {
    const { acquire, release, locks } = this.#calls;
    if (this.#contestant.floor === "round-trip") {
      return [await this.#drive({ command: ["GET", locks[0]], count: 2 * count, pipeline, keyspace: fresh })];
    }
    const drawn = count * locks.length;
    const acquired = await this.#drive({ command: acquire, count, pipeline, keyspace: fresh });
    check(acquired.keys, drawn, "acquired");
    await this.#client.flushdb();
    const keyspace = Math.min(locksMax, sparePerDraw * drawn);
    await this.#fill(release, locks.length, keyspace);
    const released = await this.#drive({ command: release, count, pipeline, keyspace });
    check(-released.keys, drawn, "released");
    return [acquired, released];
  }

  async #drive(work) {
    const before = await this.#probe.read();
    const ms = await drive({ port: new URL(this.#redisUrl).port, database, ...work });
    return { ms, ...(await this.#probe.since(before)) };
  }

  /** Has `locks` locks stand there as `acquire` leaves them, for the call `release` of `keysPerCall` of them. */
  async #fill(release, keysPerCall, locks) {
    const keyCount = Number(release[2]);
    const keys = release.slice(3, 3 + keyCount);
    const owner = release[3 + keyCount + 1];
    // The locks; behind their queues come their records, where they have any.
    const names = [keys[0], keys[2 * keysPerCall]].filter((name) => name !== undefined);
    const pieces = names.flatMap((name) => name.split(digits));
    for (let from = 0; from < locks; from += fillPerCall) {
      await this.#client.eval(fillScript, 0, from, Math.min(locks, from + fillPerCall), ...pieces, owner);
    }
  }
}

function check(locks, drawn, what) {
  if (locks < leastShare * drawn - twiceByChance) throw new Error(`only ${locks} locks of ${drawn} were ${what}`);
}
