// What came of the sales: a row for each, on the screen, as Markdown and as JSON.

import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { table } from "../../../benchmark/table.mjs";
import { percentile } from "../../../demo/screen.mjs";
import { nameOf, OURS } from "./providers.mjs";
import { OUTCOMES } from "./shop.mjs";

/** One scenario's outcome with one provider. */
export function entryOf({ title, provider, replies, holds, note = "", ...measured }) {
  const times = replies.map(({ ms }) => ms);
  const counts = OUTCOMES.map((outcome) => [outcome, replies.filter((reply) => reply.outcome === outcome).length]);
  const refusals = replies.filter(({ outcome }) => outcome === "other").map(({ said }) => said);
  return {
    scenario: title,
    locking: nameOf(provider),
    requests: replies.length,
    ...Object.fromEntries(counts),
    oversold: holds.filter(({ oversold }) => oversold).reduce((sum, { seen }) => sum + seen, 0),
    p50Ms: percentile(times, 50),
    p99Ms: percentile(times, 99),
    slowestMs: Math.max(...times),
    ...measured,
    note,
    broken: holds.filter((held) => !held.holds).map(({ what, expected, seen }) => ({ what, expected, seen })),
    otherErrors: [...new Set(refusals)],
  };
}

const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
const left = (head, text) => ({ head, text, align: "left" });

const COLUMNS = [
  left("scenario", ({ scenario }) => scenario),
  left("locking", ({ locking }) => locking),
  { head: "requests", text: ({ requests }) => String(requests) },
  { head: "accepted", text: ({ accepted }) => String(accepted) },
  { head: "sold out", text: ({ soldOut }) => String(soldOut) },
  { head: "conflicts", text: ({ conflict }) => String(conflict) },
  { head: "other errors", text: ({ other }) => String(other) },
  { head: "oversold", text: ({ oversold }) => String(oversold) },
  { head: "p50", text: ({ p50Ms }) => seconds(p50Ms) },
  { head: "p99", text: ({ p99Ms }) => seconds(p99Ms) },
  { head: "slowest", text: ({ slowestMs }) => seconds(slowestMs) },
  left("besides", ({ note }) => note),
];

/** The rows of one scenario stand together. */
function sorted(entries) {
  const order = [...new Set(entries.map(({ scenario }) => scenario))];
  return [...entries].sort((a, b) => order.indexOf(a.scenario) - order.indexOf(b.scenario));
}

/** The table as it is shown. */
export function asText(entries) {
  return table(COLUMNS, sorted(entries));
}

/** The table as it stands in the README. */
export function asMarkdown(entries) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [
    line(COLUMNS.map(({ head }) => head)),
    line(COLUMNS.map(({ align }) => (align === "left" ? "---" : "--:"))),
    ...sorted(entries).map((entry) => line(COLUMNS.map(({ text }) => text(entry)))),
  ].join("\n");
}

/** Whether an entry is of this package. */
export function isOurs({ locking }) {
  return locking === nameOf(OURS);
}

/** What did not hold, a line each. */
export function asFindings({ scenario, locking, broken }) {
  return broken.map(({ what, expected, seen }) => {
    return `${locking}, ${scenario}: ${what}: expected ${shown(expected)}, seen ${shown(seen)}`;
  });
}

function shown(value) {
  return value === "" ? "none" : value;
}

export function writeJson(file, { quick, entries }) {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, platform: process.platform };
  const result = { measuredAt: new Date().toISOString(), quick, machine, entries };
  writeFileSync(file, `${JSON.stringify(result, undefined, 2)}\n`);
}
