import { performance } from "node:perf_hooks";
import { measured, nowNs } from "./measured.mjs";
import { startAt } from "./start.mjs";

const patienceSeconds = 600;

/**
 * `waiters` calls of `execute` on one key, all made in one go; ends when every job has run.
 * @returns cost, and for each job, in the order in which they ran, the ms that it waited
 */
export async function hotKey(locks, { key, waiters }) {
  const waits = [];
  let inside = 0;
  let start;
  const job = async () => {
    if (++inside !== 1) throw new Error("two jobs held the key at once");
    waits.push(performance.now() - start);
    await null;
    inside--;
  };
  const cost = await measured(waiters, () => {
    start = performance.now();
    return Promise.all(
      Array.from({ length: waiters }, () => locks.execute(key, job, { timeout: patienceSeconds })),
    );
  });
  if (waits.length !== waiters) throw new Error(`${waits.length} of ${waiters} jobs ran`);
  return { ...cost, waits };
}

/**
 * One process's part of a crowd, from `startNs` on: `callers` callers, each holding one key `holdsEach` times.
 * @returns cost, and `holds`: for each hold when it was asked for, when its job began and when it ended, in ns
 */
export async function crowd(locks, { key, callers, holdsEach, startNs }) {
  const holds = new Float64Array(callers * holdsEach * 3);
  let at = 0;
  const caller = async () => {
    for (let turn = 0; turn < holdsEach; turn++) {
      const asked = nowNs();
      const job = async () => {
        const entered = nowNs();
        await null;
        holds.set([asked, entered, nowNs()], at);
        at += 3;
      };
      await locks.execute(key, job, { timeout: patienceSeconds });
    }
  };
  await startAt(startNs);
  const cost = await measured(callers * holdsEach, () => Promise.all(Array.from({ length: callers }, caller)));
  return { ...cost, holds };
}

/**
 * One process's part of a crowd that stands for many processes: each of `fleet` is one of them, with one caller, who
 * holds one of `keyCount` keys `holdsEach` times. They come in turn to the keys, from `firstMember` on.
 * @returns cost, and `members`: the key of each, and its holds as `crowd` has them
 */
export async function crowdOfMany(_, { keyCount, firstMember, holdsEach, startNs }, _emit, fleet) {
  await startAt(startNs);
  let members;
  const cost = await measured(fleet.length * holdsEach, async () => {
    members = await Promise.all(
      fleet.map(async (locks, n) => {
        const key = `hot-${(firstMember + n) % keyCount}`;
        const { holds } = await crowd(locks, { key, callers: 1, holdsEach, startNs: 0 });
        return { key, holds };
      }),
    );
  });
  return { ...cost, members };
}
