import { setTimeout as sleep } from "node:timers/promises";
import { inSequence, measured } from "./measured.mjs";

const width = 64;
const slices = 10;
/** Longer than the time-outs of Medusa's providers (5 s), which they leave running after the operation. */
const settleMs = 6_000;

const job = async () => {};

/**
 * `count` operations, each on a key that was never used before and never will be again.
 * @returns cost, and the resident memory in bytes, after a collection: `resident.first` when a tenth was done, `.peak`
 *   the most at the end of any tenth, `.last` some seconds after the end
 */
export async function churn(locks, { count }) {
  const costs = [];
  const resident = [];
  for (let slice = 0; slice < slices; slice++) {
    const from = Math.round((count * slice) / slices);
    const to = Math.round((count * (slice + 1)) / slices);
    costs.push(await measured(to - from, () => useOnce(locks, from, to)));
    resident.push(residentBytes());
  }
  await sleep(settleMs);
  const last = residentBytes();
  return { ...inSequence(costs), resident: { first: resident[0], peak: Math.max(...resident), last } };
}

async function useOnce(locks, from, to) {
  let next = from;
  const lane = async () => {
    while (next < to) await locks.execute(`once-${next++}`, job);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

function residentBytes() {
  globalThis.gc();
  return process.memoryUsage.rss();
}
