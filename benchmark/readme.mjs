// The numbers in the project's README, made from the newest full run's results. Needs no packages: a test makes them again.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { number, percent, times } from "./table.mjs";

const resultsFolder = new URL("./results/", import.meta.url);
const readmeFile = new URL("../README.md", import.meta.url);
const section = /(<!-- numbers -->\n)[\s\S]*(<!-- \/numbers -->)/;

const shownPictures = [
  { file: "throughput", text: "Operations per second by how many are under way, of each lock, in memory and on Redis" },
  { file: "waits", text: "Share of the callers of one hot key that are served within a time, of each lock" },
];

const value = { read: ({ value }) => value?.median, ratio: ({ fasterThanBaseline }) => fasterThanBaseline?.median };
const loop = { read: ({ perOperation }) => perOperation.loopUs };
const served = { read: ({ figures }) => figures.served?.value?.median };
const p99 = { read: ({ spread }) => spread?.p99.value, ratio: ({ spread }) => spread?.p99.timesAsGood };

const rows = [
  ["`execute`, 1 at once", "memory/execute-1-wide", "us"],
  ["`execute`, 64 at once", "memory/execute-64-wide", "us"],
  ["`acquire` and `release`, 1 at once", "memory/acquire-release-1-wide", "us"],
  ["`acquire` and `release`, 64 at once", "memory/acquire-release-64-wide", "us"],
  ["`execute`, 64 at once in each of 2 worker threads", "memory/threads-2", "us"],
  ["one hot key, 1000 waiters in one process", "memory/hot-key-1000-waiters", "ms"],
  ["`execute`, 1 at once", "redis/execute-1-wide", "us"],
  ["`execute`, 8 at once", "redis/execute-8-wide", "us"],
  ["`execute`, 64 at once", "redis/execute-64-wide", "us"],
  ["the same, event loop busy for", "redis/execute-64-wide", "us", loop],
  ["`execute`, 1024 at once", "redis/execute-1024-wide", "us"],
  ["`acquire` and `release`, 1 at once", "redis/acquire-release-1-wide", "us"],
  ["`acquire` and `release`, 64 at once", "redis/acquire-release-64-wide", "us"],
  ["`execute` on 10 keys", "redis/execute-10-keys", "us"],
  ["`execute` on 100 keys", "redis/execute-100-keys", "us"],
  ["one hot key, 10 waiters in one process", "redis/hot-key-10-waiters", "ms"],
  ["one hot key, 100 waiters in one process", "redis/hot-key-100-waiters", "ms"],
  ["one hot key, 1000 waiters in one process", "redis/hot-key-1000-waiters", "ms"],
  ["one hot key, 10,000 waiters in one process", "redis/hot-key-10000-waiters", "ms"],
  ["one hot key, 4 processes of 25 callers, 1000 holds", "redis/hot-key-processes", "ms"],
  ["1000 members of a fleet, 100 hot keys, 3000 holds", "redis/fleet-1000", "ms"],
  ["handover to a waiter of another process, median", "redis/handover-chain", "ms"],
  ["the same, 99th percentile", "redis/handover-chain", "ms", p99],
  ["`releaseAll` of 1000 locks among 100,000 others", "redis/release-all", "ms"],
  ["two items, 16 callers at once in 4 processes: served", "redis/reserve-two-opposite-orders", "", served],
];

/** @returns {{name: string, results: object}} of the newest full run that ours and Medusa's finished, or null */
export function newestResults() {
  const files = readdirSync(resultsFolder).filter((name) => name.endsWith(".json") && !name.endsWith("-quick.json"));
  const runs = files.map((name) => ({ name, results: JSON.parse(readFileSync(new URL(name, resultsFolder), "utf8")) }));
  const finished = runs.filter(({ results }) => results.heats.every(isFinished));
  return finished.sort((a, b) => a.results.date.localeCompare(b.results.date)).at(-1) ?? null;
}

// What the table compares. Where a peer did not finish, or the floor, it is missing there.
function isFinished({ contestants }) {
  return contestants.every(({ id, baseline, error }) => error === null || !(baseline || id.startsWith("native-")));
}

/** What stands between the README's marks. */
export function numbersOf({ name, results }) {
  const { machine, loadBefore, commit, date } = results;
  const lines = rows.flatMap(([text, heat, unit, reading]) => row(results, { text, heat, unit, ...(reading ?? value) }));
  const images = shownPictures.map(({ file, text }) => `![${text}](benchmark/results/${file}.svg)`);
  const { cpu, cores, system, node, redis } = machine;
  return `
Measured on ${date.slice(0, 10)} at \`${commit}\`: ${cpu}, ${cores} cores, ${system}, Node ${node}, ${redis} on
loopback, load average ${loadBefore[0]} before. [All numbers](benchmark/results/${name}).

${images.join("\n\n")}

| scenario | backend | this package | Medusa's provider | ratio | of the floor |
|---|---|---|---|---|---|
${lines.join("\n")}

`;
}

function row({ heats }, { text, heat, unit, read, ratio = ratioOf(read) }) {
  const found = heats.find(({ name }) => name === heat);
  if (!found) return [];
  const ours = found.contestants.find(({ id }) => id.startsWith("native-"));
  const theirs = found.contestants.find(({ baseline }) => baseline);
  const show = (entry) => (entry ? shown(read(entry), unit) : "");
  const isTime = read === value.read;
  const cells = [
    text,
    found.group === "redis" ? "Redis" : "memory",
    show(ours),
    show(theirs),
    theirs && unit !== "" ? times(ratio(ours, theirs)) : "",
    isTime ? percent(ours?.shareOfFloor?.median) : "",
  ];
  return [`| ${cells.join(" | ")} |`];
}

/** What has no unit is a count. */
function shown(value, unit) {
  if (value === undefined || value === null) return "";
  return unit === "" ? String(value) : `${number(value)} ${unit}`;
}

function ratioOf(read) {
  return (ours, theirs) => read(theirs) / read(ours);
}

/** The README with these numbers. @throws where it has no place for them */
export function withNumbers(readme, run) {
  if (!section.test(readme)) throw new Error("README.md has no <!-- numbers --> ... <!-- /numbers -->");
  return readme.replace(section, (_, begin, end) => begin + numbersOf(run) + end);
}

/** Writes them into the project's README. */
export function writeReadme(run) {
  writeFileSync(readmeFile, withNumbers(readFileSync(readmeFile, "utf8"), run));
}
