/** Bad arguments are named, with what they are, and nothing is taken; odd but well-formed keys are plain keys; bounds hold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { lockError, medusaError } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { until } from "./support/waiting.mjs";

const KEYS_PER_CALL_MAX = 10_000;
/** Of a key and of an owner id. */
const NAME_BYTES_MAX = 16_384;
/** Of all keys of a call together. */
const KEYS_BYTES_MAX = 4_194_304;
/** How much of a key a message shows, in characters. */
const SHOWN_CHARS_MAX = 200;
const TEN_YEARS_S = 315_360_000;
/** Above the documented bound of waiters for one key. */
const WAITERS_TRIED_MAX = 200_000;

/** Each with what the message must say that it got. */
const BAD_KEYS = [
  ["undefined", undefined, /undefined/],
  ["null", null, /null/],
  ["a number", 42, /42/],
  ["a bigint", 42n, /42/],
  ["a boolean", true, /true/],
  ["a symbol", Symbol("s"), /symbol/i],
  ["a function", () => {}, /function/],
  ["an object", { id: "cart_1" }, /object|cart_1/],
  ["a Set", new Set(["a"]), /object|Set/],
  ["the empty string", "", /empty|""/],
  ["an array with the empty string", ["a", ""], /empty|""/],
  ["an array with a number", ["a", 7], /\b7\b/],
  ["an array with undefined", ["a", undefined], /undefined/],
  ["an array with null", ["a", null], /null/],
  ["an array in an array", ["a", ["b"]], /array|object|b/],
  ["an array with a hole", ["a", , "b"], /undefined|hole/],
  ["a lone high surrogate", "cart\ud800", /surrogate|ill-formed|well-formed/i],
  ["a lone low surrogate in an array", ["a", "\udc00cart"], /surrogate|ill-formed|well-formed/i],
  ["a key one byte too long", "k".repeat(NAME_BYTES_MAX + 1), /at most 16384 bytes, got 16385 /],
  ["a key too long in bytes, not in characters", "ü".repeat(NAME_BYTES_MAX / 2) + "k", /at most 16384 bytes, got 16385 bytes/],
  ["one key too many", Array.from({ length: KEYS_PER_CALL_MAX + 1 }, (_, n) => `k${n}`), /at most 10000 different keys.*10001/],
  ["one byte too many, all together", longestKeys("k"), /at most 4194304 bytes.*4194305/],
  ["one byte too many in characters of several", longestKeys("é"), /at most 4194304 bytes.*4194306/],
];

/** As many keys of the greatest length as may be in a call, and this one. */
function longestKeys(more) {
  const length = KEYS_BYTES_MAX / NAME_BYTES_MAX;
  return [...Array.from({ length }, (_, n) => `${n}`.padEnd(NAME_BYTES_MAX, "k")), more];
}

const BAD_TIMES = [
  ["NaN", NaN, /NaN/],
  ["negative", -1, /-1/],
  ["slightly negative", -0.001, /-0\.001/],
  ["infinite", Infinity, /Infinity/],
  ["1e300", 1e300, /1e\+?300/],
  ["a second more than ten years", TEN_YEARS_S + 1, /315360001/],
  ["a numeric string", "5", /5/],
  ["a bigint", 5n, /5/],
  ["an object", {}, /object|\{\}/],
  ["a boolean", true, /true/],
];

const BAD_OWNERS = [
  ["a number", 42, /42/],
  ["the empty string", "", /empty|""/],
  ["an object", {}, /object|\{\}/],
  ["a boolean", false, /false/],
  ["a lone surrogate", "\ud800", /surrogate|ill-formed|well-formed/i],
  ["one byte too long", "o".repeat(NAME_BYTES_MAX + 1), /at most 16384 bytes, got 16385 /],
  ["too long in bytes, not in characters", "ü".repeat(NAME_BYTES_MAX / 2) + "o", /at most 16384 bytes, got 16385 bytes/],
];

const BAD_JOBS = [
  ["missing", undefined, /undefined/],
  ["null", null, /null/],
  ["a string", "job", /job/],
  ["a promise", Promise.resolve(), /object|Promise/],
];

