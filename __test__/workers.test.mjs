/** Worker threads: they exclude each other, and one that is terminated gives back what it held and leaves every queue. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { nativeEntry } from "./support/product.mjs";

/** How often a thread is terminated among grants: each time at another moment. */
const ROUNDS = 8;

const CLEAN = { code: 0, signal: null, errors: "" };

/** Starts a worker thread with `Locks`, `input` and `parentPort`, and waits for messages from it. */
const THREADS = `
import { once } from "node:events";
import { Worker } from "node:worker_threads";
const startThread = (source) => new Worker(
  "const { parentPort, workerData: input } = require('node:worker_threads');" +
  "const { Locks } = require(input.nativeEntry); (async () => {" + source + "})();",
  { eval: true, workerData: input, execArgv: [] },
);
const hears = async (thread, wanted) => {
  for (;;) {
    const [word] = await once(thread, "message");
    if (word === wanted) return;
  }
};
`;

onEachBackend("worker threads", (backend) => {
  const start = (source, more = {}) =>
    startScript(THREADS + source, { input: { nativeEntry, options: backend.options({ lease: 600 }), ...more } });

  test("two threads and the main one exclude each other", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const shared = new Int32Array(new SharedArrayBuffer(8));
      input.shared = shared;
      const work = \`
        const locks = new Locks(input.options);
        for (let n = 0; n < 200; n += 1) {
          await locks.execute("stock", async () => {
            if (Atomics.add(input.shared, 1, 1) !== 0) parentPort.postMessage("overlap");
            const read = input.shared[0];
            await new Promise(setImmediate);
            input.shared[0] = read + 1;
            Atomics.sub(input.shared, 1, 1);
          }, { timeout: 60 });
        }
        parentPort.postMessage("done");
      \`;
      const threads = [startThread(work), startThread(work)];
      for (const thread of threads) thread.on("message", (word) => word === "overlap" && say("overlap"));
      const locks = new Locks(input.options);
      const done = Promise.all(threads.map((thread) => hears(thread, "done")));
      for (let n = 0; n < 200; n += 1) {
        await locks.execute("stock", async () => {
          const read = shared[0];
          await new Promise(setImmediate);
          shared[0] = read + 1;
        }, { timeout: 60 });
      }
      await done;
      say("sold", shared[0]);
    `);
    assert.deepEqual(await child.ends(40_000), CLEAN);
    assert.deepEqual(child.lines, ["sold 600"]);
  });

  test("a thread whose event loop is blocked keeps its lock, and another thread waits for it", async (t) => {
    t.after(stopScripts);
    const child = start(`
      input.options.lease = 1;
      const thread = startThread(\`
        const locks = new Locks(input.options);
        await locks.execute("k", () => {
          parentPort.postMessage("inside");
          const end = Date.now() + 2_500;
          while (Date.now() < end);
          parentPort.postMessage(Date.now());
        });
      \`);
      let left = Infinity;
      const ended = once(thread, "exit");
      await hears(thread, "inside");
      thread.on("message", (time) => (left = time));
      const entered = await new Locks(input.options).execute("k", () => Date.now(), { timeout: 60 });
      await ended;
      say(entered >= left ? "excluded" : "both inside");
    `);
    assert.deepEqual(await child.ends(30_000), CLEAN);
    assert.deepEqual(child.lines, ["excluded"]);
  });

  test("twenty threads terminated while they hold and while they wait, again and again: all comes free, nothing crashes", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const locks = new Locks(input.options);
      const work = \`
        const locks = new Locks(input.options);
        const never = new Promise((resolve) => setTimeout(resolve, 1e6));
        const own = "own" + input.number;
        locks.execute("shared", () => never, { timeout: 600 });
        locks.execute([own, "shared"], () => never, { timeout: 600 });
        locks.acquire("shared", { ownerId: own, awaitQueue: true });
        await locks.execute(["held" + input.number, "held" + input.number + "b"], () => {
          parentPort.postMessage("holds");
          return never;
        });
      \`;
      for (let round = 0; round < 4; round += 1) {
        const threads = Array.from({ length: 20 }, (_, number) => {
          input.number = number;
          return startThread(work);
        });
        // In the odd rounds some are ended while they are still starting.
        const ready = threads.map((thread) => hears(thread, "holds"));
        await (round % 2 ? Promise.race(ready) : Promise.all(ready));
        await Promise.all(threads.map((thread) => thread.terminate()));
        const keys = ["shared", ...threads.flatMap((_, n) => ["own" + n, "held" + n, "held" + n + "b"])];
        say(await locks.execute(keys, async () => {
          const seen = await locks.inspect();
          return "free " + seen.length + " " + seen.reduce((sum, { waiting }) => sum + waiting, 0);
        }, { timeout: 20 }));
      }
    `);
    assert.deepEqual(await child.ends(60_000), CLEAN);
    assert.deepEqual(child.lines, Array(4).fill("free 61 0"));
  });

  test("threads that end by themselves with locks in use give them back", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const locks = new Locks(input.options);
      const thread = startThread(\`
        const locks = new Locks(input.options);
        locks.execute("k", () => new Promise(() => {}));
        locks.acquire("kept", { ownerId: "me" });
        await locks.execute("l", () => {});
        process.exit(0);
      \`);
      await once(thread, "exit");
      say(await locks.execute(["k", "l"], () => "free", { timeout: 20 }));
      say(await locks.release("kept", { ownerId: "me" }));
    `);
    assert.deepEqual(await child.ends(30_000), CLEAN);
    assert.deepEqual(child.lines, ["free", "true"]);
  });

  test("the process may exit while its threads wait and hold", async (t) => {
    t.after(stopScripts);
    const child = start(`
      const threads = Array.from({ length: 5 }, () => startThread(\`
        const locks = new Locks(input.options);
        locks.execute("k", () => new Promise(() => {}), { timeout: 600 });
        await locks.execute("k", () => {}, { timeout: 0 }).catch(() => {});
        parentPort.postMessage("ready");
        setInterval(() => {}, 1e6);
      \`));
      await Promise.all(threads.map((thread) => hears(thread, "ready")));
      say("exits");
      process.exit(0);
    `);
    assert.deepEqual(await child.ends(30_000), CLEAN);
    assert.deepEqual(child.lines, ["exits"]);
  });

  test("a thread terminated while its waiters are being granted: what it is granted as it leaves comes free", async (t) => {
    t.after(stopScripts);
    const child = start(
      `
      const locks = new Locks(input.options);
      for (let round = 0; round < input.rounds; round += 1) {
        const keys = Array.from({ length: input.keys }, (_, n) => round + "/" + n);
        await Promise.all(keys.map((key) => locks.acquire(key, { ownerId: "main" })));
        input.wanted = keys;
        const thread = startThread(\`
          const locks = new Locks(input.options);
          for (const key of input.wanted) locks.acquire(key, { ownerId: "thread", awaitQueue: true }).catch(() => {});
          await locks.inspect("in line behind these");
          parentPort.postMessage("waits");
          setTimeout(() => { for (;;); }, 20); // hears of no grant
        \`);
        await hears(thread, "waits");
        await new Promise((resolve) => setTimeout(resolve, 60));
        let over = false;
        const gone = once(thread, "exit").then(() => (over = true));
        thread.terminate();
        const releasing = [];
        for (let n = 0; !over && n < keys.length; n += 1) {
          releasing.push(locks.release(keys[n], { ownerId: "main" }));
          if (n % 5 === 0) await new Promise(setImmediate);
        }
        await gone;
        await Promise.all(releasing);
        const end = Date.now() + 10_000;
        let held;
        do {
          held = (await locks.inspect()).filter(({ ownerId }) => ownerId === "thread").length;
          if (held > 0) await new Promise((resolve) => setTimeout(resolve, 20));
        } while (held > 0 && Date.now() < end);
        say("held by the dead", held);
        await locks.releaseAll();
      }
    `,
      { keys: 2_000, rounds: ROUNDS },
    );
    assert.deepEqual(await child.ends(60_000), CLEAN);
    assert.deepEqual(child.lines, Array(ROUNDS).fill("held by the dead 0"));
  });
});
