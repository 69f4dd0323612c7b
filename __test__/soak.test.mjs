/** Long use leaves nothing behind: opening and closing, and locks that nobody releases. `leaks.test.mjs` has the calls. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";

/** Far above the noise of an allocator. */
const RSS_GROWTH_MAX_MB = 48;

onEachBackend("long use", (backend) => {
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
