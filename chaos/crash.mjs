// For how long an item cannot be sold after one of two store processes has ended in the middle of selling it.
//
//   node chaos/crash.mjs [--provider native|locking-redis] [--runs N]
//
// Both providers have nothing but their defaults. It needs a build (npm run build; npm test makes one too).

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { main } from "../scripts/command.mjs";
import { requireServer, startRedis } from "../scripts/redis-server.mjs";
import { now } from "./journal.mjs";

const program = fileURLToPath(new URL("seller.mjs", import.meta.url));
/** Longer than the lease of either provider. */
const WAIT_S = 100;

/** How a process may end. SIGTERM is what a deploy sends; Medusa then calls `process.exit(0)`. */
export const ENDS = ["SIGTERM", "SIGKILL"];

/** One process sells, another wants to, and the first one ends by `signal`; resolves with the ms until the other sells. */
export async function crash({ provider, signal }) {
  const redis = await startRedis();
  const env = { ...process.env, SELLER: JSON.stringify({ provider, redisUrl: redis.url, item: "shirt", waitS: WAIT_S }) };
  const sellers = [1, 2].map(() => fork(program, { env, stdio: ["ignore", "ignore", "inherit", "ipc"] }));
  try {
    const [first, second] = sellers;
    await Promise.all(sellers.map((seller) => told(seller, "ready")));
    first.send("hold");
    await told(first, "holds");
    const sold = told(second, "sold");
    second.send("sell");
    const at = now();
    first.kill(signal);
    return (await sold).at - at;
  } finally {
    for (const seller of sellers) if (seller.exitCode === null && seller.signalCode === null) await killed(seller);
    await redis.stop();
  }
}

/** The next message of this type; fails where the process ends before. */
function told(seller, type) {
  return new Promise((resolve, reject) => {
    seller.on("message", (message) => message.type === type && resolve(message));
    seller.once("exit", (code, signal) => reject(new Error(`a seller ended (${signal ?? code}) before it was "${type}"`)));
  });
}

async function killed(seller) {
  const ended = once(seller, "exit");
  seller.kill("SIGKILL");
  await ended;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await main(async () => {
    const { values } = parseArgs({ options: { provider: { type: "string" }, runs: { type: "string", default: "1" } } });
    await requireServer();
    for (const provider of values.provider ? [values.provider] : ["native", "locking-redis"]) {
      for (const signal of ENDS) {
        for (let run = 0; run < Number(values.runs); run += 1) {
          const ms = await crash({ provider, signal });
          console.log(`${provider.padEnd(14)} ${signal}  ${(ms / 1000).toFixed(3)} s`);
        }
      }
    }
  });
}
