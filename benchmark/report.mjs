// Tables for people; the numbers behind them are in the results file.
import { isOurs } from "./contestants/index.mjs";
import { number, percent, table, times } from "./table.mjs";

const heatColumns = [
  { head: "", text: ({ name }) => name, align: "left" },
  { head: "median", text: ({ value }) => number(value?.median) },
  { head: "min", text: ({ value }) => number(value?.min) },
  { head: "max", text: ({ value }) => number(value?.max) },
  { head: "speed", text: speed },
  { head: "of floor", text: ({ shareOfFloor }) => percent(shareOfFloor?.median) },
  { head: "loop us/op", text: ({ perOperation }) => number(perOperation.loopUs) },
  { head: "cpu us/op", text: ({ perOperation }) => number(perOperation.cpuUs) },
  { head: "redis cmds/op", text: ({ perOperation }) => number(perOperation.redisCommands) },
  { head: "redis us/op", text: ({ perOperation }) => number(perOperation.redisCpuUs) },
  { head: "bytes/op", text: ({ perOperation }) => number(perOperation.redisBytes) },
  { head: "", text: remark, align: "left" },
];

const spreadColumns = [
  { head: "samples", text: ({ spread }) => (spread ? String(spread.samples) : "") },
  spreadColumn("p50 ms", "p50"),
  spreadColumn("p99 ms", "p99"),
  spreadColumn("max ms", "max"),
];

/** The contestants of one heat, one a line, and below that what is behind their values, where there is something. */
export function heatTable(heat) {
  const values = `\n${heat.name}: ${heat.title}, ${heat.unit}\n${table(heatColumns, heat.contestants)}`;
  const columns = figureColumns(heat);
  const hasAny = columns.some(({ text }) => heat.contestants.some((entry) => text(entry) !== ""));
  return hasAny ? `${values}\n${table([heatColumns[0], ...columns], heat.contestants)}` : values;
}

/** Ours against the baseline, one heat a line. */
export function summaryTable(results) {
  const columns = [
    { head: "", text: ({ heat }) => heat.name, align: "left" },
    { head: "unit", text: ({ heat }) => heat.unit, align: "left" },
    { head: "ours", text: ({ ours }) => number(ours?.value?.median) },
    { head: "baseline", text: ({ baseline }) => number(baseline?.value?.median) },
    { head: "speed", text: ({ ours }) => (ours ? speed(ours) : "") },
    { head: "from", text: ({ ours }) => times(ours?.fasterThanBaseline?.min) },
    { head: "to", text: ({ ours }) => times(ours?.fasterThanBaseline?.max) },
    { head: "best", text: ({ ours }) => times(ours?.bestFasterThanBaseline) },
    { head: "of floor", text: ({ ours }) => percent(ours?.shareOfFloor?.median) },
    { head: "loop time", text: ({ ours, baseline }) => share(ours, baseline, "loopUs") },
    { head: "cpu time", text: ({ ours, baseline }) => share(ours, baseline, "cpuUs") },
    { head: "redis cmds", text: ({ ours, baseline }) => share(ours, baseline, "redisCommands") },
  ];
  const rows = results.heats.map((heat) => ({
    heat,
    ours: heat.contestants.find(isOurs),
    baseline: heat.contestants.find((entry) => entry.baseline),
  }));
  return `\n${machineLine(results)}${busyWarning(results)}
speed: times as fast as the baseline, median and range over paired rounds; best: best round against best round;
loop time, cpu time, redis cmds: ours per operation as a share of the baseline's\n\n${table(columns, rows)}\n`;
}

// The spread of the samples, then the scenario's own figures.
function figureColumns({ figures }) {
  const own = figures.map(({ id, head }) => ({
    head,
    text: (entry) => asGood(entry, entry.figures[id].value?.median, entry.figures[id]),
  }));
  return [...spreadColumns, ...own];
}

function spreadColumn(head, part) {
  return { head, text: (entry) => asGood(entry, entry.spread?.[part].value, entry.spread?.[part]) };
}

/** A number, and how many times as good as the baseline's it is. */
function asGood({ baseline }, value, { timesAsGood } = {}) {
  const ratio = baseline ? "" : times(timesAsGood);
  return ratio === "" ? number(value) : `${number(value)} (${ratio})`;
}

// Whatever shares the cores shows in every time, and most in those of one operation at a time.
function busyWarning({ machine, loadBefore }) {
  if (loadBefore[0] <= machine.cores / 4) return "";
  return `\nThe machine was busy before the run began: look at "best" and the cpu times, or measure again.`;
}

/** "AMD EPYC, 2 cores, Node 20.20.2, Redis 7.0.15" */
export function machineOf({ machine: { cpu, cores, node, redis } }) {
  return `${cpu}, ${cores} cores, Node ${node}, ${redis}`;
}

function machineLine(results) {
  const { machine, loadBefore, loadAfter } = results;
  return `${machineOf(results)}, ${machine.system}, load ${loadBefore[0]} before, ${loadAfter[0]} after`;
}

function speed({ baseline, fasterThanBaseline }) {
  return baseline ? "baseline" : times(fasterThanBaseline?.median);
}

function remark({ error, rounds }) {
  if (error !== null) return `dropped out: ${error}`;
  const remarks = [];
  const { firstMiB, peakMiB } = rounds.at(-1)?.extra ?? {};
  const keysLeft = rounds.at(-1)?.server?.keys ?? 0;
  if (firstMiB !== undefined) remarks.push(`${number(firstMiB)} MiB after a tenth, at most ${number(peakMiB)}`);
  if (keysLeft > 0) remarks.push(`keys left in Redis: ${keysLeft}`);
  return remarks.join("; ");
}

function share(ours, baseline, field) {
  const part = ours?.perOperation[field];
  const whole = baseline?.perOperation[field];
  return part === undefined || part === null || !whole ? "" : percent(part / whole);
}
