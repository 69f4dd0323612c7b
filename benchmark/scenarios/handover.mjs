// From one process to another: the time between the end of one's job and the beginning of the other's.
import { median } from "simple-statistics";
import { sequence } from "../statistics.mjs";
import { inSequence, sideBySide } from "../workloads/measured.mjs";

/** How long a holder keeps the key, in ms. Different each time, so that nobody's pauses fall in step with it. */
const holdFromMs = 50;
const holdSpreadMs = 200;

export const handoverScenarios = [
  {
    id: "handover",
    title: "handover from one process to another, end of job to next job",
    unit: "ms",
    groups: ["redis"],
    processes: 2,
    roundsMax: 5,
    peerRoundsMax: 3,
    async warmUp(pair) {
      for (let turn = 0; turn < 4; turn++) await handOver(pair, turn, holdFromMs);
    },
    async round(pair, { number, size }) {
      const random = sequence(number + 1);
      const handovers = [];
      for (let turn = 0; turn < size.handovers; turn++) {
        handovers.push(await handOver(pair, turn, holdFromMs + random() * holdSpreadMs));
      }
      const samples = handovers.map(({ latencyMs }) => latencyMs);
      return { value: median(samples), cost: inSequence(handovers.map(({ cost }) => cost)), samples };
    },
  },
];

async function handOver(pair, turn, holdMs) {
  const [holder, waiter] = turn % 2 === 0 ? pair : pair.toReversed();
  let waiting;
  const held = await holder.run("hold", { key: "relay", holdMs }, () => {
    waiting = waiter.run("waitFor", { key: "relay" });
  });
  const waited = await waiting;
  if (waited.asked > held.ended) throw new Error("the waiter came too late to wait");
  if (waited.began < held.ended) throw new Error("two jobs held the key at once");
  return { latencyMs: (waited.began - held.ended) / 1e6, cost: sideBySide([held, waited]) };
}
