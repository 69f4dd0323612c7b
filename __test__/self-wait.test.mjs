/** A job that asks for a lock that it holds itself is told at once, and nobody else is. */
import assert from "node:assert/strict";
import { AsyncLocalStorage, AsyncResource } from "node:async_hooks";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { lockError, medusaError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { Locks, nativeEntry } from "./support/product.mjs";
import { deferred, settles, until, watch } from "./support/waiting.mjs";

/** Nobody waits for so long in a test: who is told before, was told at once. */
const FOREVER_S = 3600;

const always = { detectSelfWait: "always", waitLockingTimeout: FOREVER_S };

const ofItself = (key) => (error) => {
  lockError("LOCK_SELF_WAIT", new RegExp(`"${key}".*held by the job`))(error);
  assert.equal(error.key, key);
  return true;
};

/** How a job gets to where it asks for its own lock. */
const WAYS = {
  "before it awaits": (ask) => ask(),
  "after an await": async (ask) => {
    await turn();
    return ask();
  },
  "in a timer": (ask) => new Promise((resolve, reject) => void setTimeout(() => ask().then(resolve, reject), 1)),
  "beside other work": async (ask) => {
    await null;
    const [own] = await Promise.all([ask(), turn()]);
    return own;
  },
};

onEachBackend("a job that would wait for itself", (backend) => {
  const never = () => assert.fail("the inner job ran");

  for (const [way, reach] of Object.entries(WAYS)) {
    test(`execute ${way} is refused at once, and the job goes on`, async () => {
      const locks = backend.locks(always);
      const inner = locks.execute("k", async () => {
        await assert.rejects(reach(() => locks.execute("k", never)), ofItself("k"));
        return "the job's own";
      });
      assert.equal(await settles(inner, "the job"), "the job's own");
      assert.deepEqual(await locks.inspect(), []);
      assert.equal(locks.stats().waiting, 0);
    });

    test(`acquire that waits, ${way}, is refused at once`, async () => {
      const locks = backend.locks({ ...always, acquireWait: FOREVER_S });
      const ways = [{ awaitQueue: true }, { timeout: FOREVER_S }, { ownerId: "me", awaitQueue: true, timeout: 60 }, undefined];
      await locks.execute("k", async () => {
        for (const args of ways) {
          const asked = reach(() => locks.acquire("k", args));
          await assert.rejects(settles(asked, `acquire with ${JSON.stringify(args)}`), ofItself("k"));
        }
      });
      // Who is refused twice is taken for one that polls, and the lock is kept for it for a moment.
      await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
    });
  }

  test("through Medusa's Locking Module it is a conflict", async () => {
    const { locking } = await backend.medusa(always);
    await locking.execute("cart_1", async () => {
      await turn();
      const check = medusaError("LOCK_SELF_WAIT", /"cart_1"/);
      await assert.rejects(settles(locking.execute("cart_1", never), "execute"), check);
      await assert.rejects(settles(locking.acquire("cart_1", { awaitQueue: true }), "acquire"), check);
    });
  });

  test("an attempt stays an attempt, in its own words", async () => {
    const locks = backend.locks(always);
    await locks.execute("k", async () => {
      await turn();
      await assert.rejects(locks.execute("k", never, { timeout: 0 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
      await assert.rejects(locks.acquire("k"), lockError("LOCK_HELD", refusal("k")));
      await assert.rejects(locks.acquire("k", { ownerId: "me" }), lockError("LOCK_HELD", refusal("k")));
      await assert.rejects(locks.acquire("k", { awaitQueue: true, timeout: 0 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    });
  });

  test("any common key of two sets counts, and is named", async () => {
    const locks = backend.locks(always);
    await locks.execute(["d", "b", "f"], async () => {
      await turn();
      await assert.rejects(locks.execute(["a", "e", "f"], never), ofItself("f"));
      await assert.rejects(locks.execute("d", never), ofItself("d"));
      assert.equal(await locks.execute(["a", "c", "e"], () => "ran"), "ran");
    });
  });

  test("a job within a job within a job: the keys of all of them", async () => {
    const locks = backend.locks(always);
    await locks.execute("a", async () => {
      await turn();
      await locks.execute(["b", "c"], async () => {
        await turn();
        await locks.execute([], async () => {
          for (const key of ["a", "b", "c"]) {
            await assert.rejects(locks.execute(key, never), ofItself(key));
          }
          assert.equal(await locks.execute("d", () => "ran"), "ran");
        });
      });
      assert.equal(await locks.execute("b", () => "ran"), "ran", "the job of b has ended");
    });
  });

  test("jobs side by side in one job wait for one another as ever", async () => {
    const locks = backend.locks(always);
    const order = await locks.execute("outer", async () => {
      await turn();
      const seen = [];
      const job = (name) => async () => {
        await turn();
        seen.push(name);
      };
      await Promise.all([locks.execute("x", job(1)), locks.execute("x", job(2)), locks.execute(["x", "y"], job(3))]);
      return seen;
    });
    // On Redis a request for another set of keys may come before the second one for the same.
    assert.deepEqual([order[0], ...order.slice(1).sort()], [1, 2, 3]);
  });

  test("what a job has left behind waits like anybody else once the job has ended", async () => {
    const locks = backend.locks(always);
    const go = deferred();
    const left = {};
    await locks.execute("k", async () => {
      left.call = go.promise.then(() => locks.execute("k", () => "later"));
      left.bound = AsyncResource.bind(() => locks.execute("k", () => "bound"));
    });
    const held = await holding(locks, "k");
    go.resolve();
    const [call, bound] = [left.call, left.bound()].map(watch);
    await until(async () => (await locks.inspect("k"))[0].waiting === 2, "both wait");
    await held.end();
    assert.equal(await settles(call.promise, "the call"), "later");
    assert.equal(await settles(bound.promise, "the bound call"), "bound");
  });

  test("a child that outlives its parent is not held to be in it, though it is in the child", async () => {
    const locks = backend.locks(always);
    const [started, go] = [deferred(), deferred()];
    let child;
    await locks.execute("parent", async () => {
      child = locks.execute("child", async () => {
        started.resolve();
        await go.promise;
        await assert.rejects(locks.execute("child", never), ofItself("child"));
        return locks.execute("parent", () => "got it");
      });
      await started.promise;
    });
    const held = await holding(locks, "parent");
    go.resolve();
    await until(async () => (await locks.inspect("parent"))[0].waiting === 1, "the child waits for its parent's key");
    await held.end();
    assert.equal(await settles(child, "the child"), "got it");
  });

  test("what was made outside and is called within counts as outside", async () => {
    const locks = backend.locks(always);
    const outside = AsyncLocalStorage.snapshot();
    const job = { waiting: undefined };
    await locks.execute("k", async () => {
      await turn();
      job.waiting = outside(() => locks.execute("k", () => "after the job"));
      await until(async () => (await locks.inspect("k"))[0].waiting === 1, "it waits");
    });
    assert.equal(await settles(job.waiting, "the call"), "after the job");
  });

  test("the caller's own AsyncLocalStorage is seen in the job", async () => {
    const locks = backend.locks(always);
    const own = new AsyncLocalStorage();
    assert.equal(await own.run("store", () => locks.execute("k", async () => own.getStore())), "store");
  });

  test("another Locks with the same options counts, another namespace does not", async () => {
    const options = backend.options(always);
    const [one, two, other] = [backend.locks(options), backend.locks(options), backend.locks(always)];
    const held = await holding(other, "k");
    await one.execute("k", async () => {
      await turn();
      await assert.rejects(settles(two.execute("k", never), "the other Locks"), ofItself("k"));
      const waiting = other.execute("k", () => "another lock");
      await until(async () => (await other.inspect("k"))[0].waiting === 1, "it waits for whoever holds it");
      await held.end();
      assert.equal(await settles(waiting, "the lock of another namespace"), "another lock");
    });
  });

  // On Redis, keys stay with a job as long as it runs, for its own Locks: whoever of these asks for them waits for its end.
  const isStillTheJobs = () => backend.kind === "redis";

  const RELEASES = {
    "released by its owner's id": (locks, { ownerId }) => locks.release("k", { ownerId }),
    "freed by releaseAll": (locks) => locks.releaseAll(),
    "freed by releaseAll with its owner's id": (locks, { ownerId }) => locks.releaseAll({ ownerId }),
  };
  for (const [how, release] of Object.entries(RELEASES)) {
    test(`a key that was ${how} in the job is waited for, behind those who wait`, async () => {
      const options = backend.options(always);
      const [locks, elsewhere] = [backend.locks(options), backend.locks(options)];
      const outside = AsyncLocalStorage.snapshot();
      const done = locks.execute("k", async (_signal, lock) => {
        const next = outside(() => holding(elsewhere, "k"));
        await until(async () => (await elsewhere.inspect("k"))[0].waiting === 1, "somebody waits");
        await release(locks, lock);
        const held = await settles(next, "the next one has it");
        const inner = [elsewhere.execute("k", () => "again")];
        if (isStillTheJobs()) await assert.rejects(settles(locks.execute("k", never), "its own Locks"), ofItself("k"));
        else inner.push(locks.execute("k", () => "again"));
        await until(async () => (await elsewhere.inspect("k"))[0].waiting === inner.length, "the job waits for it");
        await held.end();
        for (const answer of await settles(Promise.all(inner), "the inner calls")) assert.equal(answer, "again");
      });
      await assert.rejects(settles(done, "the job"), lockError("LOCK_LOST"));
    });
  }

  test("a key that was lost is waited for, or had", async () => {
    const options = backend.options({ ...always, lease: 1 });
    const [locks, elsewhere] = [backend.locks(options), backend.locks(options)];
    const done = locks.execute("k", async (signal) => {
      await elsewhere.releaseAll();
      await until(() => signal.aborted, "the job is told");
      assert.equal(await settles(elsewhere.execute("k", () => "free"), "another Locks"), "free");
      const own = settles(locks.execute("k", () => "free"), "its own Locks");
      if (isStillTheJobs()) await assert.rejects(own, ofItself("k"));
      else assert.equal(await own, "free");
    });
    await assert.rejects(settles(done, "the job"), lockError("LOCK_LOST"));
  });

  test("before-await: what a job does until it awaits, also within further jobs", async () => {
    const locks = backend.locks({ detectSelfWait: "before-await", waitLockingTimeout: FOREVER_S });
    await locks.execute("a", async () => {
      const inner = locks.execute("b", async () => {
        const both = [locks.execute("a", never), locks.acquire("b", { awaitQueue: true })].map((call) => call.catch((e) => e));
        const [a, b] = await settles(Promise.all(both), "both are refused");
        assert.ok(ofItself("a")(a) && ofItself("b")(b));
      });
      await inner;
      const later = locks.execute("a", never, { timeout: 0.05 });
      await assert.rejects(settles(later, "the wait ends"), lockError("LOCK_TIMEOUT", TIMED_OUT));
    });
  });

  test("before-await: a job that throws at once leaves nothing behind", async () => {
    const locks = backend.locks({ detectSelfWait: "before-await" });
    const own = new Error("the job's own");
    await assert.rejects(
      locks.execute("k", () => {
        throw own;
      }),
      own,
    );
    const held = await holding(locks, "k");
    const next = watch(locks.execute("k", () => "next", { timeout: FOREVER_S }));
    await until(async () => (await locks.inspect("k"))[0].waiting === 1, "it waits");
    await held.end();
    assert.equal(await settles(next.promise, "the next one"), "next");
  });

  test("never: it waits until its time is over", async () => {
    const locks = backend.locks({ detectSelfWait: "never" });
    await locks.execute("k", async () => {
      await assert.rejects(locks.execute("k", never, { timeout: 0.05 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
      const queued = locks.acquire("k", { awaitQueue: true, timeout: 0.05 });
      await assert.rejects(queued, lockError("LOCK_TIMEOUT", TIMED_OUT));
    });
  });
});

test("jobs that start one another without end keep none of those before them", () => {
  const program = `
    const { Locks } = require(${JSON.stringify(nativeEntry)});
    const locks = new Locks({ detectSelfWait: "always", waitLockingTimeout: 60 });
    const chain = (left) =>
      new Promise((done, failed) => {
        const next = () =>
          locks
            .execute("k", async () => {
              left -= 1;
              // Made in the job, and runs when that has ended.
              if (left > 0) setImmediate(next);
              else setImmediate(() => done(heap())); // In the last job's context, which keeps what the chain keeps.
            })
            .catch(failed);
        next();
      });
    const heap = () => (gc(), process.memoryUsage().heapUsed);
    (async () => {
      const [before, after] = [await chain(2_000), await chain(20_000)];
      console.log(Math.round((after - before) / 18_000));
      await locks.close();
    })();
  `;
  const said = execFileSync(process.execPath, ["--expose-gc", "--eval", program], { encoding: "utf8", timeout: 60_000 });
  assert.ok(Number(said) < 16, `each job of the chain has left ${said.trim()} bytes behind`);
});

test("by default, jobs are followed past an await where NODE_ENV says that the code is being written or tested", () => {
  const program = `
    const { Locks } = require(${JSON.stringify(nativeEntry)});
    const locks = new Locks({ waitLockingTimeout: 0.05 });
    const ask = () => locks.execute("k", () => "never").catch(({ code }) => code);
    locks.execute("k", async () => [await ask(), await ask()]).then((codes) => console.log(codes.join(" ")));
  `;
  const runs = { development: "always", test: "always", production: "before-await", "": "before-await" };
  for (const [environment, detection] of Object.entries(runs)) {
    const env = { ...process.env, NODE_ENV: environment };
    const said = execFileSync(process.execPath, ["--eval", program], { encoding: "utf8", env });
    const second = detection === "always" ? "LOCK_SELF_WAIT" : "LOCK_TIMEOUT";
    assert.equal(said.trim(), `LOCK_SELF_WAIT ${second}`, `NODE_ENV=${environment}`);
  }
});

test("an unknown detectSelfWait stops the start", () => {
  assert.throws(
    () => new Locks({ namespace: freshNamespace(), detectSelfWait: true }),
    lockError("INVALID_OPTION", /"detectSelfWait".*"always" or "before-await" or "never".*true/),
  );
});
