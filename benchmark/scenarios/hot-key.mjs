// Contended work: many callers, one key.
import { mean } from "simple-statistics";
import { inSequence, sideBySide } from "../workloads/measured.mjs";
import { commonStart } from "../workloads/start.mjs";
import { leastShare, longestWaits } from "./fairness.mjs";
import { firstOf, holdsOf, lastOf, overlapsIn, toMs, waitOf } from "./holds.mjs";

/** How many waiters a burst has, and how many bursts, one after the other, make a round. */
const burstSizes = [
  { waiters: 10, bursts: 10 },
  { waiters: 100, bursts: 2 },
  { waiters: 1000, bursts: 1 },
  // Medusa's providers need minutes for these: each release wakes or keeps polling all that are left.
  { waiters: 10_000, bursts: 1, oursOnly: true },
];

const inOneProcess = burstSizes.map(({ waiters, bursts, oursOnly = false }) => ({
  id: `hot-key-${waiters}-waiters`,
  title: `one hot key, ${waiters} waiters in one process, until all have run`,
  unit: "ms",
  groups: ["memory", "redis"],
  oursOnly,
  roundsMax: 5,
  peerRoundsMax: 1,
  warmUp: ([process]) => warm(process, waiters),
  // Others have had their rounds, some of seconds: each begins its own as warm as the first, and not after a long sleep.
  wakeUp: ([process]) => warm(process, waiters),
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

/** For how long a process warms up before each round on a hot key. */
const WARM_MS = 200;

/** Small bursts for a while, at least one. */
async function warm(process, waiters) {
  const enoughMs = performance.now() + WARM_MS;
  do await burst(process, Math.min(waiters, 50));
  while (performance.now() < enoughMs);
}

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
  figures: [
    { id: "longestWaitRatio", head: "longest waits, max/min", better: "less" },
    { id: "leastShare", head: "least share in a second", better: "more" },
  ],
  roundsMax: 3,
  peerRoundsMax: 1,
  async warmUp(crowd) {
    await allAtOnce(crowd, { callers: 5, holdsEach: 2 });
  },
  async round(crowd) {
    const parts = await allAtOnce(crowd, { callers, holdsEach });
    const byProcess = parts.map((part) => holdsOf(part.holds));
    const holds = byProcess.flat();
    const expected = processes * callers * holdsEach;
    if (holds.length !== expected) throw new Error(`${holds.length} of ${expected} jobs ran`);
    const overlaps = overlapsIn(holds);
    if (overlaps > 0) throw new Error(`${overlaps} jobs began while another held the key`);
    return {
      value: toMs(lastOf(holds, "ended") - firstOf(holds, "asked")),
      cost: sideBySide(parts.map(({ holds: _, ...cost }) => cost)),
      samples: holds.map(waitOf),
      extra: fairnessOf(byProcess),
    };
  },
};

export const hotKeyScenarios = [...inOneProcess, acrossProcesses];

function allAtOnce(crowd, params) {
  const startNs = commonStart();
  return Promise.all(crowd.map((process) => process.run("crowd", { key: "hot", ...params, startNs })));
}

function fairnessOf(byProcess) {
  const longest = longestWaits(byProcess);
  return {
    longestWaitRatio: Math.max(...longest) / Math.min(...longest),
    leastShare: leastShare(byProcess, 1000),
  };
}
