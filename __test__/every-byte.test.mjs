/**
 * A connection that breaks off at every byte of what is said: of each request and of each reply, closed, reset, or silent from
 * there on. Wherever that is, the caller is answered, what it is told is true, and of a caller that was told no nothing stays.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { pick, random } from "./support/fuzz.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { BREAKS, DIRECTIONS, startProxy } from "./support/proxy.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { deferred, settles, until, watch } from "./support/waiting.mjs";

/** Which break a position gets is drawn from it: another seed is another pairing. */
const SEED = Number(process.env.FAULT_SEED ?? 20_261);
/** So many connections of each kind are broken at once, each with a proxy and a namespace of its own. */
const LANES = 16;
/** How long a caller waits who is to be told no, because nobody gets in after the break. */
const SHORT_S = 0.06;
/** Who meets a silent server gives it up after this long; all others are in no hurry, for a busy machine is slow as well. */
const HASTY_MS = 1_000;
const PATIENT_MS = 15_000;
/** Renewed after a third of it; what is left must do for another connection on a slow machine. */
const RENEWED_LEASE_MS = 3_000;
/** How long anybody waits for an answer here, at the most. */
const ANSWER_WITHIN_MS = 30_000;

let server, admin;
const [hasty, patient] = [[], []];
const all = () => [...hasty, ...patient];

before(async () => {
  server = await redisServer();
  admin = server.connect();
  for (let n = 0; n < LANES; n += 1) {
    hasty.push(await openLane(HASTY_MS));
    patient.push(await openLane(PATIENT_MS));
  }
});
afterEach(() => all().forEach(({ proxy }) => proxy.accept()));
after(async () => {
  await Promise.all(all().map(({ locks, direct }) => Promise.all([locks.close(), direct.close()])));
  await Promise.all(all().map(({ proxy }) => proxy.stop()));
  await server.stop();
});

async function openLane(commandTimeout) {
  const proxy = await startProxy(server.port);
  const namespace = freshNamespace();
  const redisOptions = { commandTimeout, connectTimeout: commandTimeout };
  const locks = new Locks({ redisUrl: proxy.url, namespace, redisOptions, waitLockingTimeout: 25 });
  const direct = new Locks({ redisUrl: server.url, namespace });
  const lane = { proxy, namespace, locks, direct, serial: 1_000, key: undefined, lock: undefined };
  /** Another key, as long as the one before: what a break left behind shall not be taken for what the next one did. */
  lane.nextKey = () => {
    lane.key = `k${(lane.serial += 1)}`;
    lane.lock = `${namespace}${lane.key}`;
  };
  return lane;
}

const value = ({ lock }) => admin.get(lock);
const isFree = (lane) => until(async () => (await value(lane)) === null, `${lane.lock} comes free`);

/** Waits until one waits for the lane's lock, and says what the queue is called. */
const oneWaits = ({ lock }) =>
  until(async () => {
    const [queue] = await admin.keys(`locking-native:{*}:queue:${lock}`);
    return queue !== undefined && (await admin.zcount(queue, 0, "+inf")) === 1 && queue;
  }, "one waits");

const answer = (promise, what) => settles(promise, what, ANSWER_WITHIN_MS);

/** Whether a call that does not wait was told no. It may be, where the server has said nothing for as long as it waits for it. */
async function toldNo(call, how) {
  try {
    await answer(call, "the call");
    return false;
  } catch (error) {
    if (how === "silence" && error.code === "REDIS_UNREACHABLE") return true;
    throw error;
  }
}

/**
 * What is said while a lock is used in one way. `prepare` comes before the break is set, `use` while it is, and fails where
 * somebody is told what is not so. What `prepare` and `use` answer is kept for `use` and for the end.
 */
