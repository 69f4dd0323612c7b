// How evenly one key went round among processes that all wanted it.
import { firstOf, lastOf, toMs, waitOf } from "./holds.mjs";

/** The longest wait of each process, in ms. */
export function longestWaits(byProcess) {
  return byProcess.map((holds) => holds.reduce((longest, hold) => Math.max(longest, waitOf(hold)), 0));
}

/**
 * The least part of its fair share that any process had in any stretch of `stretchMs`: 1 where all had the same, 0
 * where one had nothing. Counts the time in which all of them had something left to do; where that is shorter than a
 * stretch, the whole of it is one, and what is left over at its end belongs to the last one.
 */
export function leastShare(byProcess, stretchMs) {
  const start = Math.max(...byProcess.map((holds) => firstOf(holds, "asked")));
  const end = Math.min(...byProcess.map((holds) => lastOf(holds, "entered")));
  const stretches = Math.max(1, Math.floor(toMs(end - start) / stretchMs));
  const counts = Array.from({ length: stretches }, () => byProcess.map(() => 0));
  byProcess.forEach((holds, process) => {
    for (const { entered } of holds) {
      if (entered < start || entered > end) continue;
      const stretch = Math.min(stretches - 1, Math.floor(toMs(entered - start) / stretchMs));
      counts[stretch][process]++;
    }
  });
  return Math.min(...counts.filter((each) => each.some((count) => count > 0)).map(shareOfPoorest));
}

function shareOfPoorest(counts) {
  const fair = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return Math.min(...counts) / fair;
}
