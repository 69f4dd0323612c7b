/**
 * The scripts that the addon sends to Redis, called one at a time: a test sees what stands on the server between two calls.
 * `docs/PROTOCOL.md` says what they do.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { projectRoot } from "./product.mjs";
import { allKeys, redisServer } from "./redis.mjs";
import { PATIENCE_MS, until } from "./waiting.mjs";

const NAMESPACE = "ns:";
/** How long a record lives whose lock does not expire. */
const RECORD_MS = 86_400_000;

const folder = join(projectRoot, "src", "backend", "redis");

/** The source of each file in `lua/`. */
export const luaFile = (name) => readFileSync(join(folder, "lua", name), "utf8");

/** Each script, put together from the files that `scripts/sources.rs` names for it: between semicolons, those that become `one`. */
const sources = Object.fromEntries(
  [...readFileSync(join(folder, "scripts", "sources.rs"), "utf8").matchAll(/^script!\(\s*(\w+),\s*\d+,([^)]*)\);/gm)].map(([, name, parts]) => {
    const [first, one, rest] = parts.split(";").map((files) => [...files.matchAll(/"([^"]+)"/g)].map(([, file]) => luaFile(file)).join(""));
    return [name, one === undefined ? first : `${first}local function one(KEYS, ARGV)\n${one}end\n${rest}`];
  }),
);
/** What the scripts are called in `scripts/sources.rs`. */
export const scriptNames = Object.keys(sources);

const flag = (on) => (on ? "1" : "0");

/** As if the locks lay in these slots: tags have one to four characters. A client that knows the slots is `second-client.mjs`. */
const TAGS = ["0", "1z", "2yx", "3wvu"];
const tagOf = (key) => TAGS[key.charCodeAt(0) % TAGS.length];
/** As scripts take them. */
const tagsOf = (keys) => keys.map((key) => tagOf(key).padEnd(4)).join("");

