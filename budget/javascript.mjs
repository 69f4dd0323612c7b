// Counts a scenario as a store sees it: the built package, in processes of its own, on a real server.

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Failure } from "../scripts/command.mjs";

const store = fileURLToPath(new URL("store.mjs", import.meta.url));

/** So large a nursery that no garbage collection falls into what is counted, and none for having been idle. */
const NURSERY_MB = 128;
const flags = [
  "--expose-gc",
  "--no-memory-reducer",
  `--min-semi-space-size=${NURSERY_MB}`,
  `--max-semi-space-size=${NURSERY_MB}`,
];

/** A store that is stuck. */
const LIMIT_MS = 120_000;

/**
 * @param {import("./scenarios.mjs").Scenario} scenario
 * @param {{ url: string, counts: import("./server-counts.mjs").ServerCounts }} [server] for one on Redis
 * @returns {Promise<Record<string, number>>} counts for each operation
 * @throws {Failure} a store failed
 */
export async function countJavaScript(scenario, server) {
  const options = { namespace: `budget:${scenario.name}:`, ...(server && { redisUrl: server.url }) };
  const stores = Array.from({ length: scenario.processes }, () => startStore(scenario, options));
  try {
    await toAll(stores, "ready");
    await server?.counts.reset();
    stores.forEach(({ go }) => go());
    const own = await toAll(stores, "counts");
    if (own.some(({ collections }) => collections > 0)) {
      throw new Failure(`${scenario.name}: a garbage collection fell into what was counted`);
    }
    const counts = { ...sumOf(own.map((said) => said.counts)), ...(await server?.counts.read()) };
    stores.forEach(({ go }) => go());
    await Promise.all(stores.map(({ ended }) => ended));
    return forEach(scenario.operations * scenario.processes, counts);
  } finally {
    stores.forEach(({ stop }) => stop());
  }
}

function startStore(scenario, options) {
  const child = fork(store, [JSON.stringify({ scenario, options })], {
    execArgv: flags,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  const ended = once(child, "close").then(([code, signal]) => {
    clearTimeout(limit);
    if (code !== 0) throw new Failure(`${scenario.name}: a store ended with ${code ?? signal}\n${errors.trim()}`);
  });
  // Whoever awaits a message hears of it first.
  ended.catch(() => {});
  const limit = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  return {
    ended,
    go: () => child.send({ go: true }),
    stop: () => child.exitCode === null && child.kill("SIGKILL"),
    async says(word) {
      const message = once(child, "message").then(([said]) => said);
      const said = await Promise.race([message, ended]);
      if (said?.[word] === undefined) throw new Failure(`${scenario.name}: a store did not say "${word}"\n${errors}`);
      return said;
    },
  };
}

function toAll(stores, word) {
  return Promise.all(stores.map((one) => one.says(word)));
}

function sumOf(all) {
  return all.reduce((sum, counts) =>
    Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, sum[name] + count])),
  );
}

function forEach(operations, counts) {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count / operations]));
}
