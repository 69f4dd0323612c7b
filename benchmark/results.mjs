import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { figuresOf, spreadOf } from "./figures.mjs";
import { pairedRatios, percentiles, summarise } from "./statistics.mjs";

const folder = fileURLToPath(new URL("./results/", import.meta.url));

/**
 * What a heat came to, one entry per contestant: the value's median and range, how many times the baseline's value it
 * is (paired round by round), how much of the floor's rate it reaches, the medians per operation of what it cost, the
 * spread of its samples in ms, and the figures beside the value.
 */
export function resultOf({ name, scenario, group }, lanes) {
  const baseline = lanes.find(({ contestant }) => contestant.baseline);
  const floor = lanes.find(({ contestant }) => contestant.floor === "scripts");
  const compared = { baseline: scenario.withoutRatio ? undefined : baseline, floor };
  return {
    name,
    title: scenario.title,
    unit: scenario.unit,
    group,
    figures: scenario.figures ?? [],
    sizes: scenario.sizes ?? null,
    contestants: lanes.map((lane) => entryOf(lane, scenario, compared)),
  };
}

function entryOf({ contestant, rounds, error }, { figures = [] }, { baseline, floor }) {
  const values = rounds.map(({ value }) => value);
  const samples = samplesOf(rounds);
  return {
    id: contestant.id,
    name: contestant.name,
    version: contestant.version,
    baseline: contestant.baseline,
    error,
    value: summarise(values),
    fasterThanBaseline: baseline ? summarise(pairedRatios(valuesOf(baseline), values)) : null,
    bestFasterThanBaseline: baseline ? bestRatio(valuesOf(baseline), values) : null,
    shareOfFloor: floor ? summarise(pairedRatios(valuesOf(floor), values)) : null,
    perOperation: perOperation(rounds),
    spread: spreadOf(samples, samplesOf(baseline?.rounds ?? [])),
    percentiles: samples.length > 0 ? percentiles(samples) : null,
    figures: figuresOf(figures, rounds, baseline?.rounds ?? []),
    rounds: rounds.map(({ samples: _, ...round }) => round),
  };
}

function samplesOf(rounds) {
  return rounds.flatMap((round) => round.samples ?? []);
}

function valuesOf({ rounds }) {
  return rounds.map(({ value }) => value);
}

// The best round of each: what else runs on the machine can only add time.
function bestRatio(base, values) {
  return base.length > 0 && values.length > 0 ? Math.min(...base) / Math.min(...values) : null;
}

function perOperation(rounds) {
  const each = (read) => {
    const known = rounds.filter((round) => read(round) !== null);
    return summarise(known.map((round) => read(round) / round.cost.operations))?.median ?? null;
  };
  const onServer = rounds.every(({ server }) => server !== null);
  return {
    loopUs: each(({ cost }) => cost.loopUs),
    cpuUs: each(({ cost }) => cost.cpuUs),
    redisCommands: onServer ? each(({ server }) => server.commands) : null,
    redisCpuUs: onServer ? each(({ server }) => server.cpuUs) : null,
    redisBytes: onServer ? each(({ server }) => server.bytes) : null,
  };
}

/** Where a run's results go by themselves, or null for one that did not measure everything. */
export function resultsFile({ only, quick }, { date, commit }) {
  if (only.length > 0) return null;
  return `${folder}${date.slice(0, 10)}-${commit}${quick ? "-quick" : ""}.json`;
}

/** Writes results as JSON, making the folder where there is none. */
export function writeResults(file, results) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(results, roundedNumbers, 1)}\n`);
}

// Six significant digits: more is noise, and doubles the file.
function roundedNumbers(_, value) {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
}