/** Starts a server, and connections to call its scripts and to listen on. */
export async function scriptServer() {
  const server = await redisServer();
  const admin = server.connect();
  const listener = server.connect();
  // Once it is subscribed it may not ask any more whether the server is ready, which it does first.
  await listener.ping();
  const heard = [];
  listener.on("message", (_inbox, text) => heard.push(text));
  const requests = [];
  let members = 0;

  const lock = (key) => `${NAMESPACE}${key}`;
  const queue = (key) => `locking-native:{${tagOf(key)}}:queue:${NAMESPACE}${key}`;
  const record = (key) => `locking-native:{${tagOf(key)}}:lock:${NAMESPACE}${key}`;
  const fence = `locking-native:fence:${NAMESPACE}`;
  const list = "locking-native:queues";
  const run = (name, keys, ...args) => admin.eval(sources[name], keys.length, ...keys, ...args);

  /** The server's time in us. */
  async function now() {
    const [seconds, us] = await admin.time();
    return Number(seconds) * 1_000_000 + Number(us);
  }

  /** What a request of either kind can do. `kind`: its scripts, their ARGV, and what its locks hold under a token. */
  function request(attempt, keys, kind) {
    const waiter = `locking-native:{${tagOf(keys[0])}}:waiter:${attempt}`;
    const number = attempt.match(/\d+$/)[0];
    const records = kind.hasRecords ? keys.map(record) : [];
    const lines = [...keys.map(lock), list, ...records];
    const tags = tagsOf(keys);
    const acquire = async (place) => self.hear(await run(kind.acquire, [...lines, fence], ...kind.args(place), tags));
    const self = {
      attempt,
      keys,
      kind,
      /** What an acquire was answered: the token, `{ index, ms, ticket, silent }`, or an error. */
      hear(reply) {
        if (typeof reply === "number") {
          self.token = reply;
          return reply;
        }
        if (reply instanceof Error) return reply;
        const [index, ms, ticket, silent] = reply;
        if (ticket === undefined) return { index, ms };
        self.place = String(ticket);
        return { index, ms, ticket, silent };
      },
      waiter,
      /** The ticket that it has, or had. */
      place: "0",
      /** The token of its last grant. */
      token: undefined,
      /** Takes, waits, polls or claims: the token, or `{ index, ms, ticket, silent }`. */
      ask: () => acquire(self.place),
      /** Takes and does not wait: the token, or `{ index, ms }`. */
      try: () => acquire(""),
      /** Asks, and fails unless it has its locks now; the token. */
      async gets() {
        const reply = await self.ask();
        assert.equal(typeof reply, "number", `${attempt} waits: ${JSON.stringify(reply)}`);
        return reply;
      },
      /** Asks, and fails unless it waits; what it is told. */
      async waits() {
        const reply = await self.ask();
        assert.equal(typeof reply, "object", `${attempt} has its locks`);
        return reply;
      },
      /** Asks as often as it is told to; resolves with how often that was and how long it took until it had its locks. */
      async polls() {
        const start = performance.now();
        for (let asked = 1; ; asked += 1) {
          const reply = await self.ask();
          if (typeof reply === "number") return { asked, ms: performance.now() - start };
          assert.ok(reply.ms >= 0, "it is told when to ask again");
          assert.ok(performance.now() - start < PATIENCE_MS, `not served after ${asked} polls`);
          await sleep(reply.ms + 1);
        }
      },
      release: ({ more = false } = {}) =>
        run("RELEASE", lines, keys.length, kind.ownerId(self.token), flag(kind.open), flag(more), tags),
      /** Sets more tokens aside for the job that its lease passes to: the first of them, or 0, or minus the lost lock. */
      reserve: (count) => run("RESERVE", [...keys.map(lock), list, fence], kind.ownerId(self.token), count - 1, tags),
      cancel: () => run(kind.cancel, lines, attempt, ...kind.cancelArgs, tags),
      /** What it was told since it was last looked at, as "granted" or "look 30". */
      async told() {
        // Its answer comes behind every message that the server sent before.
        await listener.subscribe("the-tests");
        const mine = heard.filter((text) => text.split(" ")[1] === number);
        for (const text of mine) heard.splice(heard.indexOf(text), 1);
        return mine.map((text) => text.replace(` ${number}`, ""));
      },
      /** As if it had asked for the last time so many us ago. */
      polledBefore: async (us) => admin.hset(waiter, "polled", (await now()) - us),
      /** As if the time for its claim had passed. */
      async claimLapses() {
        await admin.del(...keys.map(lock));
        await admin.hset(waiter, "granted", "1");
      },
      /** As if the server had forgotten it. */
      async isForgotten() {
        await admin.del(waiter);
        for (const key of keys) await admin.zrem(queue(key), waiter);
      },
      /** Whether all its locks have been handed over to it and not been claimed. */
      async isHandedOver() {
        const holders = await admin.mget(...keys.map(lock));
        const claimed = kind.ownerId(0);
        return Boolean(await admin.hget(waiter, "granted")) && holders.every((holder) => holder === claimed);
      },
    };
    requests.push(self);
    return self;
  }

  /** A process: it has an inbox, to which it listens until it dies. Frozen is who asks no more. */
  async function member() {
    members += 1;
    const name = `m${members}`;
    const inbox = `locking-native:inbox:${name}`;
    await listener.subscribe(inbox);
    const attempt = () => `execute:host:${name}:nonce:${requests.length + 1}`;
    return {
      /** An `execute`. `age`: us for which it has waited in its process. */
      job(keys, { lease = 30_000, reserve = 0, age = 0, more = false, withInbox = true } = {}) {
        const id = attempt();
        const args = (place) => [id, lease, reserve, place, age, withInbox ? inbox : "", flag(more)];
        const scripts = { acquire: "ACQUIRE_JOB", cancel: "CANCEL_JOB", cancelArgs: [], hasRecords: false, open: false };
        return request(id, keys, { ...scripts, args, ownerId: (token) => `${id}#${token}` });
      },
      /** An `acquire`. `owner`: "*" for none; `expire`: 0 for none. */
      acquire(owner, keys, { expire = 30_000, age = 0, mustHold = false, open = false } = {}) {
        const id = attempt();
        const args = (place) => [id, expire, owner, place, age, inbox, "0", flag(mustHold), flag(open), RECORD_MS];
        const scripts = { acquire: "ACQUIRE_LOCK", cancel: "CANCEL_LOCK", cancelArgs: [owner, RECORD_MS] };
        return request(id, keys, { ...scripts, hasRecords: true, args, open, ownerId: () => owner });
      },
      die: () => listener.unsubscribe(inbox),
    };
  }

  /** The keys of requests that are alike: all locks, the list, all records. */
  const keysOf = (several) => {
    const all = (name) => several.flatMap(({ keys }) => keys.map(name));
    return [...all(lock), list, ...(several[0].kind.hasRecords ? all(record) : [])];
  };
  /** Owner ids: that of all if it is one. */
  const brief = (owners) => (new Set(owners).size === 1 ? owners.slice(0, 1) : owners);

  /** The same as `ask` of each, or as `try`, in one call; what each is answered. */
  async function askTogether(several, { wait = true } = {}) {
    const [{ kind, keys }] = several;
    const [, ...shared] = kind.args(wait ? "0" : "");
    const script = kind.hasRecords ? "ACQUIRE_LOCKS" : "ACQUIRE_JOBS";
    // An owner is each request's own, and none of several only extends.
    const args = kind.hasRecords ? [shared[0], ...shared.slice(2, 6), ...shared.slice(7)] : shared;
    const owners = kind.hasRecords ? brief(several.map((one) => one.kind.ownerId())) : [];
    const own = [...several.map((one) => one.attempt), ...owners];
    const reply = await run(script, [...keysOf(several), fence], keys.length, ...args, tagsOf(several.flatMap(({ keys }) => keys)), ...own);
    const step = kind.hasRecords ? 1 : shared[1] + 1;
    return several.map((one, i) => one.hear(Array.isArray(reply) ? reply[i] : reply + i * step));
  }

  /** The same as `release` of each, in one call. */
  async function releaseTogether(several) {
    const [{ kind, keys }] = several;
    const owners = brief(several.map((one) => one.kind.ownerId(one.token)));
    const tags = tagsOf(several.flatMap(({ keys }) => keys));
    const reply = await run("RELEASES", keysOf(several), keys.length, flag(kind.open), tags, ...owners);
    return Array.isArray(reply) ? reply : several.map(() => reply);
  }

  /** Cancels every request. Then nothing may be left but the counter of fencing tokens. Empties the server. */
  async function leaveNothing() {
    try {
      for (const one of requests.splice(0).reverse()) await one.cancel();
      const left = async () => (await allKeys(admin)).filter((key) => key !== fence);
      const gone = until(async () => (await left()).length === 0, "only the counter is left", 4_000);
      await gone.catch(async () => assert.deepEqual(await left(), []));
    } finally {
      heard.length = 0;
      await admin.flushall();
    }
  }

  return {
    server,
    admin,
    now,
    lock,
    queue,
    record,
    fence,
    list,
    member,
    leaveNothing,
    askTogether,
    releaseTogether,
    /** Releases those of `keys` that are `owner`'s; without an owner, all. */
    sweep: (keys, owner) =>
      run("SWEEP", [...keys.map(lock), list, ...keys.map(record)], flag(owner === undefined), owner ?? "", tagsOf(keys)),
    /** @param {[string[], string, number][]} leases keys, owner id and ms of each */
    renew: (leases) =>
      run("RENEW", leases.flatMap(([keys]) => keys.map(lock)), ...leases.flatMap(([keys, owner, ms]) => [owner, ms, keys.length])),
    inspect: (keys) => run("INSPECT", [...keys.map(lock), ...keys.map(record)]),
    holder: (key) => admin.get(lock(key)),
    /** Ends a lock as its expiry would. */
    lapse: (key) => admin.del(lock(key)),
    /** The attempts that wait for a lock, in their order. */
    async waiting(key) {
      const names = await admin.zrangebyscore(queue(key), 0, "+inf");
      return names.map((name) => name.slice(name.indexOf(":waiter:") + ":waiter:".length));
    },
    /** The marks of a queue, as `["since 1700000000000000"]`. */
    marks: (key) => admin.zrangebyscore(queue(key), "-inf", "(0"),
    /** Puts a mark, `us` from now, into a queue. */
    async mark(key, word, us) {
      const score = word === "old" ? -2 : -1;
      await admin.zremrangebyscore(queue(key), score, score);
      await admin.zadd(queue(key), score, `${word} ${(await now()) + us}`);
    },
  };
}

/** A job that holds these. */
export async function held(member, keys, options) {
  const job = member.job(keys, options);
  assert.equal(typeof (await job.try()), "number");
  return job;
}

/** A job that waits for these. */
export async function waits(member, keys, options) {
  const job = member.job(keys, options);
  await job.waits();
  return job;
}
