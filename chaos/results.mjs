// The results that are kept: one file for each run with `--save`, and the table that the README makes of them.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("results", import.meta.url));
const readmePath = fileURLToPath(new URL("../README.md", import.meta.url));
const [BEGIN, END] = ["<!-- chaos -->\n\n", "\n\n<!-- /chaos -->"];

const NAMES = { native: "this package", "locking-redis": "`@medusajs/locking-redis`" };

/** Writes the summary of a run, with what it ran on; the file's path. */
export function save(summary) {
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: fileURLToPath(new URL(".", import.meta.url)), encoding: "utf8" });
  const machine = { date: new Date().toISOString().slice(0, 10), commit: commit.trim(), node: process.version, cores: availableParallelism() };
  const file = join(folder, `${summary.provider}-${summary.seconds}s-seed-${summary.seed}.json`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, `${JSON.stringify({ ...machine, ...summary }, null, 1)}\n`);
  return file;
}

/** The summaries that were saved, by provider, in order of their seeds. */
export function saved() {
  const all = readdirSync(folder).sort().map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
  const of = (provider) => all.filter((run) => run.provider === provider).sort((a, b) => a.seed - b.seed);
  return Object.fromEntries(Object.keys(NAMES).map((provider) => [provider, of(provider)]));
}

/** The README's table, as Markdown. */
export function table(runs) {
  const providers = Object.keys(NAMES);
  const sum = (provider, read) => runs[provider].reduce((total, run) => total + read(run), 0);
  const row = (name, cell) => `| ${[name, ...providers.map(cell)].join(" | ")} |`;
  const kinds = Object.keys(Object.assign({}, ...Object.values(runs).flat().map(({ faults }) => faults))).sort();
  const properties = runs.native[0].verdicts.map(({ property }) => property);
  return [
    row("", (provider) => NAMES[provider]),
    row("---", () => "---"),
    row("runs", (provider) => runsOf(runs[provider])),
    ...kinds.map((kind) => row(`fault: \`${kind}\``, (provider) => sum(provider, ({ faults }) => faults[kind] ?? 0))),
    row("calls", (provider) => sum(provider, ({ calls }) => calls)),
    row("grants", (provider) => sum(provider, ({ grants }) => grants)),
    ...properties.map((property) => row(property, (provider) => verdictOf(property, runs[provider]))),
  ].join("\n");
}

function runsOf(runs) {
  const lengths = [...new Set(runs.map(({ seconds }) => seconds))];
  const seedsOf = (length) => runs.filter(({ seconds }) => seconds === length).map(({ seed }) => seed);
  return lengths.map((length) => `${seedsOf(length).length} of ${length} s, seeds ${seedsOf(length).join(", ")}`).join("; ");
}

function verdictOf(property, runs) {
  const verdicts = runs.map(({ verdicts: all }) => all.find((verdict) => verdict.property === property));
  const violations = verdicts.reduce((total, verdict) => total + verdict.violations, 0);
  if (violations > 0) return `**violated** ${violations === 1 ? "once" : `${violations} times`}`;
  if (property === "tokens" && verdicts.every(({ counts }) => counts.tokens === 0)) return "has none";
  if (property === "handover" && verdicts.every(({ counts }) => counts["looked at"] === 0)) return "not judged: it polls";
  return "holds";
}

/** The table as it stands in the README. */
export function tableInReadme() {
  const readme = readFileSync(readmePath, "utf8");
  return readme.slice(readme.indexOf(BEGIN) + BEGIN.length, readme.indexOf(END));
}

/** Puts the table of what was saved into the README. */
export function writeTable() {
  const readme = readFileSync(readmePath, "utf8");
  const [from, to] = [readme.indexOf(BEGIN) + BEGIN.length, readme.indexOf(END)];
  writeFileSync(readmePath, readme.slice(0, from) + table(saved()) + readme.slice(to));
}
