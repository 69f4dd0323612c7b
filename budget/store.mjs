// One process that uses the package: does the work of a scenario once to warm up and once to be counted, and sends
// what it counted. Started by javascript.mjs, which reads the server's counters around it.

import { once } from "node:events";
import { createRequire } from "node:module";
import { PerformanceObserver } from "node:perf_hooks";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { hotKey } from "../benchmark/workloads/hot-key.mjs";
import { lanes } from "../benchmark/workloads/lanes.mjs";
import { countCrossings } from "./crossings.mjs";

const require = createRequire(import.meta.url);
const addon = require("../index.js");
const crossings = countCrossings(addon);
const { Locks } = require("../dist/native.js");

/** Long enough for the other process to be in the queue when a job ends. */
const HOLD_MS = 5;
const PATIENCE_SECONDS = 600;

const { scenario, options } = JSON.parse(process.argv[2]);
const locks = new Locks(options);
let collections = 0;
new PerformanceObserver((list) => (collections += list.getEntries().length)).observe({ entryTypes: ["gc"] });

await work(scenario.operations);
globalThis.gc();
await told();
collections = 0;
process.send({ ready: true });
await once(process, "message");
const before = read();
await work(scenario.operations);
const after = read();
await told();
const counts = Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));
process.send({ counts, collections });
// Until the server's counters have been read: closing costs commands too.
await once(process, "message");
await locks.close();
process.disconnect();

/** The observer of collections is told in a later turn of the event loop. */
async function told() {
  for (let turn = 0; turn < 3; turn += 1) await nextTurn();
}

function read() {
  const { io, ioSleeps, clock } = addon.wakeups();
  return {
    crossings: crossings.calls,
    callbacks: crossings.callbacks,
    ioWakeups: io,
    ioSleeps,
    clockWakeups: clock,
    heapBytes: process.memoryUsage().heapUsed,
  };
}

async function work(count) {
  const { shape, width, keysPerCall } = scenario;
  if (shape === "handover") {
    await takeTurns(count);
  } else if (shape === "hot-key") {
    for (let done = 0; done < count; done += width) await hotKey(locks, { key: "hot", waiters: width });
  } else {
    await lanes(locks, { operation: shape, width, keysPerCall, count });
  }
}

async function takeTurns(count) {
  for (let turn = 0; turn < count; turn++) {
    await locks.execute("hot", () => sleep(HOLD_MS), { timeout: PATIENCE_SECONDS });
  }
}
