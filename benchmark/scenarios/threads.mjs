// Worker threads that share one table of locks in memory. Medusa's provider knows none: each thread has a Map of its own.
import { commonStart } from "../workloads/start.mjs";
import { holdsOf, overlapsIn } from "./holds.mjs";

const contestant = "native-memory";
const threadCounts = [1, 2, 4];
const width = 64;
const callers = 16;
const holdsEach = 250;

const inMemory = { unit: "us/op", groups: ["memory"], oursOnly: true };

const apart = threadCounts.map((threads) => ({
  ...inMemory,
  id: `threads-${threads}`,
  title: `execute, distinct keys, ${width} at once in each of ${threads} worker threads`,
  async warmUp([process], { roundMs }) {
    for (let count = width * 4; ; count *= 2) {
      const { wallMs } = await apartIn(process, threads, count);
      if (wallMs >= roundMs / 2) return { count: Math.ceil((count * roundMs) / wallMs) };
    }
  },
  async round([process], { plan }) {
    const { results: _, ...cost } = await apartIn(process, threads, plan.count);
    return { value: (cost.wallMs * 1000) / cost.operations, cost };
  },
}));

const together = threadCounts.map((threads) => ({
  ...inMemory,
  id: `threads-${threads}-hot-key`,
  title: `execute, one hot key, ${callers} callers in each of ${threads} worker threads`,
  async warmUp([process]) {
    await togetherIn(process, threads);
  },
  async round([process]) {
    const { results, ...cost } = await togetherIn(process, threads);
    if (overlapsIn(results.flatMap(({ holds }) => holdsOf(holds))) > 0) throw new Error("two jobs held the key at once");
    return { value: (Math.max(...results.map(({ wallMs }) => wallMs)) * 1000) / cost.operations, cost };
  },
}));

export const threadScenarios = [...apart, ...together];

function apartIn(process, threads, count) {
  const parts = Array.from({ length: threads }, (_, n) => ({
    operations: count,
    params: { operation: "execute", width, keysPerCall: 1, count, firstLane: n * width },
  }));
  return process.run("inThreads", { contestant, workload: "lanes", parts });
}

function togetherIn(process, threads) {
  const params = { key: "hot", callers, holdsEach, startNs: commonStart() };
  const parts = Array.from({ length: threads }, () => ({ operations: callers * holdsEach, params }));
  return process.run("inThreads", { contestant, workload: "crowd", parts });
}
