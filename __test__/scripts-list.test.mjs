/**
 * The list of queues: where it is not there, the scripts take it that nobody waits. So whatever is done in whatever order, a
 * queue that lives is listed, and the list outlives it; and what is listed has a queue, but for one that expired by itself.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { pick, random } from "./support/fuzz.mjs";
import { held, scriptServer, waits } from "./support/scripts.mjs";

const STORIES = 120;
const STEPS = 40;
const KEYS = ["a", "b", "c", "d", "e"];
/** How much time passes at once. Whoever waits has its queues live for a minute. */
const PASSES_MS = 20_000;

/** Of each queue: its name, how long it lives, and how long its entry and the list do. -2: not at all. Then every name listed. */
const LOOK = `
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + time[2] / 1000
  local queues = {}
  for i, queue in ipairs(redis.call('KEYS', 'locking-native:{*}:queue:*')) do
    local ends_at = redis.call('ZSCORE', KEYS[1], queue)
    local entry_ms = ends_at and math.floor(ends_at - now_ms) or -2
    queues[i] = { queue, redis.call('PTTL', queue), entry_ms, redis.call('PTTL', KEYS[1]) }
  end
  return { queues, redis.call('ZRANGE', KEYS[1], 0, -1) }`;

/** As if so much time had passed, but for the locks. */
const PASS = `
  for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    redis.call('ZINCRBY', KEYS[1], -ARGV[1], name)
  end
  for _, name in ipairs(redis.call('KEYS', 'locking-native:*')) do
    local ms = redis.call('PTTL', name)
    if ms >= 0 then
      redis.call('PEXPIRE', name, ms - ARGV[1])
    end
  end`;

let redis, admin;
before(async () => {
  redis = await scriptServer();
  ({ admin } = redis);
});
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

/** Looks at the list. `mayHaveExpired`: names of queues, to which it adds those that soon may have. */
async function isTrue(mayHaveExpired, what) {
  const [queues, listed] = await admin.eval(LOOK, 1, redis.list);
  for (const [name, ms, entryMs, listMs] of queues) {
    assert.ok(KEYS.some((key) => redis.queue(key) === name), `${what}: ${name} is no lock's`);
    assert.ok(ms >= 0 && entryMs >= ms && listMs >= ms, `${what}: ${name} has ${ms} ms, is listed for ${entryMs}, the list has ${listMs}`);
    if (ms <= PASSES_MS) mayHaveExpired.add(name);
  }
  const live = new Set(queues.map(([name]) => name));
  const stale = listed.filter((name) => !live.has(name) && !mayHaveExpired.has(name));
  assert.deepEqual(stale, [], `${what}: listed, and there is no queue`);
}

/** Makes a story up from a seed, one call after the other: what was done last. */
async function* story(draw) {
  const members = [await redis.member(), await redis.member(), await redis.member()];
  const all = [];
  const one = (list) => pick(draw, list);
  const some = (count) => {
    const keys = new Set();
    while (keys.size < count) keys.add(one(KEYS));
    return [...keys].sort();
  };
  const owner = () => one(["*", "me", "you"]);
  const come = (...requests) => {
    all.push(...requests);
    return requests;
  };
  const comes = () => {
    const keys = some(1 + Math.floor(draw() * 3));
    const isJob = draw() < 0.6;
    const [request] = come(isJob ? one(members).job(keys, { more: draw() < 0.5 }) : one(members).acquire(owner(), keys));
    return request;
  };
  const comeTogether = () => {
    const [member, isJob, count] = [one(members), draw() < 0.5, 1 + Math.floor(draw() * 2)];
    return come(...Array.from({ length: 3 }, () => (isJob ? member.job(some(count)) : member.acquire(owner(), some(count)))));
  };
  const alike = ({ keys, kind }) =>
    all.filter((other) => other.keys.length === keys.length && other.kind.hasRecords === kind.hasRecords && draw() < 0.6);
  const acts = {
    asks: () => comes().ask(),
    tries: () => comes().try(),
    polls: () => one(all).ask(),
    releases: () => one(all).release({ more: draw() < 0.35 }),
    cancels: () => one(all).cancel(),
    "ask together": () => redis.askTogether(comeTogether(), { wait: draw() < 0.7 }),
    "are released together": async () => {
      const several = alike(one(all));
      if (several.length > 1) await redis.releaseTogether(several);
    },
    "is swept": () => redis.sweep(some(2), one([undefined, "me"])),
    dies: async () => {
      const n = Math.floor(draw() * members.length);
      await members[n].die();
      members[n] = await redis.member();
    },
    "hears time pass": () => admin.eval(PASS, 1, redis.list, PASSES_MS),
    lapses: () => redis.lapse(one(KEYS)),
    "is not claimed": async () => {
      const request = one(all);
      if (await admin.hget(request.waiter, "granted")) await request.claimLapses();
    },
  };
  const often = { asks: 5, polls: 5, releases: 6, cancels: 3, "ask together": 2, dies: 2 };
  const words = Object.keys(acts).flatMap((word) => Array(often[word] ?? 1).fill(word));
  await acts.asks();
  for (let step = 1; step <= STEPS; step += 1) {
    const word = one(words);
    await acts[word]();
    yield `step ${step}, ${word}`;
  }
}

