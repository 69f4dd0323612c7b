/**
 * Five kinds of calls, each of which ends as its name says: `KINDS[kind](locks, backend)` prepares and resolves to
 * `{ call(n), end() }`. `call` makes the nth call, resolves when it has its answer, and fails where that is another than it
 * must be; `end` gives back what was prepared.
 */
import assert from "node:assert/strict";
import { getEventListeners } from "node:events";

/** Keys that somebody else holds, or that all want. */
const HOT = Array.from({ length: 16 }, (_, n) => `hot ${n}`);
const hot = (n) => HOT[n % HOT.length];
const next = () => new Promise(setImmediate);

/** Fails unless `call` is refused by one of these codes, or with `reason` itself. */
async function refused(call, codes, reason) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    if (reason === undefined ? codes.includes(error.code) : error === reason) return;
    throw error;
  }
  assert.fail(`resolved to ${answer}, and should be refused: ${codes ?? reason}`);
}

/** The nth of several ways of calling. */
const among = (ways) => (n) => ways[n % ways.length](n);

async function uncontended(locks) {
  // The caller's own signal lives as long as the caller.
  const { signal } = new AbortController();
  const call = among([
    (n) => locks.execute(`once ${n}`, () => {}),
    (n) => locks.execute([`once ${n}`, `and ${n}`], next, { signal, timeout: 60 }),
    (n) => locks.acquire(`once ${n}`, { ownerId: `owner ${n}`, expire: 600, signal }).then(() => locks.release(`once ${n}`, { ownerId: `owner ${n}` })),
    (n) => locks.acquire([`once ${n}`, `and ${n}`]).then(() => locks.release([`once ${n}`, `and ${n}`])),
  ]);
  return { call, end: () => assert.equal(getEventListeners(signal, "abort").length, 0, "nobody listens to the caller's signal any more") };
}

async function contended(locks) {
  const call = among([
    (n) => locks.execute(hot(n), () => {}, { timeout: 60 }),
    (n) => locks.execute(hot(n), next, { timeout: 60 }),
    (n) => locks.execute([hot(n), hot(n + 1)], () => {}, { timeout: 60 }),
    async (n) => {
      const ownerId = `owner ${n}`;
      await locks.acquire(hot(n), { ownerId, expire: 600, awaitQueue: true, timeout: 60 });
      assert.equal(await locks.release(hot(n), { ownerId }), true);
    },
  ]);
  return { call, end: () => {} };
}

async function timedOut(locks) {
  await locks.acquire(HOT, { ownerId: "holder" });
  // The last one: a busy server may not have answered at all by then.
  const codes = ["LOCK_TIMEOUT", "LOCK_HELD", "REDIS_UNREACHABLE"];
  const call = among([
    (n) => refused(() => locks.execute(hot(n), () => assert.fail("ran"), { timeout: 0 }), codes),
    (n) => refused(() => locks.execute([hot(n), `free ${n}`], () => assert.fail("ran"), { timeout: 0.002 }), codes),
    (n) => refused(() => locks.acquire(hot(n), { ownerId: `owner ${n}` }), codes),
    (n) => refused(() => locks.acquire(hot(n), { awaitQueue: true, timeout: 0.002 }), codes),
  ]);
  return { call, end: () => locks.release(HOT, { ownerId: "holder" }) };
}

async function aborted(locks) {
  await locks.acquire(HOT, { ownerId: "holder" });
  const call = (n) => {
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("the caller's own");
    const abort = () => controller.abort(reason);
    const ways = [
      () => (abort(), locks.execute(hot(n), () => assert.fail("ran"), { signal })),
      () => after(locks.execute([hot(n), `free ${n}`], () => assert.fail("ran"), { signal, timeout: 60 }), abort),
      () => after(locks.acquire(hot(n), { signal, awaitQueue: true }), () => queueMicrotask(abort)),
      () => after(locks.execute(hot(n), () => assert.fail("ran"), { signal, timeout: 60 }), () => setImmediate(abort)),
      () => locks.execute(`free ${n}`, async (own) => (abort(), await next(), own.throwIfAborted()), { signal }),
    ];
    return refused(ways[n % ways.length], undefined, reason);
  };
  return { call, end: () => locks.release(HOT, { ownerId: "holder" }) };
}

function after(promise, then) {
  then();
  return promise;
}

/** `wrong`: a key that is a list in Redis. */
async function failed(locks, { kind, wrong }) {
  const own = new Error("the caller's own");
  const bad = [
    (n) => refused(() => locks.execute([`k ${n}`, ""], () => assert.fail("ran")), ["INVALID_ARGUMENT"]),
    () => refused(() => locks.acquire("k", { ownerId: 5 }), ["INVALID_ARGUMENT"]),
    (n) => refused(() => locks.execute(`k ${n}`, "no job"), ["INVALID_ARGUMENT"]),
    (n) => refused(() => locks.execute(`k ${n}`, () => { throw own; }), undefined, own),
    (n) => refused(() => locks.execute([`k ${n}`, `l ${n}`], () => next().then(() => Promise.reject(own))), undefined, own),
    async (n) => assert.equal(await locks.release(`k ${n}`, { ownerId: "nobody" }), false),
  ];
  // Who does not wait long may be refused behind another of these before the server is asked, or before it answers.
  const hasty = ["REDIS_ERROR", "LOCK_TIMEOUT", "REDIS_UNREACHABLE"];
  const ofRedis = [
    () => refused(() => locks.execute(wrong, () => assert.fail("ran"), { timeout: 0 }), hasty),
    (n) => refused(() => locks.acquire([`k ${n}`, wrong], { ownerId: "me" }), ["REDIS_ERROR"]),
    () => refused(() => locks.acquire(wrong, { awaitQueue: true, timeout: 0.01 }), hasty),
    (n) => refused(() => locks.execute([wrong, `l ${n}`], () => assert.fail("ran"), { timeout: 60 }), ["REDIS_ERROR"]),
  ];
  return { call: among(kind === "redis" ? [...bad, ...ofRedis] : bad), end: () => {} };
}

export const KINDS = { uncontended, contended, "timed-out": timedOut, aborted, failed };
