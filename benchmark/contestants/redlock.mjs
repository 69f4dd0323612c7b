import { createRequire } from "node:module";
import { HeldLocks, leaseMs } from "./leases.mjs";

const require = createRequire(import.meta.url);
const { Redis } = require("ioredis");
const Redlock = require("redlock").default;

/** node-redlock on one server. It may try for ever: a contestant that gives up would look fast. */
export async function open({ redisUrl, namespace }) {
  const client = new Redis(redisUrl, { lazyConnect: true });
  await client.connect();
  const redlock = new Redlock([client], { retryCount: -1 });
  const held = new HeldLocks();
  const resources = (keys) => (Array.isArray(keys) ? keys.map((key) => namespace + key) : [namespace + keys]);
  return {
    execute: (keys, job) => redlock.using(resources(keys), leaseMs, job),
    acquire: async (key) => held.put(key, await redlock.acquire(resources(key), leaseMs)),
    release: (key) => held.take(key).release(),
  };
}
