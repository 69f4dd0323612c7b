// `npm run budget`: counts what an operation costs in everything that does not depend on the clock, and fails by name
// where a budget is passed.
//
//   npm run budget                            everything
//   npm run budget -- --js                    what JavaScript and the server see of it
//   npm run budget -- --rust                  what the Rust side allocates, and its instructions
//   npm run budget -- --only "on Redis"       the scenarios with this in their names
//   npm run budget -- --budgets other.mjs     other budgets than those of budgets.mjs
//   npm run budget -- --tries N               counts a scenario that passes a budget N times (default 3)

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Failure, main } from "../scripts/command.mjs";
import { requireServer, startRedis } from "../scripts/redis-server.mjs";
import { setUp } from "../scripts/setup.mjs";
import { inWords } from "./counts.mjs";
import { scenarios } from "./scenarios.mjs";
import { excesses, leastOf } from "./verdict.mjs";

/** How often a scenario that passes a budget is counted: what the rest of the machine did to it, it does not do thrice. */
const TRIES = "3";

await main(async () => {
  const { js, rust, only, tries, budgets } = await readOptions(process.argv.slice(2));
  const wanted = scenarios.filter(({ name }) => name.includes(only));
  if (wanted.length === 0) throw new Failure(`no scenario has "${only}" in its name`);
  await setUp();
  await requireServer();
  const counters = await countersOf({ js, rust });
  const failures = [];
  try {
    for (const scenario of wanted) failures.push(...(await judge(scenario, { counters, budgets, tries })));
  } finally {
    await counters.stop();
  }
  for (const missing of counters.missing) console.log(`\n${missing}`);
  if (failures.length > 0) throw new Failure(`budgets passed:\n  ${failures.join("\n  ")}`);
  console.log("\nall within their budgets");
});

async function readOptions(args) {
  const { values } = parse(args);
  const file = values.budgets ? pathToFileURL(resolve(values.budgets)) : new URL("budgets.mjs", import.meta.url);
  const { budgets } = await import(file);
  const both = !values.js && !values.rust;
  return { js: values.js ?? both, rust: values.rust ?? both, only: values.only ?? "", tries: Number(values.tries), budgets };
}

function parse(args) {
  try {
    const flag = { type: "boolean" };
    const text = { type: "string" };
    return parseArgs({ args, options: { js: flag, rust: flag, only: text, budgets: text, tries: { ...text, default: TRIES } } });
  } catch (error) {
    throw new Failure(`${error.message}\n\nusage: npm run budget -- [--js] [--rust] [--only NAME] [--budgets FILE] [--tries N]`);
  }
}

/** What counts, on a server of its own. Loaded only now: it needs the installed packages. */
async function countersOf({ js, rust }) {
  const { countJavaScript } = await import("./javascript.mjs");
  const { ServerCounts } = await import("./server-counts.mjs");
  const { rustCounter } = await import("./rust.mjs");
  const ofRust = rust ? await rustCounter() : { missing: [] };
  const server = await startRedis();
  const counts = await ServerCounts.open(server.url);
  return {
    missing: ofRust.missing,
    count: async (scenario) => {
      const onServer = scenario.backend === "redis";
      return {
        ...(js && (await countJavaScript(scenario, onServer ? { url: server.url, counts } : undefined))),
        ...(rust && scenario.rustOperations && (await ofRust.count(scenario, server.url))),
      };
    },
    stop: () => {
      counts.close();
      return server.stop();
    },
  };
}

/** Counts a scenario, shows its counts, and answers what is wrong with them. */
async function judge(scenario, { counters, budgets, tries }) {
  let counted = await counters.count(scenario);
  if (Object.keys(counted).length === 0) return [];
  for (let tried = 1; tried < tries && excesses(scenario, counted, budgets).length > 0; tried += 1) {
    counted = leastOf(counted, await counters.count(scenario));
  }
  console.log(`\n${scenario.name}`);
  for (const [name, value] of Object.entries(counted)) {
    console.log(`  ${inWords(name, value).padEnd(52)} of ${budgets[scenario.name]?.[name]?.[0] ?? "?"}`);
  }
  return excesses(scenario, counted, budgets);
}
