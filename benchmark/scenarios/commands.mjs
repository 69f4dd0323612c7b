// What a handover costs the server when so many processes wait: one client each, all in one process of ours.
import { median } from "simple-statistics";

/** How many clients wait while another's job runs. */
const crowds = [2, 20, 200];
const handovers = 200;
/** How long a job takes, in ms: what waits may look again meanwhile. */
const holdMs = 5;

export const commandScenarios = crowds.map((waiting) => ({
  id: `commands-${waiting}-waiting`,
  title: `requests to the server for each handover, ${waiting} clients waiting, jobs of ${holdMs} ms`,
  unit: "requests",
  groups: ["redis"],
  instances: waiting + 1,
  withoutPeers: true,
  long: true,
  figures: [{ id: "betweenMs", head: "end of job to next p50", better: "less" }],
  async warmUp([process]) {
    await process.run("takeTurns", { key: "turns", holdMs, handovers: 10, limitMs: 2_000 });
  },
  async round([process], { size, probe }) {
    let before;
    let counted;
    const { latencies, ...cost } = await process.run(
      "takeTurns",
      { key: "turns", holdMs, handovers, limitMs: size.turnsLimitMs },
      (event) => {
        if (event === "steady") before = probe.read();
        else counted = before.then((reading) => probe.since(reading));
      },
    );
    // Keys that are there in the middle of things are not left behind.
    const { keys: _, ...server } = await counted;
    return {
      value: server.requests / cost.operations,
      cost,
      server,
      samples: latencies,
      extra: { handovers: cost.operations, betweenMs: median(latencies) },
    };
  },
}));
