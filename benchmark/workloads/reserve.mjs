import { setTimeout as sleep } from "node:timers/promises";
import { measured, nowNs } from "./measured.mjs";
import { startAt } from "./start.mjs";

/**
 * One caller for each of `keySets`, all at once at `startNs`, with the contestant's own time-out.
 * @returns cost, and `holds`: of each caller when it asked, when its job began and ended, and when it had its answer,
 *   in ns; for one that timed out, neither beginning nor end
 */
export async function reserve(locks, { keySets, jobMs, startNs }) {
  let holds;
  await startAt(startNs);
  const cost = await measured(keySets.length, async () => {
    holds = await Promise.all(keySets.map((keys) => caller(locks, keys, jobMs)));
  });
  return { ...cost, holds };
}

async function caller(locks, keys, jobMs) {
  const asked = nowNs();
  let entered = null;
  let ended = null;
  const job = async () => {
    entered = nowNs();
    await sleep(jobMs);
    ended = nowNs();
  };
  try {
    await locks.execute(keys, job);
  } catch (error) {
    if (entered !== null || !/timed[- ]out/i.test(error.message)) throw error;
  }
  return { asked, entered, ended, answered: nowNs() };
}