/** Bytes, and a character behind them of one to four: around the size that is copied without asking for it, and the bound. */
const LENGTHS = [...Array.from({ length: 20 }, (_, n) => 240 + n), 16_300].flatMap((bytes) =>
  ["k", "é", "キ", "🔒"].map((character) => [bytes, character]),
);
LENGTHS.push([NAME_BYTES_MAX - 3, "é"], [NAME_BYTES_MAX - 5, "🔒"]);

/** The error's text names the argument and what was given. */
const names = (argument, got) => (error) => {
  const named = `"${argument}"`;
  assert.ok(error.message.includes(named), error.message);
  assert.match(error.message.slice(error.message.indexOf(named) + named.length), got);
};

onEachBackend("arguments", (backend) => {
  /** Every way in, as `[name, promise-returning call]`, tried through the Locking Module and through `Locks`. */
  async function refusedEverywhere(calls, argument, got) {
    const { locking, locks } = await backend.medusa();
    const never = () => assert.fail("the job ran");
    for (const [door, expected] of [[locking, medusaError], [locks, lockError]]) {
      for (const call of calls) {
        // A rejected promise, never an exception thrown at the caller.
        const answer = call(door, never);
        assert.ok(answer instanceof Promise);
        await assert.rejects(answer, (error) => {
          expected("INVALID_ARGUMENT")(error);
          names(argument, got)(error);
          return true;
        });
      }
    }
    assert.deepEqual(await locks.inspect(), []);
  }

  for (const [title, keys, got] of BAD_KEYS) {
    test(`keys that are ${title}: refused by name and value, nothing taken`, () =>
      refusedEverywhere(
        [
          (door, job) => door.execute(keys, job),
          (door) => door.acquire(keys),
          (door) => door.acquire(keys, { ownerId: "me", expire: 10, awaitQueue: true }),
          (door) => door.release(keys, { ownerId: "me" }),
        ],
        "keys",
        got,
      ));
  }

  for (const [title, time, got] of BAD_TIMES) {
    test(`a timeout that is ${title}: refused by name and value, nothing taken`, () =>
      refusedEverywhere(
        [
          (door, job) => door.execute("k", job, { timeout: time }),
          (door) => door.acquire("k", { awaitQueue: true, timeout: time }),
        ],
        "timeout",
        got,
      ));

    test(`an expire that is ${title}: refused by name and value, nothing taken`, () =>
      refusedEverywhere(
        [
          (door, job) => door.execute("k", job, { expire: time }),
          (door) => door.acquire("k", { expire: time }),
          (door) => door.acquire(["k", "l"], { ownerId: "me", expire: time, awaitQueue: true }),
        ],
        "expire",
        got,
      ));
  }

  for (const [title, ownerId, got] of BAD_OWNERS) {
    test(`an ownerId that is ${title}: refused by name and value, nothing taken or freed`, () =>
      refusedEverywhere(
        [
          (door) => door.acquire("k", { ownerId }),
          (door) => door.release("k", { ownerId }),
          (door) => door.releaseAll({ ownerId }),
        ],
        "ownerId",
        got,
      ));
  }

  for (const [title, job, got] of BAD_JOBS) {
    test(`a job that is ${title}: refused by name and value, nothing taken`, () =>
      refusedEverywhere([(door) => door.execute("k", job), (door) => door.execute([], job)], "job", got));
  }

  test("args and signal of a wrong type: refused by name and value, nothing taken", async () => {
    await refusedEverywhere(
      [(door, job) => door.execute("k", job, { signal: "stop" }), (door) => door.acquire("k", { signal: "stop" })],
      "signal",
      /stop/,
    );
    await refusedEverywhere(
      [(door, job) => door.execute("k", job, 5), (door) => door.acquire("k", 5), (door) => door.release("k", 5)],
      "args",
      /5/,
    );
  });

  test("keys are read once and before anything else: a later change to the array changes nothing", async () => {
    const { locking, locks } = await backend.medusa();
    const keys = ["a", "b"];
    const taking = locking.acquire(keys, { ownerId: "me" });
    keys.push("c");
    keys[0] = "z";
    await taking;
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["a", "b"]);
  });

  test("odd keys are plain keys", async () => {
    const { locking, locks } = await backend.medusa();
    const odd = [
      " ", "with spaces ", "line\nbreak", "tab\t", "\r\n", "{braced}", "}{", "{}", "*", "?", "[a-z]", "[", "\\", "a*", "^$.|",
      "__proto__", "constructor", "toString", "hasOwnProperty", "ключ", "キー", "🔒", "e\u0301", "\u00e9", "\u0000", "a\u0000b",
      "%s", "${k}", "'; DROP", "execute:host:1:n:2", "#1", "0", "null", "undefined", "k".repeat(SHOWN_CHARS_MAX), "🔒".repeat(SHOWN_CHARS_MAX),
    ];
    for (const key of odd) {
      await locking.acquire(key, { ownerId: "me" });
      await assert.rejects(locking.acquire(key), (error) => error.message === `Failed to acquire lock for key "${key}"`);
      const [seen, ...more] = await locks.inspect();
      assert.deepEqual([seen.key, more], [key, []]);
      assert.equal(await locking.release(key, { ownerId: "me" }), true);
      assert.deepEqual(await locking.execute(key, () => locks.inspect().then(([lock]) => lock.key)), key);
    }
    await locking.acquire(odd);
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), [...odd].sort());
    assert.equal(await locking.release(odd), true);
    assert.deepEqual(await locks.inspect(), []);
  });

  test("keys cross whole, whatever length they have and whatever characters they end in", async () => {
    const { locks } = await backend.medusa();
    for (const [bytes, character] of LENGTHS) {
      const long = `${"k".repeat(bytes)}${character}`;
      for (const keys of [[long], [long, `${long}+`], ["a", long.slice(2), "z"], [long, `line\nbreak ${long.slice(20)}`]]) {
        await locks.acquire(keys, { ownerId: "me" });
        assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), keys, `${bytes} bytes and ${character}`);
        assert.equal(await locks.release(keys, { ownerId: "me" }), true);
      }
    }
  });

  test("owner ids cross whole, whatever length they have and whatever characters they end in", async () => {
    const { locks } = await backend.medusa();
    for (const [bytes, character] of LENGTHS) {
      const ownerId = `${"o".repeat(bytes)}${character}`;
      await locks.acquire("k", { ownerId });
      await locks.acquire("k", { ownerId, expire: 60 });
      assert.deepEqual((await locks.inspect()).map((lock) => lock.ownerId), [ownerId]);
      assert.equal(await locks.release("k", { ownerId: `${ownerId}+` }), false);
      assert.equal(await locks.release("k", { ownerId }), true, `${bytes} bytes and ${character}`);
      await locks.acquire("k", { ownerId });
      await locks.releaseAll({ ownerId: `${ownerId}+` });
      assert.equal((await locks.inspect()).length, 1);
      await locks.releaseAll({ ownerId });
      assert.equal((await locks.inspect()).length, 0, `${bytes} bytes and ${character}`);
    }
  });

  test("odd owners are plain owners, and keys with a pattern in them match only themselves", async () => {
    const { locking, locks } = await backend.medusa();
    for (const ownerId of [" ", "**", "a b\n", "🔒", "__proto__", "execute:x", "0", "#1", "{o}"]) {
      await locking.acquire("k", { ownerId });
      assert.equal((await locks.inspect("k"))[0].ownerId, ownerId);
      assert.equal(await locking.release("k", { ownerId: "other" }), false);
      assert.equal(await locking.release("k", { ownerId }), true);
    }
    await locking.acquire(["aa", "ab", "a*"], { ownerId: "me" });
    assert.equal(await locking.release("a*", { ownerId: "me" }), true);
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["aa", "ab"]);
  });

  test("bounds: exactly as many keys as may be in a call, and duplicates do not count", async () => {
    const { locking, locks } = await backend.medusa();
    const keys = Array.from({ length: KEYS_PER_CALL_MAX }, (_, n) => `k${n}`);
    await locking.acquire([...keys, ...keys], { ownerId: "me" });
    assert.equal((await locks.inspect()).length, KEYS_PER_CALL_MAX);
    assert.equal((await locks.inspect(keys)).length, KEYS_PER_CALL_MAX);
    await assert.rejects(locking.acquire([...keys.slice(1), "other"], { ownerId: "other" }), medusaError("LOCK_HELD"));
    assert.equal(await locking.release(keys, { ownerId: "me" }), true);
    assert.equal(await locking.execute(keys, async () => (await locks.inspect()).length), KEYS_PER_CALL_MAX);
    assert.deepEqual(await locks.inspect(), []);
  });

  const FULL_SETS = {
    "as many as may be, each as long as they then may be": [KEYS_PER_CALL_MAX, Math.floor(KEYS_BYTES_MAX / KEYS_PER_CALL_MAX)],
    "each as long as may be, as many as there then may be": [KEYS_BYTES_MAX / NAME_BYTES_MAX, NAME_BYTES_MAX],
  };
  for (const [title, [count, bytes]] of Object.entries(FULL_SETS)) {
    test(`bounds: keys, ${title}, in every kind of call`, async () => {
      const { locking, locks } = await backend.medusa();
      const keys = Array.from({ length: count }, (_, n) => `${n}`.padEnd(bytes, "k"));
      const ownerId = "o".repeat(1_000);
      assert.equal(await locking.execute(keys, async () => (await locks.inspect(keys)).length), count);
      await locking.acquire(keys, { ownerId, expire: 60 });
      await locking.acquire(keys, { ownerId });
      await assert.rejects(locking.acquire(keys), medusaError("LOCK_HELD"));
      assert.equal(await locking.release([keys[0], "another"], { ownerId }), false);
      await assert.rejects(locking.acquire(keys, { ownerId: "other" }), medusaError("LOCK_HELD"));
      await locking.releaseAll({ ownerId });
      assert.deepEqual(await locks.inspect(), []);
    });
  }

  test("a message shows the beginning of a very long key, and the error has all of it", async () => {
    const locks = backend.locks();
    const start = "🔒".repeat(SHOWN_CHARS_MAX);
    const key = `${start}${"k".repeat(NAME_BYTES_MAX - 4 * SHOWN_CHARS_MAX)}`;
    const message = `Failed to acquire lock for key "${start}..."`;
    await locks.acquire(key, { ownerId: "me" });
    for (const args of [{}, { timeout: 0.05 }]) {
      await assert.rejects(locks.acquire(key, args), { code: "LOCK_HELD", message, key });
    }
    await assert.rejects(locks.execute(key, () => {}, { timeout: 0.05 }), { code: "LOCK_TIMEOUT", key });
    await locks.releaseAll();
    const held = await holding(locks, key);
    await locks.releaseAll();
    await assert.rejects(held.end(), (error) => {
      assert.ok(lockError("LOCK_LOST")(error));
      assert.equal(error.key, key);
      assert.ok(error.message.startsWith(`Lost the lock for key "${start}..." `), error.message);
      return true;
    });
  });

  test("bounds: exactly the longest time", async () => {
    const { locking, locks } = await backend.medusa();
    await locking.acquire("k", { ownerId: "me", expire: TEN_YEARS_S });
    const [{ expiresIn }] = await locks.inspect("k");
    assert.ok(expiresIn > TEN_YEARS_S - 60 && expiresIn <= TEN_YEARS_S);
    assert.equal(await locking.execute("free", () => "ran", { timeout: TEN_YEARS_S, expire: TEN_YEARS_S }), "ran");
  });

  test("bounds: one waiter too many is refused with a limit error, those before it wait on", async () => {
    const locks = backend.locks();
    const held = await holding(locks, "k");
    const waiters = [];
    let served = 0;
    let refused;
    const wait = () =>
      locks.execute("k", () => void (served += 1), { timeout: 600 }).catch((error) => {
        refused ??= error;
        return error.code;
      });
    while (refused === undefined && waiters.length < WAITERS_TRIED_MAX) {
      for (let n = 0; n < 1_000; n += 1) waiters.push(wait());
      await new Promise(setImmediate);
    }
    assert.ok(refused, `${waiters.length} wait, and there is no bound`);
    assert.ok(lockError("LIMIT_EXCEEDED", /waiters.*"k"/i)(refused));
    await held.end();
    await until(() => served > 0, "those before it are served");
    await locks.close();
    const ends = new Set(await Promise.all(waiters));
    assert.deepEqual([...ends].sort(), [undefined, "LIMIT_EXCEEDED", "CLOSED"].sort());
  });
});
