// One process of one contestant. Does what participant.mjs asks, one message at a time, and ends with its parent.
import { openContestant } from "../contestants/index.mjs";
import { workloads } from "../workloads/index.mjs";

/** The contestant's locks: one of them, or as many as the scenario wants, each with a connection of its own. */
let fleet = [];

const actions = {
  async open({ contestant, redisUrl, instances }) {
    const opening = Array.from({ length: instances }, () => openContestant(contestant, { redisUrl }));
    fleet = await Promise.all(opening);
  },
  run({ workload, params }, emit) {
    return workloads[workload](fleet[0], params, emit, fleet);
  },
};

process.on("message", async ({ call, action, args }) => {
  const emit = (event) => process.send({ call, event });
  try {
    process.send({ call, result: await actions[action](args, emit) });
  } catch (error) {
    process.send({ call, error: String(error?.message ?? error) });
  }
});

// Nothing is released: a contestant that keeps the process alive must not keep the benchmark alive.
process.on("disconnect", () => process.exit(0));
