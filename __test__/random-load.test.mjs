/**
 * Random calls from several users at once: jobs, acquired locks, time-outs of a few milliseconds, aborts, expiries. Whatever comes,
 * no two hold a key at once, tokens rise, every call is answered and nothing is left.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { settles, until } from "./support/waiting.mjs";

const LOAD_MS = 3_000;
const KEYS = ["a", "b", "c", "d", "e"];
const CALLERS = 60;

const pick = (values) => values[Math.floor(Math.random() * values.length)];
const someKeys = () => {
  const keys = KEYS.filter(() => Math.random() < 0.3);
  return keys.length ? keys : pick(KEYS);
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, Math.random() * ms));

/** Who is inside, as the callers see it; fails where two are. */
function turnstile() {
  const inside = new Map();
  const tokens = new Map();
  return {
    enter(keys, who) {
      for (const key of [keys].flat()) {
        assert.equal(inside.get(key), undefined, `${who} got "${key}" while ${inside.get(key)} held it`);
        inside.set(key, who);
      }
    },
    leave(keys) {
      for (const key of [keys].flat()) inside.delete(key);
    },
    token({ keys, fencingToken }) {
      for (const key of keys) {
        assert.ok(fencingToken > (tokens.get(key) ?? 0), `the token of "${key}" did not rise`);
        tokens.set(key, fencingToken);
      }
    },
  };
}

/** A time-out may be shorter than the way to Redis and back; then it is not known whether the lock was held. */
const mayBecome = (outcome, { timeout }) =>
  ["served", "LOCK_TIMEOUT", "LOCK_HELD", "given up"].includes(outcome) || (outcome === "REDIS_UNREACHABLE" && timeout < 5);

/** Calls like a store's, until `end`; counts what became of them. */
async function caller(name, locks, gate, end, counts) {
  for (let serial = 0; performance.now() < end; serial += 1) {
    const who = `${name}/${serial}`;
    const keys = someKeys();
    const giveUp = new AbortController();
    const args = { timeout: pick([0, 0.002, 0.02, 5]), signal: pick([undefined, giveUp.signal]) };
    if (args.signal) setTimeout(() => giveUp.abort(new Error("given up")), Math.random() * 20);
    const call = pick([0, 0, 1, 2])
      ? acquireAndRelease(locks, gate, keys, who, args)
      : locks.execute(
          keys,
          async (_signal, lock) => {
            gate.enter(keys, who);
            gate.token(lock);
            await pause(3);
            gate.leave(keys);
          },
          args,
        );
    const outcome = await call.then(() => "served", (error) => error.code ?? error.message);
    assert.ok(mayBecome(outcome, args), String(outcome));
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  }
}

async function acquireAndRelease(locks, gate, keys, who, args) {
  const ownerId = pick([who, undefined]);
  await locks.acquire(keys, { ...args, ownerId, expire: pick([undefined, 600]), awaitQueue: pick([true, false]) });
  gate.enter(keys, who);
  await pause(2);
  gate.leave(keys);
  assert.equal(await locks.release(keys, { ownerId }), true, `${who} lost its lock`);
}

onEachBackend("random load", (backend) => {
  test("exclusion, rising tokens, an answer for every call, and nothing left", async () => {
    const namespace = freshNamespace();
    const users = [backend.locks({ namespace }), backend.locks({ namespace }), backend.locks({ namespace })];
    const gate = turnstile();
    const counts = new Map();
    const end = performance.now() + LOAD_MS;
    const callers = Array.from({ length: CALLERS }, (_, n) => caller(`caller ${n}`, users[n % users.length], gate, end, counts));
    await settles(Promise.all(callers), "every call is answered", LOAD_MS + 30_000);
    for (const outcome of ["served", "LOCK_TIMEOUT", "LOCK_HELD", "given up"]) {
      assert.ok(counts.get(outcome) > 10, `${outcome}: ${counts.get(outcome)}`);
    }
    await until(async () => (await users[0].inspect()).length === 0, "nothing stays locked");
    for (const user of users) assert.equal(user.stats().waiting, 0);
    assert.equal(await users[1].execute(KEYS, () => "free", { timeout: 0 }), "free");
  });
});
