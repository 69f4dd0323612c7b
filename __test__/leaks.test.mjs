/**
 * Many calls of each kind leave everything as it was: the keys, connections and channels in Redis, and the handles, timers,
 * files and threads of the process exactly, its memory nearly.
 *
 * `LEAK_CALLS=1000000 node --test __test__/leaks.test.mjs` makes a million calls of each kind on each backend, and tells what
 * they came to.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { KINDS } from "./support/leak-calls.mjs";
import { allKeys, foreignConnections } from "./support/redis.mjs";

/** Calls of each kind. A Redis server answers fewer of them in the same time. */
const CALLS = process.env.LEAK_CALLS ? { memory: Number(process.env.LEAK_CALLS), redis: Number(process.env.LEAK_CALLS) } : { memory: 50_000, redis: 10_000 };
const WARM_UP = 10_000;
/** So many are under way at a time. */
const AT_ONCE = 200;

/** Several times what is left to chance; of 10,000 calls, each would have left one object of 100 bytes. */
const HEAP_GROWTH_MAX_MB = 1;
/** The system's view, with what Rust has. An allocator keeps some of what it was given. */
const RSS_GROWTH_MAX_MB = 40;
const SERVER_GROWTH_MAX_MB = 8;

/** What calls may take on a slow machine, and each. */
const [PATIENCE_MS, PATIENCE_PER_CALL_MS] = [60_000, 2];

const SCRIPT = `
const { readdirSync } = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");
const { KINDS } = await import(input.kinds);
const entries = (path) => readdirSync(path).length;
const alive = setInterval(() => {}, 1_000);
let goOn = () => {};
process.on("SIGUSR2", () => goOn());
const parentHasLooked = (word, ...words) => new Promise((resolve) => (goOn = resolve, say(word, ...words)));

const looks = () => ({
  handles: process.getActiveResourcesInfo().sort().join(),
  files: entries("/proc/self/fd"),
  threads: entries("/proc/self/task"),
});
/** When nothing changes any more: what is being given back takes a moment. */
async function settled() {
  for (let [before, same] = ["", 0]; same < 5; ) {
    await sleep(20);
    for (let n = 0; n < 2; n += 1) gc();
    const now = JSON.stringify(looks());
    same = now === before ? same + 1 : 0;
    before = now;
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { ...looks(), heap: heapUsed + external, rss };
}
let serial = 0;
async function make(call, count) {
  const one = async () => { while (count > 0) { count -= 1; serial += 1; await call(serial); } };
  await Promise.all(Array.from({ length: input.atOnce }, one));
}

const opened = async (use) => {
  const locks = new Locks(input.options);
  const prepared = await KINDS[input.kind](locks, input.backend);
  await use(locks, prepared);
  await prepared.end();
  await locks.close();
};
await opened((_locks, { call }) => make(call, input.atOnce));
const closedBefore = await settled();
await opened(async (locks, { call }) => {
  await make(call, input.warmUp);
  const before = await settled();
  await parentHasLooked("warm", JSON.stringify({ before, stats: locks.stats() }));
  const began = performance.now();
  await make(call, input.calls);
  const ms = performance.now() - began;
  const after = await settled();
  await parentHasLooked("made", JSON.stringify({ after, stats: locks.stats(), ms }));
});
say("closed", JSON.stringify({ closedBefore, closedAfter: await settled() }));
clearInterval(alive);
process.exit(0);
`;

const MB = 2 ** 20;
const megabytes = (bytes) => `${(bytes / MB).toFixed(1)} MB`;

onEachBackend("leaks", (backend) => {
  after(stopScripts);

  for (const kind of Object.keys(KINDS)) {
    test(`${CALLS[backend.kind]} ${kind} calls, ${backend.kind}`, async (t) => {
      const options = backend.options();
      const wrong = "a list";
      const admin = backend.server?.connect();
      await admin?.lpush(`${options.namespace}${wrong}`, "x");
      const input = {
        options, kind, backend: { kind: backend.kind, wrong }, kinds: import.meta.resolve("./support/leak-calls.mjs"),
        calls: CALLS[backend.kind], warmUp: WARM_UP, atOnce: AT_ONCE,
      };
      const child = startScript(SCRIPT, { input, nodeArgs: ["--expose-gc"] });
      const told = async (word) => JSON.parse(await child.line(word, PATIENCE_MS + input.calls * PATIENCE_PER_CALL_MS));

      const { before, stats } = await told("warm");
      const serverBefore = await seenOnServer(admin);
      child.kill("SIGUSR2");
      const { after: later, stats: statsLater, ms } = await told("made");
      const serverLater = await seenOnServer(admin);
      child.kill("SIGUSR2");
      const { closedBefore, closedAfter } = await told("closed");
      assert.deepEqual(await child.ends(), { code: 0, signal: null, errors: "" });
      await admin?.del(`${options.namespace}${wrong}`);

      assert.deepEqual(exactly(later), exactly(before), "handles, timers, files and threads");
      assert.deepEqual(exactly(closedAfter), exactly(closedBefore), "the same, when all is closed");
      assert.deepEqual(statsLater, stats);
      assert.deepEqual(serverLater?.exactly, serverBefore?.exactly, "what the server has of us");
      const grown = { heap: later.heap - before.heap, rss: later.rss - before.rss, server: (serverLater?.bytes ?? 0) - (serverBefore?.bytes ?? 0) };
      const words = Object.entries(grown).map(([name, bytes]) => `${name} ${megabytes(bytes)}`).join(", ");
      t.diagnostic(`${backend.kind}, ${input.calls} ${kind} calls in ${(ms / 1000).toFixed(1)} s: grown by ${words}; ${later.handles || "no handles"}, ${later.files} files, ${later.threads} threads`);
      assert.ok(grown.heap < HEAP_GROWTH_MAX_MB * MB, words);
      assert.ok(grown.rss < RSS_GROWTH_MAX_MB * MB, words);
      assert.ok(grown.server < SERVER_GROWTH_MAX_MB * MB, words);
    });
  }
});

const exactly = ({ handles, files, threads }) => ({ handles, files, threads });

/** Keys by name, and what the connections of the child are subscribed to; undefined without a server. */
async function seenOnServer(admin) {
  if (admin === undefined) return undefined;
  const [, bytes] = (await admin.info("memory")).match(/^used_memory:(\d+)/m);
  const connections = (await foreignConnections(admin)).map((line) => line.match(/\bsub=\d+/)[0]);
  return { exactly: { keys: await allKeys(admin), connections, channels: await admin.pubsub("CHANNELS") }, bytes: Number(bytes) };
}
