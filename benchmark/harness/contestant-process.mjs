// One process of one contestant. Does what participant.mjs asks, one message at a time, and ends with its parent.
import { openContestant } from "../contestants/index.mjs";
import { workloads } from "../workloads/index.mjs";

let locks;

const actions = {
  async open({ contestant, redisUrl }) {
    locks = await openContestant(contestant, { redisUrl });
  },
  run({ workload, params }, emit) {
    return workloads[workload](locks, params, emit);
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
