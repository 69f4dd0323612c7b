// `npm run chaos`: see README.md. Sets itself up, runs, and ends with 1 where a property was violated.

import { parseArgs } from "node:util";
import { Failure, main } from "../scripts/command.mjs";
import { requireServer } from "../scripts/redis-server.mjs";
import { setUp } from "../scripts/setup.mjs";
import { save, writeTable } from "./results.mjs";
import { FAULTS, describe } from "./schedule.mjs";

const PROVIDERS = ["native", "locking-redis"];

const usage = `usage: npm run chaos -- [options]

  --seconds N     how long faults are made, 5 to 86400 (default 60)
  --seed N        which faults, and when (default: drawn)
  --processes N   how many stores, 1 to 32 (default 4)
  --provider P    ${PROVIDERS.join(" or ")} (default native)
  --faults LIST   of ${FAULTS.join(",")}, or none (default all)
  --now           does not wait for what killed processes left to expire (a minute)
  --keep          keeps the journals, and says where
  --judge FOLDER  judges journals that were kept, and runs nothing
  --save          writes the totals and verdicts to results/
  --table         puts what was saved into the project's README, and runs nothing
  --json          prints the result as JSON`;

await main(async () => {
  const options = readOptions(process.argv.slice(2));
  if (!options) return void console.log(usage);
  if (options.table) return writeTable();
  const say = options.json ? () => {} : console.log;
  if (!options.asBuilt) await setUp();
  if (!options.judge) await requireServer();
  // Loaded only now: it needs the installed packages.
  const [{ judge, run }, { summary, text }] = [await import("./run.mjs"), await import("./report.mjs")];
  const tell = {
    onStart: (plan) => say(`seed ${options.seed}: ${plan.length} faults, by mulberry32\n${describe(plan)}\n`),
    onProgress: options.json ? undefined : progressLine(options.seconds),
  };
  const result = options.judge ? judge(options.judge) : await run(options, tell);
  const sum = summary(result);
  if (options.json) {
    const violations = result.verdicts.flatMap(({ violations: found }) => found.slice(0, 20));
    console.log(JSON.stringify({ ...sum, violations, schedule: result.plan }, null, 2));
  } else {
    say(`\n${text(result)}`);
    if (options.keep) say(`journals: ${result.folder}`);
  }
  if (options.save) say(`saved: ${save(sum)}`);
  if (!sum.clean) process.exitCode = 1;
});

function progressLine(total) {
  const live = process.stdout.isTTY;
  let told = -Infinity;
  return ({ seconds, faults, granted }) => {
    const line = `${seconds.toFixed(0)} of ${total} s, ${faults} faults, ${granted} grants`;
    if (live) process.stdout.write(`\r${line}   `);
    else if (seconds - told >= 15) {
      told = seconds;
      console.log(line);
    }
  };
}

/** The options, or undefined where help is asked for. @throws {Failure} on what is not understood */
function readOptions(args) {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        seconds: { type: "string", default: "60" },
        seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
        processes: { type: "string", default: "4" },
        provider: { type: "string", default: "native" },
        faults: { type: "string", default: FAULTS.join(",") },
        now: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        judge: { type: "string" },
        save: { type: "boolean", default: false },
        table: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        "as-built": { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new Failure(`${error.message}\n\n${usage}`);
  }
  if (values.help) return undefined;
  const faults = values.faults.split(",").filter((name) => name !== "" && name !== "none");
  const unknown = faults.find((name) => !FAULTS.includes(name));
  if (unknown) throw new Failure(`there is no fault "${unknown}"\n\n${usage}`);
  if (!PROVIDERS.includes(values.provider)) throw new Failure(`there is no provider "${values.provider}"\n\n${usage}`);
  return {
    seconds: whole("seconds", values.seconds, 5, 86_400),
    seed: whole("seed", values.seed, 0, 2 ** 32 - 1),
    processes: whole("processes", values.processes, 1, 32),
    provider: values.provider,
    faults,
    wait: !values.now,
    keep: values.keep,
    judge: values.judge,
    save: values.save,
    table: values.table,
    json: values.json,
    asBuilt: values["as-built"],
  };
}

function whole(name, text, least, most) {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new Failure(`--${name} must be a whole number from ${least} to ${most}, not "${text}"`);
}
