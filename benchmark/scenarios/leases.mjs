// Jobs that go on for longer than a lease: what keeping their locks costs.

const leases = 10_000;
const minuteMs = 60_000;

export const leaseScenarios = [
  {
    id: "leases-held",
    title: `${leases} jobs that run for a minute, process CPU for each, each with its contestant's own lease`,
    unit: "us/lease/min",
    groups: ["redis"],
    withoutPeers: true,
    roundsMax: 1,
    roundLimitMs: 180_000,
    figures: [
      { id: "loopUs", head: "loop us/lease/min", better: "less" },
      { id: "redisUs", head: "redis us/lease/min", better: "less" },
      { id: "requests", head: "requests/lease/min", better: "less" },
    ],
    async warmUp([process]) {
      await process.run("growLeases", { to: 100 });
      await process.run("endLeases", {});
    },
    async round([process], { size, probe }) {
      await process.run("growLeases", { to: leases });
      const before = await probe.read();
      const cost = await process.run("keepLeases", { holdMs: size.leasesMs });
      const server = await probe.since(before);
      await process.run("endLeases", {});
      const each = (sum) => (sum * minuteMs) / size.leasesMs / leases;
      return {
        value: each(cost.cpuUs),
        cost,
        server,
        extra: { loopUs: each(cost.loopUs), redisUs: each(server.cpuUs), requests: each(server.requests) },
      };
    },
  },
];
