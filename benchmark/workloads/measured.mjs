import { performance } from "node:perf_hooks";

/**
 * @typedef {object} Cost what one process spent on some operations
 * @property {number} operations
 * @property {number} wallMs
 * @property {number} cpuUs of all threads of the process
 * @property {number} loopUs for which the event loop was busy
 */

/** Nanoseconds on the machine's monotonic clock, which all processes read alike. */
export function nowNs() {
  return Number(process.hrtime.bigint());
}

/**
 * Runs `work` and says what it cost this process.
 * @returns {Promise<Cost>}
 */
export async function measured(operations, work) {
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  const start = performance.now();
  await work();
  const wallMs = performance.now() - start;
  const { active } = performance.eventLoopUtilization(loop);
  const { user, system } = process.cpuUsage(cpu);
  return { operations, wallMs, cpuUs: user + system, loopUs: active * 1000 };
}

/** The cost of several processes that worked side by side: they took as long as the slowest. */
export function sideBySide(costs) {
  return { ...sumOf(costs), wallMs: Math.max(...costs.map(({ wallMs }) => wallMs)) };
}

/** The cost of pieces of work that were done one after the other. */
export function inSequence(costs) {
  return sumOf(costs);
}

function sumOf(costs) {
  return costs.reduce((sum, cost) => ({
    operations: sum.operations + cost.operations,
    wallMs: sum.wallMs + cost.wallMs,
    cpuUs: sum.cpuUs + cost.cpuUs,
    loopUs: sum.loopUs + cost.loopUs,
  }));
}
