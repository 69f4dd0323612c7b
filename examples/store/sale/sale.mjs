// One sale after the other with one locking provider, on two servers of the store and a Redis of their own.

import { startRedis } from "../../../scripts/redis-server.mjs";
import { Accounts } from "./accounts.mjs";
import { nameOf } from "./providers.mjs";
import { entryOf } from "./report.mjs";
import { Progress } from "./screen.mjs";
import { Shop } from "./shop.mjs";
import { environment, startServer } from "./store.mjs";

const SERVER_ERRORS_SHOWN_MAX = 3;

/** The items (`{ name: stock }`) of all scenarios: each has its own with each provider. */
export function itemsOf(providers, scenarios) {
  const stocks = (provider) =>
    scenarios.flatMap(({ items }) => Object.entries(items).map(([item, stock]) => [itemName(provider, item), stock]));
  return Object.fromEntries(providers.flatMap(stocks));
}

function itemName(provider, item) {
  return `${item} (${provider})`;
}

/**
 * Runs all scenarios with one provider; resolves with a row of the report for each.
 *
 * What is opened is given to `opened`, as the functions that end it, and ended here at the end.
 */
export async function sellWith(provider, { scenarios, databaseUrl, seeded, opened }) {
  const before = opened.length;
  const redis = await startRedis();
  opened.push(redis.stop);
  const servers = await startServers(environment({ databaseUrl, redisUrl: redis.url, provider }), provider, opened);
  const accounts = await Accounts.open({ databaseUrl, redisUrl: redis.url });
  opened.push(() => accounts.close());
  const name = (item) => itemName(provider, item);
  const sale = { shop: new Shop(seeded), servers, accounts, name, progress: new Progress() };
  const entries = [];
  for (const scenario of scenarios) entries.push(await runScenario(scenario, sale, provider));
  while (opened.length > before) await opened.pop()();
  return entries;
}

async function startServers(env, provider, opened) {
  const started = performance.now();
  process.stdout.write(`starting two servers with ${nameOf(provider)} ... `);
  const starting = [1, 2].map(async () => {
    const server = await startServer(env);
    opened.push(server.stop);
    return server;
  });
  const servers = await Promise.all(starting);
  console.log(secondsSince(started));
  return servers;
}

async function runScenario({ title, run }, sale, provider) {
  const started = performance.now();
  const entry = entryOf({ title, provider, ...(await run(sale)) });
  if (entry.other > 0) entry.serverErrors = sale.servers.flatMap(lastErrors);
  const refused = entry.requests - entry.accepted;
  sale.progress.end(`  ${title}: ${entry.accepted} accepted, ${refused} refused, ${secondsSince(started)}`);
  return entry;
}

/** The last errors that a server has written to its log: a reply does not say what an unknown error was. */
function lastErrors({ log }) {
  const isError = (line) => line.startsWith('{"level":"error"');
  return log().split("\n").filter(isError).slice(-SERVER_ERRORS_SHOWN_MAX);
}

function secondsSince(started) {
  return `${((performance.now() - started) / 1000).toFixed(1)} s`;
}
