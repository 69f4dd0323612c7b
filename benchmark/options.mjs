import { parseArgs } from "node:util";

export const usage = `Usage: npm run bench -- [options]

  --quick             fewer and shorter rounds, without the Node peers: about four minutes
  --only <substring>  only heats whose name ("memory/execute-64-wide", "redis/hot-key-1000-waiters", ...) holds it,
                      or is it where a heat is called so; may be repeated
  --rounds <n>        measured rounds per contestant (default 7, quick 3)
  --no-build          measures the addon as it is built now, or goes without it where there is none
  --json <file>       also write the results to this file
  --readme            measures nothing: draws the pictures and writes the README's numbers from the newest full run
  --help              this text

A full run writes benchmark/results/<date>-<commit>.json, the pictures beside it and the numbers in README.md; a quick
one only the first, with "-quick" in its name; a run with --only writes a file only where --json asks for it.`;

/**
 * Which share of the full work a run does. Rounds of a throughput scenario are sized by time, the others by count. All of
 * it takes about twelve minutes on a quiet machine with two cores.
 */
const full = {
  rounds: 7,
  longRoundsMax: 2,
  roundMs: 200,
  handovers: 8,
  chainLimitMs: 15_000,
  turnsLimitMs: 4_000,
  churnOperations: 100_000,
  leasesMs: 60_000,
  roundLimitMs: 90_000,
};
const quick = {
  rounds: 3,
  longRoundsMax: 1,
  roundMs: 120,
  handovers: 6,
  chainLimitMs: 7_500,
  turnsLimitMs: 1_200,
  churnOperations: 50_000,
  leasesMs: 10_000,
  roundLimitMs: 30_000,
};

/**
 * Reads the command line.
 * @throws TypeError when a flag is unknown or `--rounds` is not a whole number from 1 to 1000.
 */
export function readOptions(argv) {
  const { values } = parseArgs({
    args: argv,
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", multiple: true, default: [] },
      rounds: { type: "string" },
      json: { type: "string" },
      readme: { type: "boolean", default: false },
      "no-build": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const size = values.quick ? quick : full;
  return {
    help: values.help,
    quick: values.quick,
    only: values.only,
    json: values.json ?? null,
    readme: values.readme,
    peers: !values.quick,
    build: !values["no-build"],
    size: { ...size, rounds: readRounds(values.rounds) ?? size.rounds },
  };
}

/** Whether a run measures everything, all the way. */
export function isFull({ quick, only }) {
  return !quick && only.length === 0;
}

function readRounds(text) {
  if (text === undefined) return null;
  const rounds = Number(text);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 1000) {
    throw new TypeError(`--rounds takes a whole number from 1 to 1000, not "${text}"`);
  }
  return rounds;
}
