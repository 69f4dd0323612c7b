// Keys that are used once: what stays behind.

const mebibyte = 2 ** 20;

export const churnScenarios = [
  {
    id: "memory-growth",
    title: "resident memory gained, keys used once, 64 at once",
    unit: "MiB",
    groups: ["memory", "redis"],
    withoutPeers: true,
    withoutRatio: true,
    roundsMax: 1,
    roundLimitMs: 300_000,
    async warmUp() {},
    async round([process], { size }) {
      const { resident, ...cost } = await process.run("churn", { count: size.churnOperations });
      return {
        value: (resident.last - resident.first) / mebibyte,
        cost,
        extra: {
          operations: cost.operations,
          firstMiB: resident.first / mebibyte,
          peakMiB: resident.peak / mebibyte,
          lastMiB: resident.last / mebibyte,
        },
      };
    },
  },
];