describe("names every queue as long as it lives, and no other", () => {
  for (let first = 1; first <= STORIES; first += STORIES / 4) {
    test(`stories ${first} to ${first + STORIES / 4 - 1}`, async () => {
      for (let seed = first; seed < first + STORIES / 4; seed += 1) {
        const mayHaveExpired = new Set();
        for await (const done of story(random(seed))) await isTrue(mayHaveExpired, `story ${seed}, ${done}`);
        // A lock that a test lets lapse leaves its record.
        await admin.flushall();
      }
    });
  }
});

test("if it is lost, nobody is called, but each poll brings back what it names", async () => {
  const [one, two, three] = [await redis.member(), await redis.member(), await redis.member()];
  const job = await held(one, ["a", "b"]);
  const [first, second] = [await waits(two, ["a"]), await waits(three, ["b"])];
  await admin.del(redis.list);
  await job.release();
  await first.gets();
  await second.gets();
  const [next, last] = [await waits(one, ["a"]), await waits(three, ["a", "b"])];
  await admin.del(redis.list);
  await next.waits();
  await last.waits();
  await isTrue(new Set(), "after the polls");
  await first.release();
  assert.ok(await next.isHandedOver());
});

test("names a queue without waiters that is kept longer for those who follow for as long", async () => {
  const one = await redis.member();
  await (await held(one, ["a"])).release({ more: true });
  // As if a minute had passed, but for the queue.
  await admin.zincrby(redis.list, -60_000, redis.queue("a"));
  await admin.pexpire(redis.list, 5_000);
  await isTrue(new Set(), "before");
  const job = one.job(["a"], { more: true });
  await job.gets();
  assert.ok((await admin.pttl(redis.queue("a"))) > PASSES_MS, "it is kept");
  await isTrue(new Set(), "then");
  await job.release();
});

test("loses the name of a queue whose last waiter is found dead, though others are to follow", async () => {
  const [one, two] = [await redis.member(), await redis.member()];
  const job = await held(one, ["a"]);
  await waits(two, ["a"]);
  await two.die();
  await job.release({ more: true });
  assert.deepEqual(await admin.zrange(redis.list, 0, -1), []);
});

describe("loses the names of queues that have expired by themselves", () => {
  const passOn = async (member, key) => (await held(member, [key])).release({ more: true });

  for (const [who, calls] of [
    ["waits", async (one, two) => [await held(one, ["b"]), await waits(two, ["b"])]],
    ["passes on", (one) => passOn(one, "b")],
  ]) {
    test(`when somebody ${who}`, async () => {
      const [one, two] = [await redis.member(), await redis.member()];
      await passOn(one, "a");
      // As if that was long ago.
      await admin.del(redis.queue("a"));
      await admin.zadd(redis.list, "XX", Math.floor((await redis.now()) / 1_000) - 1, redis.queue("a"));
      await calls(one, two);
      assert.deepEqual(await admin.zrange(redis.list, 0, -1), [redis.queue("b")]);
      await admin.del(redis.queue("b"));
      await admin.del(redis.list);
    });
  }
});
