// One process of the shop, started by fleet.mjs: waits for orders on its parent's channel, and ends with it.

import { createRequire } from "node:module";
import { lockingModule } from "./medusa.mjs";
import { sell } from "./sale.mjs";
import { RedisStock } from "./stock.mjs";

const TALLY_EVERY_MS = 50;

const { DEMO_REDIS_URL: redisUrl, DEMO_RUN: run } = process.env;

// Ctrl-C reaches every process of the terminal; the parent decides when we end.
process.on("SIGINT", () => {});
process.on("SIGHUP", () => {});
process.on("disconnect", () => process.exit(1));

try {
  const { Redis } = createRequire(import.meta.url)("ioredis");
  const stock = new RedisStock(new Redis(redisUrl), `${run}stock`);
  const locking = await lockingModule({ redisUrl, namespace: `${run}lock:` });
  // From here on there may be locks to give back, which the provider does when the process exits.
  process.on("SIGTERM", () => process.exit(0));
  process.on("message", ({ buyers, locked }) => {
    void sellTo(buyers, { stock, locking: locked ? locking : null });
  });
  process.send({ type: "ready" });
} catch (error) {
  process.send({ type: "failed", reason: error.message });
}

async function sellTo(buyers, { stock, locking }) {
  let toldAt = 0;
  const onChange = ({ sold, served, waiting }) => {
    const now = performance.now();
    if (now - toldAt < TALLY_EVERY_MS) return;
    toldAt = now;
    process.send({ type: "tally", tally: { sold, served, waiting } });
  };
  const result = await sell({ buyers, stock, locking, itemKey: "flash-sale-item", onChange });
  process.send({ type: "done", buyers, result });
}
