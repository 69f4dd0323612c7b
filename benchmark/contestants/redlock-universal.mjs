import { createRequire } from "node:module";
import { HeldLocks, leaseMs } from "./leases.mjs";

const require = createRequire(import.meta.url);
const { Redis } = require("ioredis");
const { createLock, IoredisAdapter, LockManager } = require("redlock-universal");

const patience = { retryAttempts: 1_000_000 };

/** redlock-universal on one server: `createLock` for one key, its manager's batch for several. */
export async function open({ redisUrl, namespace }) {
  const client = new Redis(redisUrl, { lazyConnect: true });
  await client.connect();
  const adapter = new IoredisAdapter(client);
  const manager = new LockManager({ nodes: [adapter], defaultTTL: leaseMs });
  const held = new HeldLocks();
  const lockOf = (key) => createLock({ adapter, key: namespace + key, ttl: leaseMs, ...patience });
  return {
    execute: (keys, job) =>
      Array.isArray(keys)
        ? manager.usingBatch(
            keys.map((key) => namespace + key),
            job,
            patience,
          )
        : lockOf(keys).using(job),
    async acquire(key) {
      const lock = lockOf(key);
      held.put(key, { lock, handle: await lock.acquire() });
    },
    release(key) {
      const { lock, handle } = held.take(key);
      return lock.release(handle);
    },
  };
}