const EXCHANGES = {
  acquire: {
    async use(lane, { how }) {
      const { locks, direct, key } = lane;
      if (await toldNo(locks.acquire(key, { ownerId: "me" }), how)) return;
      assert.equal(await value(lane), "me", "it was told that it has the lock");
      assert.equal(await direct.release(key, { ownerId: "me" }), true);
    },
  },
  "acquire without owner": {
    async use(lane, { how }) {
      const { locks, direct, key } = lane;
      if (await toldNo(locks.acquire(key), how)) return;
      assert.equal(await value(lane), "*", "it was told that it has the lock");
      assert.equal(await direct.release(key), true);
    },
  },
  release: {
    prepare: ({ direct, key }) => direct.acquire(key, { ownerId: "me" }),
    async use(lane, { how }) {
      const { locks, direct, key } = lane;
      const releasing = locks.release(key, { ownerId: "me" }).then((released) => assert.equal(released, true));
      // Who is told that it is not known may release once more.
      if (await toldNo(releasing, how)) await direct.release(key, { ownerId: "me" });
      assert.equal(await value(lane), null, "it was told that it has released the lock");
    },
  },
  execute: {
    async use(lane) {
      const job = async (_signal, lock) => {
        assert.equal(await value(lane), lock.ownerId, "the job runs under its lock");
        return "ran";
      };
      assert.equal(await answer(lane.locks.execute(lane.key, job), "execute"), "ran");
    },
  },
  "wait, claim and release": {
    prepare: ({ direct, key }) => holding(direct, key),
    async use(lane, { prepared: before }) {
      const waiting = watch(lane.locks.execute(lane.key, (_signal, lock) => lock.fencingToken));
      await oneWaits(lane);
      assert.equal(waiting.state, "pending", "somebody else holds the lock");
      await before.end();
      const token = await answer(waiting.promise, "the one that waits");
      assert.ok(token > before.lock.fencingToken, "it ran under a token of its own");
    },
  },
  cancel: {
    async prepare(lane) {
      const { locks, direct, key } = lane;
      const before = await holding(direct, key);
      const waits = async () => {
        const caller = new AbortController();
        const leaving = watch(locks.execute(key, () => assert.fail("ran"), { signal: caller.signal }));
        return { before, caller, leaving, queue: await oneWaits(lane) };
      };
      // After one that has left, the connection knows that script too.
      const { caller, leaving, queue } = await waits();
      caller.abort();
      await assert.rejects(leaving.promise, { name: "AbortError" });
      await until(async () => (await admin.exists(queue)) === 0, "it has left the queue");
      return waits();
    },
    async use(_lane, { prepared: { before, caller, leaving, queue } }) {
      caller.abort();
      await answer(assert.rejects(leaving.promise, { name: "AbortError" }), "the one that gives up");
      await until(async () => (await admin.exists(queue)) === 0, "it has left the queue");
      await before.end();
    },
  },
  renew: {
    async prepare({ locks, key, proxy }) {
      const short = await holding(locks, "warm", { expire: 0.15 });
      const before = proxy.passed("replies");
      await until(() => proxy.passed("replies") > before, "the connection knows this script too");
      // It may have been lost on a slow machine, and has served its purpose.
      await short.end().catch(() => {});
      return holding(locks, key, { expire: RENEWED_LEASE_MS / 1_000 });
    },
    async use({ lock }, { prepared: held, broken }) {
      await answer(broken, "the renewal");
      await until(async () => (await admin.pttl(lock)) > (RENEWED_LEASE_MS * 3) / 4, "it is renewed all the same");
      assert.equal(held.signal.aborted, false);
      assert.equal(await answer(held.end("done"), "the job"), "done");
    },
  },
};

/** The connection is there and knows the scripts: what comes next is said in few bytes, and a break of it is the first. */
async function warm({ locks }) {
  const says = async () => {
    await locks.execute("warm", () => {});
    await locks.acquire("warm", { ownerId: "me" });
    return locks.release("warm", { ownerId: "me" });
  };
  await until(() => says().catch(() => false), "the connection is there");
}

/** How many bytes each direction of an exchange has, when nothing breaks. */
async function measure(lane, { prepare, use }) {
  lane.nextKey();
  await warm(lane);
  const prepared = await prepare?.(lane);
  const before = DIRECTIONS.map(lane.proxy.passed);
  const bytes = () => DIRECTIONS.map((direction, n) => lane.proxy.passed(direction) - before[n]);
  // What a job's timer makes it say comes by itself, and what counts of that is the first of it.
  const broken = until(() => bytes().every((count) => count > 0), "something is said").then(bytes);
  await use(lane, { prepared, broken, how: "nothing" });
  return { first: await broken, total: bytes() };
}

