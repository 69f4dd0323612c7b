import { createRequire } from "node:module";
import { HeldLocks, leaseMs } from "./leases.mjs";

const require = createRequire(import.meta.url);
const { Redis } = require("ioredis");
const { Mutex } = require("redis-semaphore");

const patienceMs = 600_000;

/** redis-semaphore's Mutex, one object per lock as its manual shows. It takes one key at a time. */
export async function open({ redisUrl, namespace }) {
  const client = new Redis(redisUrl, { lazyConnect: true });
  await client.connect();
  const held = new HeldLocks();
  const mutexOf = (key) =>
    new Mutex(client, namespace + key, { lockTimeout: leaseMs, acquireTimeout: patienceMs });
  return {
    async execute(key, job) {
      const mutex = mutexOf(key);
      await mutex.acquire();
      try {
        return await job();
      } finally {
        await mutex.release();
      }
    },
    async acquire(key) {
      const mutex = mutexOf(key);
      await mutex.acquire();
      held.put(key, mutex);
    },
    release: (key) => held.take(key).release(),
  };
}
