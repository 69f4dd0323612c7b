// Tables for people; the numbers behind them are in the results file.

/**
 * @typedef {object} Column
 * @property {string} head
 * @property {(entry: object) => string} text
 * @property {'left' | 'right'} [align] default right
 */

const heatColumns = [
  { head: "", text: ({ name }) => name, align: "left" },
  { head: "median", text: ({ value }) => number(value?.median) },
  { head: "min", text: ({ value }) => number(value?.min) },
  { head: "max", text: ({ value }) => number(value?.max) },
  { head: "speed", text: speed },
  { head: "loop us/op", text: ({ perOperation }) => number(perOperation.loopUs) },
  { head: "cpu us/op", text: ({ perOperation }) => number(perOperation.cpuUs) },
  { head: "redis cmds/op", text: ({ perOperation }) => number(perOperation.redisCommands) },
  { head: "redis us/op", text: ({ perOperation }) => number(perOperation.redisCpuUs) },
  { head: "bytes/op", text: ({ perOperation }) => number(perOperation.redisBytes) },
  { head: "", text: remark, align: "left" },
];

/** The contestants of one heat, one a line. */
export function heatTable(heat) {
  return `\n${heat.name}: ${heat.title}, ${heat.unit}\n${table(heatColumns, heat.contestants)}`;
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
    { head: "loop time", text: ({ ours, baseline }) => share(ours, baseline, "loopUs") },
    { head: "cpu time", text: ({ ours, baseline }) => share(ours, baseline, "cpuUs") },
    { head: "redis cmds", text: ({ ours, baseline }) => share(ours, baseline, "redisCommands") },
  ];
  const rows = results.heats.map((heat) => ({
    heat,
    ours: heat.contestants.find(({ id }) => id.startsWith("native")),
    baseline: heat.contestants.find((entry) => entry.baseline),
  }));
  return `\n${machineLine(results)}${busyWarning(results)}
speed: times as fast as the baseline, median and range over paired rounds; best: best round against best round;
loop time, cpu time, redis cmds: ours per operation as a share of the baseline's\n\n${table(columns, rows)}\n`;
}

// Whatever shares the cores shows in every time, and most in those of one operation at a time.
function busyWarning({ machine, loadBefore }) {
  if (loadBefore[0] <= machine.cores / 4) return "";
  return `\nThe machine was busy before the run began: look at "best" and the cpu times, or measure again.`;
}

function machineLine({ machine, loadBefore, loadAfter }) {
  const { cpu, cores, node, redis, system } = machine;
  return `${cpu}, ${cores} cores, ${system}, Node ${node}, ${redis}, load ${loadBefore[0]} before, ${loadAfter[0]} after`;
}

function speed({ baseline, fasterThanBaseline }) {
  return baseline ? "baseline" : times(fasterThanBaseline?.median);
}

function remark({ error, percentiles, rounds }) {
  if (error !== null) return `dropped out: ${error}`;
  const remarks = [];
  if (percentiles) remarks.push(`p50 ${number(percentiles[50])}, p99 ${number(percentiles[99])} ms`);
  const { firstMiB, peakMiB } = rounds.at(-1)?.extra ?? {};
  const keysLeft = rounds.at(-1)?.server?.keys ?? 0;
  if (firstMiB !== undefined) remarks.push(`${number(firstMiB)} MiB after a tenth, at most ${number(peakMiB)}`);
  if (keysLeft > 0) remarks.push(`keys left in Redis: ${keysLeft}`);
  return remarks.join("; ");
}

function share(ours, baseline, field) {
  const part = ours?.perOperation[field];
  const whole = baseline?.perOperation[field];
  return part === undefined || part === null || !whole ? "" : `${number((100 * part) / whole)}%`;
}

function times(ratio) {
  return ratio === undefined || ratio === null ? "" : `${number(ratio)}x`;
}

/** Three significant digits, and no exponent. */
function number(value) {
  if (value === undefined || value === null) return "";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}

function table(columns, entries) {
  const shown = columns.filter(({ text }) => entries.some((entry) => text(entry) !== ""));
  const lines = [shown.map(({ head }) => head), ...entries.map((entry) => shown.map(({ text }) => text(entry)))];
  const widths = shown.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const pad = (text, column) =>
    shown[column].align === "left" ? text.padEnd(widths[column]) : text.padStart(widths[column]);
  return lines.map((line) => `  ${line.map(pad).join("  ").trimEnd()}`).join("\n");
}