/** Breaks the exchange once: what anybody is told is true, and nothing stays. */
async function breakOnce(lane, { prepare, use }, { direction, at, how, refuse }) {
  lane.nextKey();
  await warm(lane);
  const prepared = await prepare?.(lane);
  const broken = lane.proxy.breakAfter(direction, at, how, { refuse });
  await use(lane, { prepared, broken, how });
  // The last byte may come after everybody has been answered.
  lane.proxy.spare();
  await isFree(lane);
}

/** Every break of these, the lanes taking one after the other. */
async function onLanes(breaks, exchange) {
  const silent = breaks.filter(({ how }) => how === "silence");
  const others = breaks.filter(({ how }) => how !== "silence");
  const work = all().map(async (lane) => {
    const left = hasty.includes(lane) ? silent : others;
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      await breakOnce(lane, exchange, next).catch((error) => {
        silent.length = others.length = 0;
        throw new Error(`${next.how} after byte ${next.at} of ${next.direction}: ${error.message}`, { cause: error });
      });
    }
  });
  await Promise.allSettled(work);
  await Promise.all(work);
  await Promise.all(all().map(({ namespace }) => nothingLeft(admin, namespace)));
}

for (const [title, exchange] of Object.entries(EXCHANGES)) {
  test(`${title}: broken at every byte, everybody is answered with what is so, and nothing stays`, async (t) => {
    const { first, total } = await measure(patient[0], exchange);
    const draw = random(SEED);
    const breaks = DIRECTIONS.flatMap((direction, n) => {
      const bytes = title === "renew" ? first[n] : total[n];
      assert.ok(bytes > 3, `${bytes} bytes of ${direction}`);
      return Array.from({ length: bytes + 1 }, (_, at) => ({ direction, at, how: pick(draw, BREAKS) }));
    });
    await onLanes(breaks, exchange);
    t.diagnostic(`${breaks.length} breaks, seed ${SEED}`);
  });
}

/** Runs a job that is soon done. Who has got as far as that may reach the server again, to give back its lock. */
async function executeSoon({ locks, key, proxy }, broken, timeout, meanwhile = () => {}) {
  const started = deferred();
  const outcome = watch(locks.execute(key, () => started.resolve(), { timeout }));
  const settled = outcome.promise.catch(() => {});
  await meanwhile(settled);
  await Promise.race([started.promise, settled]);
  // What breaks may be the giving back.
  await Promise.race([broken, settled]);
  proxy.accept();
  return outcome.promise;
}

/** What nobody gets an answer to who waits for so long, where nobody gets in any more after the break. */
const OUT_OF_REACH = {
  acquire: {
    call: ({ locks, key }) => locks.acquire(key, { ownerId: "me", awaitQueue: true, timeout: SHORT_S }),
    release: ({ direct, key }) => direct.release(key, { ownerId: "me" }),
  },
  execute: { call: (lane, { broken }) => executeSoon(lane, broken, SHORT_S) },
  "execute in the queue": {
    prepare: ({ direct, key }) => holding(direct, key),
    call: (lane, { prepared: before, broken }) =>
      executeSoon(lane, broken, SHORT_S * 3, async (settled) => {
        await Promise.race([oneWaits(lane).catch(() => {}), broken, settled]);
        await before.end();
      }),
  },
};

for (const [title, { prepare, call, release }] of Object.entries(OUT_OF_REACH)) {
  const use = async (lane, { prepared, broken }) => {
    const outcome = watch(call(lane, { prepared, broken }));
    await answer(outcome.promise.catch(() => {}), "the call");
    lane.proxy.accept();
    if (outcome.state === "rejected") assert.match(String(outcome.reason.code), /^(REDIS_UNREACHABLE|LOCK_TIMEOUT)$/, outcome.reason.stack);
    else await release?.(lane);
  };

  test(`${title}: broken at every byte and out of reach afterwards, nothing stays for a caller that was told no`, async (t) => {
    const { total } = await measure(patient[0], { prepare, use });
    const draw = random(SEED);
    const breaks = DIRECTIONS.flatMap((direction, n) =>
      Array.from({ length: total[n] + 1 }, (_, at) => ({ direction, at, how: pick(draw, ["end", "reset"]), refuse: true })),
    );
    await onLanes(breaks, { prepare, use });
    t.diagnostic(`${breaks.length} breaks, seed ${SEED}`);
  });
}
