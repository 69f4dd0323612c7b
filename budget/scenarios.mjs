// What is counted: fixed work, described for both halves of the package.

const memory = { backend: "memory" };
const redis = { backend: "redis" };
const execute = { shape: "execute", width: 1, keysPerCall: 1 };
const acquireRelease = { ...execute, shape: "acquire-release" };
const hotKey = { ...execute, shape: "hot-key", width: 100 };
const handover = { ...execute, shape: "handover", processes: 2 };

/**
 * @typedef {object} Scenario
 * @property {string} name as in budgets.mjs
 * @property {"memory" | "redis"} backend
 * @property {"execute" | "acquire-release" | "hot-key" | "handover"} shape
 * @property {number} width how many operations are under way at once; of `hot-key`, on one key
 * @property {number} keysPerCall
 * @property {number} processes that do it side by side
 * @property {number} operations in each process, so many that what is done once for all of them does not show
 * @property {number} [rustOperations] the same for the Rust side alone, which `handover` is not done for: its second
 *   process is a Node.js process like the first
 */

/** @type {Scenario[]} */
export const scenarios = [
  { name: "execute, 1 at once, in memory", ...memory, ...execute, operations: 20_000, rustOperations: 2_000 },
  { name: "execute, 64 at once, in memory", ...memory, ...execute, width: 64, operations: 19_200, rustOperations: 6_400 },
  { name: "acquire and release, 1 at once, in memory", ...memory, ...acquireRelease, operations: 20_000, rustOperations: 2_000 },
  { name: "acquire and release, 64 at once, in memory", ...memory, ...acquireRelease, width: 64, operations: 19_200, rustOperations: 6_400 },
  { name: "one hot key, 100 waiters, in memory", ...memory, ...hotKey, operations: 10_000, rustOperations: 2_000 },
  { name: "execute, 1 at once, on Redis", ...redis, ...execute, operations: 2_000, rustOperations: 300 },
  { name: "execute, 64 at once, on Redis", ...redis, ...execute, width: 64, operations: 6_400, rustOperations: 3_200 },
  { name: "acquire and release, 1 at once, on Redis", ...redis, ...acquireRelease, operations: 2_000, rustOperations: 300 },
  { name: "acquire and release, 64 at once, on Redis", ...redis, ...acquireRelease, width: 64, operations: 6_400, rustOperations: 3_200 },
  { name: "one hot key, 100 waiters, on Redis", ...redis, ...hotKey, operations: 10_000, rustOperations: 2_000 },
  { name: "execute on 10 keys, 1 at once, on Redis", ...redis, ...execute, keysPerCall: 10, operations: 2_000, rustOperations: 300 },
  { name: "handover between two processes, on Redis", ...redis, ...handover, operations: 100 },
].map((scenario) => ({ processes: 1, ...scenario }));
