// One owner lets go of everything, among a great many locks of others.

const foreign = 100_000;
const own = 1000;

export const releaseAllScenarios = [
  {
    id: "release-all",
    title: `releaseAll of an owner with ${own} locks among ${foreign} of another's`,
    unit: "ms",
    groups: ["memory", "redis"],
    withoutPeers: true,
    // Both look through the whole database, which must not hold the other one's locks.
    ownDatabase: true,
    roundsMax: 3,
    roundLimitMs: 120_000,
    async warmUp([process]) {
      await process.run("holdLocks", { prefix: "foreign", to: foreign, ownerId: "somebody else" });
    },
    async round([process]) {
      const cost = await process.run("releaseAllOf", { own, foreignKey: `foreign-${foreign - 1}` });
      return { value: cost.wallMs, cost };
    },
  },
];
