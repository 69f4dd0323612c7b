// Contended work: many callers, one key.
import { mean } from "simple-statistics";
import { inSequence, sideBySide } from "../workloads/measured.mjs";

/** How many waiters a burst has, and how many bursts, one after the other, make a round. */
const burstSizes = [
  { waiters: 10, bursts: 20 },
  { waiters: 100, bursts: 3 },
  { waiters: 1000, bursts: 1 },
];

const inOneProcess = burstSizes.map(({ waiters, bursts }) => ({
  id: `hot-key-${waiters}-waiters`,
  title: `one hot key, ${waiters} waiters in one process, until all have run`,
  unit: "ms",
  groups: ["memory", "redis"],
  async warmUp([process], { roundMs }) {
    const enoughMs = performance.now() + roundMs;
    while (performance.now() < enoughMs) await burst(process, Math.min(waiters, 50));
  },
  async round([process]) {
    const taken = [];
    for (let n = 0; n < bursts; n++) taken.push(await burst(process, waiters));
    return {
      value: mean(taken.map(({ cost }) => cost.wallMs)),
      cost: inSequence(taken.map(({ cost }) => cost)),
      samples: taken.flatMap(({ waits }) => waits),
    };
  },
}));

async function burst(process, waiters) {
  const { waits, ...cost } = await process.run("hotKey", { key: "hot", waiters });
  return { waits, cost };
}

const processes = 4;
const callers = 25;
const holdsEach = 10;

const acrossProcesses = {
  id: "hot-key-processes",
  title: `one hot key, ${processes} processes x ${callers} callers x ${holdsEach} holds`,
  unit: "ms",
  groups: ["redis"],
  processes,
  roundsMax: 5,
  async warmUp(crowd) {
    await Promise.all(crowd.map((process) => process.run("crowd", { key: "hot", callers: 5, holdsEach: 2 })));
  },
  async round(crowd) {
    const parts = await Promise.all(
      crowd.map((process) => process.run("crowd", { key: "hot", callers, holdsEach })),
    );
    const holds = parts.flatMap((part) => holdsOf(part.holds));
    const expected = processes * callers * holdsEach;
    if (holds.length !== expected) throw new Error(`${holds.length} of ${expected} jobs ran`);
    const overlaps = overlapsIn(holds);
    if (overlaps > 0) throw new Error(`${overlaps} jobs began while another held the key`);
    return {
      value: toMs(lastOf(holds, "ended") - firstOf(holds, "asked")),
      cost: sideBySide(parts.map(({ holds: _, ...cost }) => cost)),
      samples: holds.map(({ asked, entered }) => toMs(entered - asked)),
    };
  },
};

export const hotKeyScenarios = [...inOneProcess, acrossProcesses];

function holdsOf(numbers) {
  return Array.from({ length: numbers.length / 3 }, (_, n) => ({
    asked: numbers[3 * n],
    entered: numbers[3 * n + 1],
    ended: numbers[3 * n + 2],
  }));
}

/** How often a job began while another still ran: 0 for a lock. */
function overlapsIn(holds) {
  const inOrder = holds.toSorted((a, b) => a.entered - b.entered);
  return inOrder.filter((hold, n) => n > 0 && hold.entered < inOrder[n - 1].ended).length;
}

function firstOf(holds, field) {
  return holds.reduce((first, hold) => Math.min(first, hold[field]), Infinity);
}

function lastOf(holds, field) {
  return holds.reduce((last, hold) => Math.max(last, hold[field]), -Infinity);
}

function toMs(ns) {
  return ns / 1e6;
}
