// How the cost of one operation grows with what is there already.
import { inSequence } from "../workloads/measured.mjs";
import { calibrate } from "./throughput.mjs";

const width = 64;
const wide = `distinct keys, ${width} at once,`;
/** Renewed every two seconds, more than twice as often as ours are by default, and so once in each measurement. */
const leaseSeconds = 6;
const renewalMs = 2000;

const ownerId = "the holder";
const lockSizes = [100, 1000, 10_000, 100_000];
const leaseSizes = [100, 1000, 10_000];

const amongLocks = {
  ...growth({
    id: "growth-locks",
    title: `acquire + release, ${wide} beside ${lockSizes.at(-1)} held locks`,
    sizes: lockSizes,
  }),
  warmUp: ([process], { roundMs }) => calibrate(process, lanes("acquire-release"), 2 * roundMs),
  async round([process], { plan, probe }) {
    let from = 0;
    const parts = await atEach(lockSizes, async (to) => {
      await process.run("holdLocks", { prefix: "held", from, to, ownerId });
      from = to;
      return measured(probe, () => process.run("lanes", { ...lanes("acquire-release"), ...plan }));
    });
    await process.run("letGoOfLocks", { prefix: "held", to: lockSizes.at(-1), ownerId });
    return roundOf(lockSizes, parts);
  },
};

const amongLeases = {
  ...growth({
    id: "growth-leases",
    title: `execute, ${wide} beside ${leaseSizes.at(-1)} running jobs with leases of ${leaseSeconds} s`,
    sizes: leaseSizes,
  }),
  // Medusa's provider loses some of them where the machine is busy: it renews each by a timer of the event loop.
  oursOnly: true,
  warmUp: ([process], { roundMs }) => calibrate(process, lanes("execute"), Math.max(renewalMs, roundMs)),
  async round([process], { plan, probe }) {
    const parts = await atEach(leaseSizes, async (to) => {
      await process.run("growLeases", { to, leaseSeconds });
      return measured(probe, () => process.run("lanes", { ...lanes("execute"), ...plan }));
    });
    await process.run("endLeases", {});
    return roundOf(leaseSizes, parts);
  },
};

const waiters = [100, 1000, 10_000];
/** Of how many waiters each measurement is, in bursts of each size. */
const servedInAll = waiters.at(-1);

const amongWaiters = {
  ...growth({
    id: "growth-waiters",
    title: `one hot key, each of ${waiters.at(-1)} waiters in one process`,
    sizes: waiters,
  }),
  oursOnly: true,
  async warmUp([process]) {
    await process.run("hotKey", { key: "hot", waiters: servedInAll });
  },
  async round([process], { probe }) {
    return roundOf(waiters, await atEach(waiters, (size) => measured(probe, () => bursts(process, size))));
  },
};

export const growthScenarios = [amongLocks, amongLeases, amongWaiters];

function growth({ id, title, sizes }) {
  const smaller = sizes.slice(0, -1).map((size) => ({ id: `at${size}`, head: `us at ${size}`, better: "less" }));
  return {
    id,
    title,
    unit: "us/op",
    groups: ["memory", "redis"],
    withoutPeers: true,
    long: true,
    roundLimitMs: 120_000,
    sizes,
    figures: [...smaller, { id: "growth", head: `times that at ${sizes[0]}`, better: "less" }],
  };
}

function lanes(operation) {
  return { operation, width, keysPerCall: 1 };
}

async function atEach(sizes, measure) {
  const parts = [];
  for (const size of sizes) parts.push(await measure(size));
  return parts;
}

async function measured(probe, work) {
  const before = await probe.read();
  const cost = await work();
  const { keys: _, ...server } = await probe.since(before);
  return { cost, server };
}

async function bursts(process, size) {
  const costs = [];
  for (let left = servedInAll; left > 0; left -= size) {
    const { waits: _, ...cost } = await process.run("hotKey", { key: "hot", waiters: size });
    costs.push(cost);
  }
  return inSequence(costs);
}

/** The cost is that of the largest size. */
function roundOf(sizes, parts) {
  const us = parts.map(({ cost }) => (cost.wallMs * 1000) / cost.operations);
  const each = Object.fromEntries(sizes.map((size, n) => [`at${size}`, us[n]]));
  return { value: us.at(-1), ...parts.at(-1), extra: { ...each, growth: us.at(-1) / us[0] } };
}
