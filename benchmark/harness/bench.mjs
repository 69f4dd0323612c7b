// The whole run: a Redis server of its own, every heat in turn, the tables and the file.
import { relative } from "node:path";
import { Failure } from "../../scripts/command.mjs";
import { startRedis } from "../../scripts/redis-server.mjs";
import { contestants, isOurs, nativeIsBuilt } from "../contestants/index.mjs";
import { heatTable, summaryTable } from "../report.mjs";
import { resultOf, resultsFile, writeResults } from "../results.mjs";
import { scenarios } from "../scenarios/index.mjs";
import { runHeat, stepsOf } from "./heat.mjs";
import { commitName, describeMachine, load } from "./machine.mjs";
import { Progress } from "./progress.mjs";
import { findBenchmark } from "./redis-benchmark.mjs";
import { RedisProbe } from "./redis-probe.mjs";

/**
 * Runs what the options ask for.
 * @returns {Promise<boolean>} whether every contestant finished every heat
 */
export async function bench(options) {
  const heats = heatsFor(options);
  if (heats.length === 0) throw new Failure(`No heat's name holds "${options.only.join('" or "')}"`);
  endOnSignals();
  const redis = await startRedis();
  const probe = await RedisProbe.open(redis.url);
  try {
    const results = await runAll(heats, options, { redisUrl: redis.url, probe });
    console.log(summaryTable(results));
    saveResults(results, options);
    return results.heats.every((heat) => heat.contestants.every(({ error }) => error === null));
  } finally {
    probe.close();
    await redis.stop();
  }
}

// The server ends with this process's exit event, which a signal alone would skip; the contestants end with us anyway.
function endOnSignals() {
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
}

function heatsFor({ only, peers }) {
  const built = nativeIsBuilt();
  if (!built) console.warn("medusa-locking-native is left out: it is not built (npm run build).");
  const floors = findBenchmark() !== undefined;
  if (!floors) console.warn("The floor is left out: no redis-benchmark (Debian, Ubuntu: apt-get install redis-tools).");
  const field = contestants.filter(
    ({ peer, floor, module }) => (peers || !peer) && (floors || !floor) && (built || module !== "./native.mjs"),
  );
  const heats = scenarios.flatMap((scenario) => scenario.groups.map((group) => heatOf(scenario, group, field)));
  if (only.length === 0) return heats;
  const isName = (part) => heats.some(({ name }) => name === part);
  return heats.filter(({ name }) => only.some((part) => (isName(part) ? name === part : name.includes(part))));
}

function heatOf(scenario, group, field) {
  const entrants = field.filter(
    (one) =>
      one.group === group &&
      (one.keySets || !scenario.needsKeySets) &&
      !(one.peer && scenario.withoutPeers) &&
      !(one.floor && !scenario.withFloor) &&
      (isOurs(one) || !scenario.oursOnly),
  );
  return { name: `${group}/${scenario.id}`, scenario, group, entrants };
}

async function runAll(heats, options, { redisUrl, probe }) {
  const results = {
    date: new Date().toISOString(),
    commit: commitName(),
    quick: options.quick,
    size: options.size,
    machine: { ...describeMachine(), redis: await probe.version() },
    loadBefore: load(),
    loadAfter: null,
    heats: [],
  };
  const steps = heats.reduce((sum, heat) => sum + stepsOf(heat, options.size), 0);
  const progress = new Progress(steps);
  try {
    for (const heat of heats) {
      progress.heat(heat.name);
      await probe.empty();
      const start = performance.now();
      const lanes = await runHeat(heat, { size: options.size, redisUrl, probe, onStep: () => progress.step() });
      const result = { ...resultOf(heat, lanes), seconds: Math.round((performance.now() - start) / 1000) };
      results.heats.push(result);
      progress.log(heatTable(result));
    }
  } finally {
    progress.stop();
  }
  return { ...results, loadAfter: load() };
}

function saveResults(results, options) {
  const files = [resultsFile(options, results), options.json].filter((file) => file !== null);
  for (const file of files) {
    writeResults(file, results);
    console.log(`Results: ${relative(process.cwd(), file)}`);
  }
}
