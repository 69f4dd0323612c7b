/** How a process lives and ends with locks in it: it exits by itself, stays while it waits, gives back what its jobs held. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { lockError } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { foreignConnections } from "./support/redis.mjs";
import { deferred, settles, stays, until, watch } from "./support/waiting.mjs";

const CLEAN = { code: 0, signal: null, errors: "" };

onEachBackend("the end of a process", (backend) => {
  const start = (source, { options, ...more } = {}) =>
    startScript(source, { ...more, input: { options: backend.options(options) } });

  test("a script that used locks exits by itself", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const locks = new Locks(input.options);
      await locks.execute(["a", "b"], () => {});
      await locks.acquire("k", { ownerId: "me", expire: 60 });
      await locks.acquire("l");
      await locks.release("k", { ownerId: "me" });
      await locks.execute("k", () => locks.execute("j", () => {}));
      await locks.acquire("l", { awaitQueue: true, timeout: 0.1 }).catch((error) => say(error.code));
      say((await locks.inspect()).length);
    `);
    assert.deepEqual(await child.ends(), CLEAN);
    assert.deepEqual(child.lines, ["LOCK_TIMEOUT", "1"]);
  });

  test("a script that made a Locks and never used it exits by itself", async (t) => {
    t.after(stopScripts);
    assert.deepEqual(await start("globalThis.locks = new Locks(input.options);").ends(), CLEAN);
  });

  test("a script that waits for a lock stays alive until it has it, with nothing else to keep it", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const locks = new Locks(input.options);
      await locks.acquire("k", { ownerId: "gone", expire: 1.5 });
      say("waits");
      await locks.acquire("k", { ownerId: "me", awaitQueue: true });
      say("acquired");
      await locks.execute("l", () => say("executed"));
    `);
    assert.deepEqual(await child.ends(), CLEAN);
    assert.deepEqual(child.lines, ["waits", "acquired", "executed"]);
  });

  test("a script that waits until its timeout stays alive until then", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const locks = new Locks(input.options);
      await locks.acquire("k");
      locks.execute("k", () => {}, { timeout: 1 }).catch((error) => say(error.code));
    `);
    assert.deepEqual(await child.ends(), CLEAN);
    assert.deepEqual(child.lines, ["LOCK_TIMEOUT"]);
  });

  test("close: waiters are told, running jobs end in peace, later calls are refused, twice is once", async () => {
    const locks = backend.locks();
    const held = await holding(locks, "k");
    const waiters = [
      watch(locks.execute("k", () => assert.fail("ran"), { timeout: 60 })),
      watch(locks.acquire("k", { ownerId: "me", awaitQueue: true })),
    ];
    await until(async () => (await locks.inspect("k"))[0].waiting === 2, "two wait");
    const closing = watch(locks.close());
    for (const { promise } of waiters) await settles(assert.rejects(promise, lockError("CLOSED")), "a waiter is told");
    await assert.rejects(locks.execute("free", () => assert.fail("ran")), lockError("CLOSED"));
    assert.equal(closing.state, "pending");
    assert.equal(held.signal.aborted, false);
    assert.equal(await held.end("done"), "done");
    await settles(closing.promise, "close");
    await settles(locks.close(), "a second close");
    for (const call of [
      () => locks.execute("k", () => assert.fail("ran")),
      () => locks.acquire("k"),
      () => locks.release("k"),
      () => locks.releaseAll(),
      () => locks.inspect(),
    ]) {
      await assert.rejects(call(), lockError("CLOSED"));
    }
  });

  test("close: a job that outlasts the grace loses its lock and is told", async () => {
    const options = backend.options({ shutdownGrace: 0.3 });
    const [locks, other] = [backend.locks(options), backend.locks(options)];
    const held = await holding(locks, "k");
    await settles(locks.close(), "close");
    assert.equal(held.signal.aborted, true);
    await assert.rejects(held.end("must not count"));
    assert.equal(await other.execute("k", () => "free"), "free");
  });

  test("close: what acquire took stays, for it is its owner's", async () => {
    const options = backend.options();
    const [locks, other] = [backend.locks(options), backend.locks(options)];
    await locks.acquire("k", { ownerId: "me" });
    await locks.acquire("l");
    await locks.close();
    await assert.rejects(other.acquire("k"), lockError("LOCK_HELD"));
    assert.equal(await other.release("k", { ownerId: "me" }), true);
    assert.equal(await other.release("l"), true);
  });

  test("close from within a job waits for the grace, not for ever", async () => {
    const locks = backend.locks({ shutdownGrace: 0.3 });
    const closing = locks.execute("k", () => locks.close());
    await settles(assert.rejects(closing, lockError("LOCK_LOST")), "the job that closes");
  });

  test("close with nothing to do, before anything was used, and by two at once", async () => {
    await settles(backend.locks().close(), "close of an unused one");
    const locks = backend.locks();
    await locks.execute("k", () => {});
    await settles(Promise.all([locks.close(), locks.close()]), "close by two");
  });

  test("a closed Locks does not disturb another of the same namespace", async () => {
    const options = backend.options();
    const [one, two] = [backend.locks(options), backend.locks(options)];
    const held = await holding(two, "k");
    const waiter = two.execute("k", () => "next", { timeout: 60 });
    await one.execute("l", () => {});
    await one.close();
    await held.end();
    assert.equal(await settles(waiter, "the other's waiter"), "next");
  });

  test("loaded twice into one process, as test runners do: both work, exclude each other, and let it exit", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const entry = Object.keys(require.cache).find((path) => path.endsWith("native.js"));
      for (const path of Object.keys(require.cache)) delete require.cache[path];
      const again = require(entry);
      say(again.Locks === Locks);
      const [one, two] = [new Locks(input.options), new again.Locks(input.options)];
      let end;
      const first = one.execute("k", () => new Promise((resolve) => (end = resolve)));
      while (end === undefined) await new Promise(setImmediate);
      await two.execute("k", () => {}, { timeout: 0 }).catch((error) => say(error instanceof again.LockError, error.code));
      const second = two.execute("k", () => "second");
      end("first");
      say(await first, await second);
    `);
    assert.deepEqual(await child.ends(), CLEAN);
    assert.deepEqual(child.lines, ["false", "true LOCK_TIMEOUT", "first second"]);
  });

  test("Locks that were used and dropped without close are collected, their connections too", async (t) => {
    t.after(stopScripts);
    const child = start(
      `
      const dropped = new FinalizationRegistry(() => (collected += 1));
      let collected = 0;
      const use = async () => {
        const locks = new Locks(input.options);
        dropped.register(locks);
        await locks.execute("k", () => {});
        await locks.acquire("l", { awaitQueue: true });
        await locks.release("l");
      };
      for (let n = 0; n < 10; n += 1) await use();
      while (collected < 10) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      const alive = setInterval(gc, 50);
      process.on("SIGUSR2", () => clearInterval(alive));
      say("collected");
      `,
      { nodeArgs: ["--expose-gc"] },
    );
    await child.line("collected");
    if (backend.kind === "redis") {
      const admin = backend.server.connect();
      await until(async () => (await foreignConnections(admin)).length === 0, "their connections are closed");
    }
    child.kill("SIGUSR2");
    assert.deepEqual(await child.ends(), CLEAN);
  });
});

onEachBackend("an execute nobody awaits", (backend) => {
  test("a failed one is an unhandled rejection like any other, a succeeded one is silent", async (t) => {
    t.after(stopScripts);
    const child = startScript(
      `
      process.on("unhandledRejection", (error) => say("unhandled", error.message));
      const locks = new Locks(input.options);
      locks.execute("k", () => say("ran"));
      locks.execute("k", () => { throw new Error("the job's own"); });
      `,
      { input: { options: backend.options() } },
    );
    assert.deepEqual(await child.ends(), CLEAN);
    assert.deepEqual(child.lines, ["ran", "unhandled the job's own"]);
  });

  test("a lost lease whose job never looks at its signal is no unhandled rejection by itself", async () => {
    const locks = backend.locks({ lease: 1.5 });
    const unhandled = deferred();
    process.once("unhandledRejection", unhandled.resolve);
    const held = await holding(locks, "k");
    await locks.releaseAll();
    await until(() => held.signal.aborted, "the lease is lost");
    const looked = watch(unhandled.promise);
    await stays(() => looked.state === "pending", "nothing is unhandled", 200);
    process.removeListener("unhandledRejection", unhandled.resolve);
    await assert.rejects(held.end());
  });
});
