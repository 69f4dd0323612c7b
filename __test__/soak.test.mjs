/** Long use leaves nothing behind: memory stays flat over many operations with keys that are used once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";

/** Operations of the memory backend; a Redis server answers fewer of them in the same time. */
const ROUNDS = { memory: 20, redis: 6 };
/** Far above the noise of a garbage collector, far below what one leaked key, promise or signal for each call would come to. */
const HEAP_GROWTH_MAX_MB = 8;
const RSS_GROWTH_MAX_MB = 48;

onEachBackend("long use", (backend) => {
  test("heap and resident memory stay flat, with keys used once, refusals, waiters, time-outs and aborts", async (t) => {
    t.after(stopScripts);
    const child = startScript(
      `
      const locks = new Locks(input.options);
      let serial = 0;
      const calls = [
        async (key) => locks.execute(key, () => {}),
        async (key) => (await locks.acquire(key, { ownerId: "owner " + key, expire: 600 }), locks.release(key, { ownerId: "owner " + key })),
        async (key) => (await locks.acquire([key, key + " too"]), locks.release([key, key + " too"])),
        async (key) => Promise.all([locks.execute(key, () => {}), locks.execute([key, "b " + key], () => {})]),
        async (key) => {
          await locks.acquire(key);
          await locks.acquire(key).catch(() => {});
          await locks.execute(key, () => {}, { timeout: 0 }).catch(() => {});
          const caller = new AbortController();
          const waiter = locks.execute(key, () => {}, { signal: caller.signal }).catch(() => {});
          caller.abort();
          await waiter;
          await locks.release(key);
        },
      ];
      const round = async () => {
        for (let batch = 0; batch < 25; batch += 1) {
          await Promise.all(Array.from({ length: 200 }, () => (serial += 1, calls[serial % calls.length]("once " + serial))));
        }
      };
      const size = () => {
        for (let n = 0; n < 4; n += 1) gc();
        const { heapUsed, rss } = process.memoryUsage();
        return [heapUsed, rss];
      };
      for (let n = 0; n < 3; n += 1) await round();
      const [heapBefore, rssBefore] = size();
      for (let n = 0; n < input.rounds; n += 1) await round();
      const [heapAfter, rssAfter] = size();
      const { keys, waiting } = locks.stats();
      say("grown", JSON.stringify({ heap: heapAfter - heapBefore, rss: rssAfter - rssBefore, keys, waiting, calls: serial }));
      `,
      { input: { options: backend.options(), rounds: ROUNDS[backend.kind] }, nodeArgs: ["--expose-gc"] },
    );
    const grown = JSON.parse(await child.line("grown", 90_000));
    assert.deepEqual(await child.ends(), { code: 0, signal: null, errors: "" });
    assert.deepEqual([grown.keys, grown.waiting], [0, 0]);
    assert.ok(grown.heap < HEAP_GROWTH_MAX_MB * 2 ** 20, `the heap grew by ${grown.heap} bytes in ${grown.calls} calls`);
    assert.ok(grown.rss < RSS_GROWTH_MAX_MB * 2 ** 20, `resident memory grew by ${grown.rss} bytes in ${grown.calls} calls`);
  });

  test("opening and closing again and again leaves no memory, no connection, no thread", async (t) => {
    t.after(stopScripts);
    const child = startScript(
      `
      const { existsSync, readdirSync } = require("node:fs");
      const entries = (path) => (existsSync(path) ? readdirSync(path).length : 0);
      const size = () => [process.memoryUsage().rss, entries("/proc/self/fd"), entries("/proc/self/task")];
      const use = async () => {
        const locks = new Locks(input.options);
        const held = locks.execute("k", () => new Promise(setImmediate));
        await Promise.all([held, locks.execute("k", () => {}), locks.acquire("l " + Math.random(), { expire: 0.01 })]);
        await locks.close();
      };
      for (let n = 0; n < 50; n += 1) await use();
      gc();
      const before = size();
      for (let n = 0; n < 300; n += 1) await use();
      gc();
      say("grown", JSON.stringify(size().map((value, at) => value - before[at])));
      `,
      { input: { options: backend.options() }, nodeArgs: ["--expose-gc"] },
    );
    const [rss, files, threads] = JSON.parse(await child.line("grown", 60_000));
    assert.ok(rss < RSS_GROWTH_MAX_MB * 2 ** 20, `resident memory grew by ${rss} bytes`);
    assert.ok(files < 10, `${files} more open files`);
    assert.ok(threads < 4, `${threads} more threads`);
    await child.ends();
  });

  test("locks that nobody releases vanish with their expiry, also from the statistics", async () => {
    const locks = backend.locks();
    for (let n = 0; n < 1_000; n += 1) await locks.acquire(`k${n}`, { ownerId: "gone", expire: 0.2 });
    const end = performance.now() + 15_000;
    while ((await locks.inspect()).length > 0 || locks.stats().keys > 0) {
      assert.ok(performance.now() < end, "expired locks are still there");
      await new Promise(setImmediate);
    }
  });
});
