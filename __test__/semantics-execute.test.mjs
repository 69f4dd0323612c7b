/** What callers of `execute` see, on both backends; through Medusa's Locking Module, and through `Locks` beyond its interface. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { lockError, medusaError, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

onEachBackend("execute", (backend) => {
  test("the locks are where the options say, and not somewhere else that works as well", async () => {
    const { locking, locks, provider } = await backend.medusa();
    await locking.execute("k", () => {});
    assert.equal(provider("native").stats().backend, backend.kind);
    assert.equal(locks.stats().backend, backend.kind);
  });

  test("the job's result is the call's, and the keys are free afterwards", async () => {
    const { locking, locks } = await backend.medusa();
    const result = await locking.execute(["cart_1", "cart_2"], async () => {
      assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["cart_1", "cart_2"]);
      return { id: "order_1" };
    });
    assert.deepEqual(result, { id: "order_1" });
    assert.deepEqual(await locks.inspect(), []);
  });

  test("a job that returns no promise is a job", async () => {
    const { locking, locks } = await backend.medusa();
    assert.equal(await locking.execute("k", () => 42), 42);
    assert.equal(await locking.execute("k", () => undefined), undefined);
    assert.deepEqual(await locks.inspect(), []);
  });

  test("a job's error is passed on as it is, and the keys are free afterwards", async () => {
    const { locking, locks } = await backend.medusa();
    const broken = new TypeError("the job's own");
    await assert.rejects(
      locking.execute(["a", "b"], async () => {
        throw broken;
      }),
      (error) => error === broken,
    );
    await assert.rejects(
      locking.execute(["a", "b"], () => {
        throw broken;
      }),
      (error) => error === broken,
    );
    assert.deepEqual(await locks.inspect(), []);
    assert.equal(await locking.execute(["a", "b"], () => "free"), "free");
  });

  test("no keys: the job runs, and locks nothing", async () => {
    const { locking, locks } = await backend.medusa();
    const outer = await holding(locking, []);
    assert.equal(await locking.execute([], async (signal) => signal.aborted), false);
    assert.deepEqual(await locks.inspect(), []);
    assert.equal(await outer.end("ran"), "ran");
  });

  test("a key named twice is locked once, and does not wait for itself", async () => {
    const { locking, locks } = await backend.medusa();
    const held = await holding(locking, ["a", "b", "a", "a"]);
    assert.deepEqual((await locks.inspect()).map(({ key }) => key).sort(), ["a", "b"]);
    await held.end();
    assert.deepEqual(await locks.inspect(), []);
  });

  test("one at a time on a key: no two jobs overlap, none is lost", async () => {
    const { locking } = await backend.medusa();
    let inside = 0;
    let stock = 0;
    const buy = () =>
      locking.execute(
        "inventory",
        async () => {
          inside += 1;
          assert.equal(inside, 1);
          const read = stock;
          await new Promise(setImmediate);
          stock = read + 1;
          inside -= 1;
        },
        { timeout: 60 },
      );
    await Promise.all(Array.from({ length: 100 }, buy));
    assert.equal(stock, 100);
  });

  test("other keys do not wait", async () => {
    const { locking } = await backend.medusa();
    const held = await holding(locking, "a");
    assert.equal(await settles(locking.execute("b", () => "b"), "execute on a free key"), "b");
    await held.end();
  });

  test("jobs may lock other keys inside", async () => {
    const { locking, locks } = await backend.medusa();
    const nested = await locking.execute("outer", () =>
      locking.execute(["inner", "other"], async () => (await locks.inspect()).map(({ key }) => key).sort()),
    );
    assert.deepEqual(nested, ["inner", "other", "outer"]);
    assert.deepEqual(await locks.inspect(), []);
  });

  test("execute is not re-entrant: the same key inside is refused", async () => {
    const { locking } = await backend.medusa();
    const nested = locking.execute("k", () => locking.execute("k", () => "never"));
    await assert.rejects(nested, medusaError("LOCK_SELF_WAIT", /"k"/));
  });

  test("key sets in opposite orders: sixteen of sixteen get through", async () => {
    const { locking } = await backend.medusa();
    const items = ["item_a", "item_b", "item_c"];
    const checkouts = Array.from({ length: 16 }, (_, n) => {
      const order = n % 2 === 0 ? items : items.toReversed();
      return locking.execute(order, () => new Promise((done) => setImmediate(done, n)), { timeout: 60 });
    });
    assert.deepEqual(await Promise.all(checkouts), Array.from({ length: 16 }, (_, n) => n));
  });

  test("timeout: a held key is waited for that long, then the message is Medusa's", async () => {
    const { locking, locks } = await backend.medusa();
    const held = await holding(locking, "k");
    const began = performance.now();
    await assert.rejects(locking.execute("k", () => assert.fail("ran"), { timeout: 0.4 }), medusaError("LOCK_TIMEOUT", TIMED_OUT));
    assert.ok(performance.now() - began >= 390, "the wait was cut short");
    await assert.rejects(locks.execute("k", () => assert.fail("ran"), { timeout: 0.1 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    await held.end();
    assert.equal(await locking.execute("k", () => "free"), "free");
  });

  test("timeout: fractions of seconds count, none is rounded up to a second", async () => {
    const { locking } = await backend.medusa();
    const held = await holding(locking, "k");
    const ended = [];
    const wait = (timeout) => assert.rejects(locking.execute("k", () => {}, { timeout })).then(() => ended.push(timeout));
    await Promise.all([wait(0.9), wait(0.6), wait(0.3)]);
    assert.deepEqual(ended, [0.3, 0.6, 0.9]);
    await held.end();
  });

  test("timeout 0 tries once: a free key is taken, a held one refused", async () => {
    const { locking, inspect } = await backend.medusa();
    assert.equal(await locking.execute("k", () => "free", { timeout: 0 }), "free");
    const held = await holding(locking, "k");
    await assert.rejects(locking.execute("k", () => assert.fail("ran"), { timeout: 0 }), medusaError("LOCK_TIMEOUT", TIMED_OUT));
    const [{ waiting }] = await inspect("k");
    assert.equal(waiting, 0);
    await held.end();
  });

  test("timeout undefined or null is the default; the option waitLockingTimeout sets it", async () => {
    const { locking } = await backend.medusa({ waitLockingTimeout: 0.3 });
    const held = await holding(locking, "k");
    for (const args of [undefined, {}, { timeout: undefined }, { timeout: null }]) {
      const refused = assert.rejects(locking.execute("k", () => {}, args), medusaError("LOCK_TIMEOUT", TIMED_OUT));
      await settles(refused, "the default timeout of 0.3 s", 4_000);
    }
    await held.end();
  });

  test("a waiter that times out on several keys leaves none of them locked", async () => {
    const { locking, locks } = await backend.medusa();
    const held = await holding(locking, "b");
    await assert.rejects(locking.execute(["a", "b", "c"], () => assert.fail("ran"), { timeout: 0.2 }), medusaError("LOCK_TIMEOUT"));
    assert.deepEqual((await locks.inspect()).map(({ key }) => key), ["b"]);
    await held.end();
    assert.deepEqual(await locks.inspect(), []);
  });

  test("a job that runs longer than its lease keeps the lock", async () => {
    const { locking, locks } = await backend.medusa({ waitLockingTimeout: 0.2 });
    const held = await holding(locking, "k", { expire: 1 });
    await stays(async () => (await locks.inspect("k")).length === 1, "the lock is held past its lease", 2_500);
    await assert.rejects(locking.execute("k", () => assert.fail("ran")), medusaError("LOCK_TIMEOUT"));
    assert.equal(held.signal.aborted, false);
    assert.equal(await held.end("done"), "done");
  });

  test("HeldLock: the keys sorted and unique, the owner as inspect shows it, a token that rises with every grant", async () => {
    const locks = backend.locks();
    const tokens = [];
    for (let round = 0; round < 5; round += 1) {
      await locks.execute(["b", "a", "b"], async (signal, lock) => {
        assert.ok(signal instanceof AbortSignal);
        assert.deepEqual(lock.keys, ["a", "b"]);
        assert.match(lock.ownerId, /^execute:.+:\d+:.+/);
        assert.ok(Number.isSafeInteger(lock.fencingToken) && lock.fencingToken > 0);
        for (const seen of await locks.inspect(["a", "b"])) {
          assert.equal(seen.ownerId, lock.ownerId);
          assert.equal(seen.fencingToken, lock.fencingToken);
        }
        tokens.push(lock.fencingToken);
      });
    }
    assert.deepEqual(tokens, [...new Set(tokens)].sort((a, b) => a - b));
  });

  test("fencing tokens rise whoever is granted: acquire between two executes, one that expires, another Locks, waiters", async () => {
    const namespace = "fence-" + Math.random() + ":";
    const [first, second] = [backend.locks({ namespace }), backend.locks({ namespace })];
    const tokens = [];
    const note = (_signal, lock) => void tokens.push(lock.fencingToken);
    await first.execute("k", note);
    await first.acquire("k", { ownerId: "someone" });
    tokens.push((await second.inspect("k"))[0].fencingToken);
    await first.release("k", { ownerId: "someone" });
    await second.acquire("k", { ownerId: "lapses", expire: 0.3 });
    tokens.push((await first.inspect("k"))[0].fencingToken);
    await second.execute("k", note, { timeout: 30 });
    await Promise.all(Array.from({ length: 10 }, (_, n) => (n % 2 ? first : second).execute("k", note)));
    assert.equal(tokens.length, 14);
    assert.deepEqual(tokens, [...new Set(tokens)].sort((a, b) => a - b));
  });

  test("abort: a signal that is aborted already takes nothing and the job does not run", async () => {
    const locks = backend.locks();
    const reason = new Error("the request was closed");
    const run = locks.execute("k", () => assert.fail("ran"), { signal: AbortSignal.abort(reason) });
    await assert.rejects(run, (error) => error === reason);
    assert.deepEqual(await locks.inspect(), []);
  });

  test("abort: a waiter leaves the queue at once, with the signal's reason", async () => {
    const locks = backend.locks();
    const held = await holding(locks, "k");
    const caller = new AbortController();
    const waiter = watch(locks.execute(["k", "l"], () => assert.fail("ran"), { timeout: 60, signal: caller.signal }));
    await until(async () => (await locks.inspect("k"))[0].waiting === 1, "the waiter is queued");
    const reason = new Error("the request was closed");
    caller.abort(reason);
    await settles(assert.rejects(waiter.promise, (error) => error === reason), "the aborted waiter is answered");
    await until(async () => (await locks.inspect("k"))[0].waiting === 0, "the queue is empty");
    await held.end();
    await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
  });

  test("abort after the grant reaches the job, which decides: the lock is kept until it ends, and its result counts", async () => {
    const locks = backend.locks();
    const caller = new AbortController();
    const held = await holding(locks, "k", { signal: caller.signal });
    const reason = new Error("the request was closed");
    caller.abort(reason);
    assert.equal(held.signal.aborted, true);
    assert.equal(held.signal.reason, reason);
    assert.equal((await locks.inspect("k")).length, 1);
    assert.equal(await held.end("done"), "done");
    assert.deepEqual(await locks.inspect(), []);
  });

  test("the job starts only after execute has returned, and gets an AbortSignal of its own", async () => {
    const { locking } = await backend.medusa();
    let returned = false;
    const running = locking.execute("k", (signal) => {
      assert.ok(returned);
      assert.ok(signal instanceof AbortSignal);
      return signal;
    });
    returned = true;
    assert.notEqual(await running, await locking.execute("k", (signal) => signal));
  });

  test("a job's lock can be ended by its owner's name: the job is told", async () => {
    const { locking, locks } = await backend.medusa({ lease: 1.5 });
    const held = await holding(locks, ["a", "b"]);
    assert.equal(await locking.release("a", { ownerId: "somebody" }), false);
    assert.equal(await locking.release("a", { ownerId: held.lock.ownerId }), true);
    await until(() => held.signal.aborted, "the job's signal aborts");
    await assert.rejects(held.end(), lockError("LOCK_LOST", /"a"/));
    await until(async () => (await locks.inspect()).length === 0, "its other key is given back");
  });

  test("expire 0, null and undefined are the default lease; the option lease sets it", async () => {
    const { locking, locks } = await backend.medusa({ lease: 30 });
    for (const expire of [undefined, null, 0]) {
      const held = await holding(locking, "k", { expire });
      const [{ expiresIn }] = await locks.inspect("k");
      // In one process there is nothing to expire: the lock is held for as long as the job runs.
      if (expiresIn !== null) assert.ok(expiresIn > 15 && expiresIn <= 30, `expires in ${expiresIn} s`);
      await held.end();
    }
  });

  test("a signal that throws when it is let go of keeps no lock", async () => {
    const locks = backend.locks();
    const throwing = {
      aborted: false,
      addEventListener() {},
      removeEventListener() {
        throw new Error("the signal's own");
      },
    };
    assert.equal(await locks.execute("k", () => "ran", { signal: throwing }), "ran");
    const { proxy: revoked, revoke } = Proxy.revocable({ aborted: false, addEventListener() {}, removeEventListener() {} }, {});
    assert.equal(await locks.execute("l", () => (revoke(), "ran"), { signal: revoked }), "ran");
    assert.equal(await locks.execute(["k", "l"], () => "free", { timeout: 5 }), "free");
    await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
  });
});
