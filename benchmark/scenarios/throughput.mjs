// Uncontended work: how long one operation takes with so many going on at once.

const widths = [1, 8, 64, 1024];
const titles = { execute: "execute", "acquire-release": "acquire + release" };

const wide = Object.keys(titles).flatMap((operation) =>
  widths.map((width) =>
    throughput({
      id: `${operation}-${width}-wide`,
      title: `${titles[operation]}, distinct keys, ${width} at once`,
      params: { operation, width, keysPerCall: 1 },
    }),
  ),
);

const manyKeys = [10, 100].map((keysPerCall) => ({
  ...throughput({
    id: `execute-${keysPerCall}-keys`,
    title: `execute on ${keysPerCall} keys, one call at a time`,
    params: { operation: "execute", width: 1, keysPerCall },
  }),
  needsKeySets: true,
}));

export const throughputScenarios = [...wide, ...manyKeys];

function throughput({ id, title, params }) {
  return {
    id,
    title,
    unit: "us/op",
    groups: ["memory", "redis"],
    withFloor: true,
    peerRoundsMax: 3,
    warmUp: ([process], size) => calibrate(process, params, size.roundMs),
    async round([process], { plan }) {
      // The floor counts what it cost the server itself, without what it needed beside that.
      const { server, ...cost } = await process.run("lanes", { ...params, count: plan.count });
      return { value: (cost.wallMs * 1000) / cost.operations, cost, ...(server && { server }) };
    },
  };
}

/** How many operations fill a round. Found by doubling, which warms the code up on the way. */
export async function calibrate(process, params, roundMs) {
  for (let count = params.width * 4; ; count *= 2) {
    const { wallMs } = await process.run("lanes", { ...params, count });
    if (wallMs >= roundMs / 2) return { count: Math.ceil((count * roundMs) / wallMs) };
  }
}
