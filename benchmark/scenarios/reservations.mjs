// Carts that hold the same two items, checked out at once: each caller needs both.
import { sideBySide } from "../workloads/measured.mjs";
import { commonStart } from "../workloads/start.mjs";
import { firstOf, lastOf, overlapsIn, toMs } from "./holds.mjs";

const processes = 4;
const callersEach = 4;
const callers = processes * callersEach;
const jobMs = 20;

const orders = [
  { id: "same-order", title: "all in the same order", turned: () => false },
  { id: "opposite-orders", title: "every other one in the opposite order", turned: (caller) => caller % 2 === 1 },
];

export const reservationScenarios = orders.map(({ id, title, turned }) => ({
  id: `reserve-two-${id}`,
  title: `two keys, ${callers} callers in ${processes} processes, ${title}, ${jobMs} ms jobs, until all have an answer`,
  unit: "ms",
  groups: ["redis"],
  processes,
  needsKeySets: true,
  withoutPeers: true,
  long: true,
  figures: [{ id: "served", head: `served of ${callers}`, better: "more" }],
  async warmUp(fleet) {
    for (const process of fleet) await checkOut([process], [["warm-a", "warm-b"]], 1);
  },
  async round(fleet, { number }) {
    // Of this round only: a caller that gives up may leave a key behind.
    const items = [`item-a-${number}`, `item-b-${number}`];
    const keySets = Array.from({ length: callersEach }, (_, n) => (turned(n) ? items.toReversed() : items));
    const parts = await checkOut(fleet, keySets, jobMs);
    const asked = parts.flatMap(({ holds }) => holds);
    const served = asked.filter(({ entered }) => entered !== null);
    if (overlapsIn(served) > 0) throw new Error("two jobs held the keys at once");
    return {
      value: toMs(lastOf(asked, "answered") - firstOf(asked, "asked")),
      cost: sideBySide(parts.map(({ holds: _, ...cost }) => cost)),
      // Who gets nothing waits for that.
      samples: asked.map((caller) => toMs((caller.entered ?? caller.answered) - caller.asked)),
      extra: { served: served.length },
    };
  },
}));

function checkOut(fleet, keySets, jobMs) {
  const startNs = commonStart();
  return Promise.all(fleet.map((process) => process.run("reserve", { keySets, jobMs, startNs })));
}
