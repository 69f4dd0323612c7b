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
import { requirePostgres, startPostgres } from "./sale/postgres.mjs";
import { environment, installStore, migrate, seed, startServer } from "./sale/store.mjs";

const OURS = "medusa-locking-native";
const MEDUSAS = "@medusajs/medusa/locking-redis";
const NAMES = { [OURS]: "this package", [MEDUSAS]: "`@medusajs/locking-redis`" };

const usage = "usage: npm run store -- [--compare] [--quick] [--json FILE] [--markdown]";

/** What must be ended, the last one first. */
const open = [];

async function closeAll() {
  for (let close = open.pop(); close; close = open.pop()) await close();
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
  const report = await import("./sale/report.mjs");
  const databaseUrl = await startDatabase(programs);
  const providers = options.compare ? [OURS, MEDUSAS] : [OURS];
  const all = scenarios(options);
  const seeded = await fillStore(databaseUrl, itemsOf(providers, all));
  const entries = [];
  for (const locking of providers) entries.push(...(await sellWith(locking, { databaseUrl, seeded, all, entryOf: report.entryOf })));
  conclude(report, entries, options);
}

async function startDatabase(programs) {
  const postgres = await startPostgres(programs);
  open.push(postgres.stop);
  return postgres.url("postgres"); // there is one of this name in every new server
}

/** Every scenario has items of its own with each provider. */
function itemsOf(providers, all) {
  const pairs = providers.flatMap((locking) =>
    all.flatMap(({ items }) => Object.entries(items).map(([item, stock]) => [nameOf(locking, item), stock])),
  );
  return Object.fromEntries(pairs);
}

function nameOf(locking, item) {
  return `${item} (${locking})`;
}

async function fillStore(databaseUrl, items) {
  const redis = await startRedis();
  open.push(redis.stop);
  const env = environment({ databaseUrl, redisUrl: redis.url, locking: OURS });
  await migrate(env);
  return seed(env, items);
}

/** All scenarios with one provider, on two servers and a Redis of their own. */
async function sellWith(locking, { databaseUrl, seeded, all, entryOf }) {
  const { Shop } = await import("./sale/shop.mjs");
  const { Accounts } = await import("./sale/accounts.mjs");
  const { Progress } = await import("./sale/screen.mjs");
  const before = open.length;
  const redis = await startRedis();
  open.push(redis.stop);
  const servers = await startServers(environment({ databaseUrl, redisUrl: redis.url, locking }));
  const accounts = await Accounts.open({ databaseUrl, redisUrl: redis.url });
  open.push(() => accounts.close());
  const sale = { shop: new Shop(seeded), servers, accounts, progress: new Progress(), name: (item) => nameOf(locking, item) };
  const entries = [];
  for (const { title, run } of all) {
    const started = performance.now();
    const entry = entryOf({ title, locking: NAMES[locking], ...(await run(sale)) });
    entries.push(entry);
    sale.progress.end(`  ${title}: ${entry.accepted} of ${entry.requests} accepted, ${((performance.now() - started) / 1000).toFixed(1)} s`);
  }
  while (open.length > before) await open.pop()();
  return entries;
}

async function startServers(env) {
  const started = performance.now();
  process.stdout.write(`starting two servers with ${NAMES[env.LOCKING_PROVIDER]} ... `);
  const starting = [1, 2].map(async () => {
    const server = await startServer(env);
    open.push(server.stop);
    return server;
  });
  const servers = await Promise.all(starting);
  console.log(`${((performance.now() - started) / 1000).toFixed(1)} s`);
  return servers;
}

function conclude(report, entries, { quick, json, markdown }) {
  console.log(`\n${report.asText(entries)}\n`);
  if (markdown) console.log(`${report.asMarkdown(entries)}\n`);
  if (json) report.writeJson(json, { quick, entries });
  const [ours, theirs] = [true, false].map((own) => entries.filter(({ locking }) => (locking === NAMES[OURS]) === own));
  for (const finding of theirs.flatMap(report.asFindings)) console.log(`  ${finding}`);
  for (const { locking, scenario, otherErrors } of entries) {
    for (const said of otherErrors) console.log(`  ${locking}, ${scenario}: a reply was: ${said}`);
  }
  const broken = ours.flatMap(report.asFindings);
  if (broken.length > 0) throw new Failure(`What must hold does not:\n  ${broken.join("\n  ")}`);
  console.log("Everything that must hold with this package does.");
}
