// `npm run store`: a real Medusa store on two servers, and a flash sale in it, over HTTP.
//
//   npm run store                       the sale with this package as the store's locking provider
//   npm run store -- --compare          and once more with @medusajs/locking-redis
//   npm run store -- --quick            fewer carts
//   npm run store -- --json FILE        the result as JSON as well
//   npm run store -- --markdown         the table as Markdown as well
//
// Sets itself up and starts PostgreSQL, Redis and the servers for itself, on free loopback ports, and leaves nothing
// running.

import { parseArgs } from "node:util";
import { Failure, main } from "../../scripts/command.mjs";
import { requireServer, startRedis } from "../../scripts/redis-server.mjs";
import { setUp } from "../../scripts/setup.mjs";
import { MEDUSAS, OURS } from "./sale/providers.mjs";
import { requirePostgres, startPostgres } from "./sale/postgres.mjs";
import { environment, installStore, migrate, seed } from "./sale/store.mjs";

const usage = "usage: npm run store -- [--compare] [--quick] [--json FILE] [--markdown]";

/** What must be ended, the last one first. */
const opened = [];

async function closeAll() {
  for (let close = opened.pop(); close; close = opened.pop()) await close();
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    console.error(`\n${signal}: ending what was started`);
    void closeAll().finally(() => process.exit(1));
  });
}

await main(async () => {
  const options = readOptions(process.argv.slice(2));
  if (options.help) return console.log(usage);
  await setUp();
  await requireServer();
  const programs = await requirePostgres();
  await installStore();
  try {
    await runSale(programs, options);
  } finally {
    await closeAll();
  }
});

function readOptions(args) {
  const flag = { type: "boolean", default: false };
  try {
    return parseArgs({
      args,
      options: { compare: flag, quick: flag, json: { type: "string" }, markdown: flag, help: { ...flag, short: "h" } },
    }).values;
  } catch (error) {
    throw new Failure(`${error.message}\n\n${usage}`);
  }
}

async function runSale(programs, options) {
  // Loaded only now: they need the installed packages.
  const { scenarios } = await import("./sale/scenarios.mjs");
  const { itemsOf, sellWith } = await import("./sale/sale.mjs");
  const report = await import("./sale/report.mjs");
  const all = scenarios(options);
  const providers = options.compare ? [OURS, MEDUSAS] : [OURS];
  const postgres = await startPostgres(programs);
  opened.push(postgres.stop);
  const seeded = await fillStore(postgres.url, itemsOf(providers, all));
  const entries = [];
  for (const provider of providers) {
    entries.push(...(await sellWith(provider, { scenarios: all, databaseUrl: postgres.url, seeded, opened })));
  }
  conclude(report, entries, options);
}

async function fillStore(databaseUrl, items) {
  const redis = await startRedis();
  opened.push(redis.stop);
  const env = environment({ databaseUrl, redisUrl: redis.url, provider: OURS });
  await migrate(env);
  return seed(env, items);
}

function conclude(report, entries, { quick, json, markdown }) {
  console.log(`\n${report.asText(entries)}\n`);
  if (markdown) console.log(`${report.asMarkdown(entries)}\n`);
  if (json) report.writeJson(json, { quick, entries });
  const others = entries.filter((entry) => !report.isOurs(entry));
  for (const finding of others.flatMap(report.asFindings)) console.log(`  ${finding}`);
  for (const { locking, scenario, otherErrors, serverErrors = [] } of entries) {
    for (const said of [...otherErrors, ...serverErrors]) console.log(`  ${locking}, ${scenario}: ${said}`);
  }
  const broken = entries.filter(report.isOurs).flatMap(report.asFindings);
  if (broken.length > 0) throw new Failure(`What must hold does not:\n  ${broken.join("\n  ")}`);
  console.log("Everything that must hold with this package does.");
}
