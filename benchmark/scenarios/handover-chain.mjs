// From one process to the other and back, over and over: each asks while the other's job runs, so that every job but
// the first has been waited for, and every one begins where the other process's ended.
import { median } from "simple-statistics";
import { sequence } from "../statistics.mjs";
import { inSequence } from "../workloads/measured.mjs";
import { toMs } from "./holds.mjs";

/** How many handovers all rounds come to, unless the run's size says that time is up. */
const handoversWanted = 1000;
/** How many more are made: one that was asked for too late to be waited for does not count. */
const spareShare = 0.05;

/** How long a job takes, in ms. Long enough for the other process to hear of it and to ask. */
const holdFromMs = 2;
const holdToMs = 5;

export const chainScenarios = [
  {
    id: "handover-chain",
    title: `handover, two processes in turn, ${holdFromMs}-${holdToMs} ms jobs, end of job to next job`,
    unit: "ms",
    groups: ["redis"],
    processes: 2,
    withoutPeers: true,
    async warmUp(pair) {
      await chain(pair, { handovers: 20, limitMs: 2_000, random: sequence(1) });
    },
    async round(pair, { number, size }) {
      const handovers = Math.ceil((handoversWanted * (1 + spareShare)) / size.rounds);
      const limitMs = size.chainLimitMs / size.rounds;
      const holds = await chain(pair, { handovers, limitMs, random: sequence(number + 1) });
      const samples = latenciesOf(holds);
      return { value: median(samples), cost: inSequence(holds.map(({ cost }) => cost)), samples };
    },
  },
];

async function chain(pair, { handovers, limitMs, random }) {
  const endMs = performance.now() + limitMs;
  const turns = [];
  const begin = () => {
    const process = pair[turns.length % 2];
    const params = { key: "chain", holdMs: holdFromMs + random() * (holdToMs - holdFromMs) };
    const turn = process.run("hold", params, () => {
      if (turns.length <= handovers && performance.now() < endMs) begin();
    });
    turn.catch(() => {}); // thrown below, when its turn comes
    turns.push(turn);
  };
  begin();
  const holds = [];
  // Grows on the way: before a turn ends, the next has begun to wait.
  for (const turn of turns) {
    const { asked, began, ended, ...cost } = await turn;
    holds.push({ asked, began, ended, cost });
  }
  return holds;
}

function latenciesOf(holds) {
  return holds.slice(1).flatMap(({ asked, began }, n) => {
    const earlier = holds[n];
    if (began < earlier.ended) throw new Error("two jobs held the key at once");
    return asked < earlier.ended ? [toMs(began - earlier.ended)] : [];
  });
}
