// Two processes that each ask again as soon as their job has ended: how long one waits from the first time that the
// other gave the key back. Where the same process takes it again and again, most of that is being passed over.
import { median, quantile } from "simple-statistics";
import { sideBySide } from "../workloads/measured.mjs";
import { commonStart } from "../workloads/start.mjs";
import { holdsOf, overlapsIn, toMs } from "./holds.mjs";

const holdsEach = 600;

export const loopScenarios = [
  {
    id: "handover-loop",
    title: `two processes that ask again at once, ${holdsEach} holds each, first release while waiting to job`,
    unit: "ms",
    groups: ["redis"],
    processes: 2,
    withoutPeers: true,
    figures: [
      { id: "handovers", head: "handovers", better: "more" },
      { id: "directP50", head: "end of job to next p50", better: "less" },
      { id: "directP99", head: "p99", better: "less" },
      { id: "directMax", head: "max", better: "less" },
    ],
    async warmUp(pair) {
      await loop(pair, 50);
    },
    async round(pair) {
      const { holds, costs } = await loop(pair, holdsEach);
      const { sinceFirst, direct } = latenciesOf(holds);
      if (sinceFirst.length === 0) throw new Error("no process waited for the other");
      return {
        value: median(sinceFirst),
        cost: sideBySide(costs),
        samples: sinceFirst,
        extra: {
          handovers: direct.length,
          directP50: quantile(direct, 0.5),
          directP99: quantile(direct, 0.99),
          directMax: Math.max(...direct),
        },
      };
    },
  },
];

async function loop(pair, count) {
  const params = { key: "loop", callers: 1, holdsEach: count, startNs: commonStart() };
  const parts = await Promise.all(pair.map((process) => process.run("crowd", params)));
  const holds = parts.flatMap((part, process) => holdsOf(part.holds).map((hold) => ({ ...hold, process })));
  if (overlapsIn(holds) > 0) throw new Error("two jobs held the key at once");
  return { holds, costs: parts.map(({ holds: _, ...cost }) => cost) };
}

/**
 * Of each hold that the other process gave the key back to while it was waited for, in ms: the time since the first
 * such release, and since the last.
 */
function latenciesOf(holds) {
  const inOrder = holds.toSorted((a, b) => a.entered - b.entered);
  const sinceFirst = [];
  const direct = [];
  inOrder.forEach((hold, n) => {
    // Back through those that ended while it waited: with one caller each, all of them are the other process's.
    let first = null;
    for (let at = n - 1; at >= 0 && inOrder[at].ended >= hold.asked; at--) first = inOrder[at];
    if (first === null) return;
    sinceFirst.push(toMs(hold.entered - first.ended));
    direct.push(toMs(hold.entered - inOrder[n - 1].ended));
  });
  return { sinceFirst, direct };
}
