// Every contestant offers `execute(keys, job, {timeout})`, `acquire(keys, {expire})` and `release(keys)` as Medusa's
// ILockingProvider has them. Ours and Medusa's are driven as they are; the peers' files adapt them.
import { createRequire } from "node:module";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * @typedef {object} Contestant
 * @property {string} id unique
 * @property {string} name as the tables show it
 * @property {'memory' | 'redis'} group what it competes in
 * @property {boolean} baseline whether the ratios of its group are to it
 * @property {boolean} peer a lock library that Medusa does not use
 * @property {'scripts' | 'round-trip'} [floor] no contestant but `redis-benchmark`, saying what ours says (`module` then
 *   tells what that is), or only asking for a value as often as ours asks the server
 * @property {boolean} keySets whether one call can take several keys
 * @property {string} manifest the package.json that holds its version
 * @property {string} module the file beside this one whose `open({redisUrl, namespace})` makes it
 */

/** @type {Contestant[]} */
export const contestants = [
  {
    id: "native-memory",
    name: "medusa-locking-native (memory)",
    group: "memory",
    keySets: true,
    manifest: "../../package.json",
    module: "./native.mjs",
  },
  {
    id: "medusa-memory",
    name: "Medusa in-memory",
    group: "memory",
    baseline: true,
    keySets: true,
    manifest: "@medusajs/locking/package.json",
    module: "./medusa-memory.mjs",
  },
  {
    id: "native-redis",
    name: "medusa-locking-native (Redis)",
    group: "redis",
    keySets: true,
    manifest: "../../package.json",
    module: "./native.mjs",
  },
  {
    id: "medusa-redis",
    name: "@medusajs/locking-redis",
    group: "redis",
    baseline: true,
    keySets: true,
    manifest: "@medusajs/locking-redis/package.json",
    module: "./medusa-redis.mjs",
  },
  {
    id: "redlock",
    name: "redlock",
    group: "redis",
    peer: true,
    keySets: true,
    manifest: "../node_modules/redlock/package.json",
    module: "./redlock.mjs",
  },
  {
    id: "redis-semaphore",
    name: "redis-semaphore",
    group: "redis",
    peer: true,
    keySets: false,
    manifest: "../node_modules/redis-semaphore/package.json",
    module: "./redis-semaphore.mjs",
  },
  {
    id: "redlock-universal",
    name: "redlock-universal",
    group: "redis",
    peer: true,
    keySets: true,
    manifest: "../node_modules/redlock-universal/package.json",
    module: "./redlock-universal.mjs",
  },
  {
    id: "floor-scripts",
    name: "redis-benchmark, our two scripts",
    group: "redis",
    floor: "scripts",
    keySets: true,
    manifest: "../../package.json",
    module: "./native.mjs",
  },
  {
    id: "floor-get",
    name: "redis-benchmark, two GETs",
    group: "redis",
    floor: "round-trip",
    keySets: true,
    manifest: "../../package.json",
    module: "./native.mjs",
  },
].map((contestant) => ({ baseline: false, peer: false, floor: null, ...contestant, version: versionIn(contestant.manifest) }));

/** @param {{id: string}} contestant */
export function isOurs({ id }) {
  return id.startsWith("native-");
}

/** Makes the locks of a contestant in this process. */
export async function openContestant(id, { redisUrl }) {
  const contestant = contestants.find((one) => one.id === id);
  const { open } = await import(contestant.module);
  return open({
    redisUrl: contestant.group === "redis" ? redisUrl : undefined,
    // Of one length for all, and one each: what a contestant that was stopped leaves behind must not block the others.
    namespace: `bench-${id}`.padEnd(24, "-") + ":",
  });
}

/** Whether the addon and its TypeScript have been built. */
export function nativeIsBuilt() {
  return existsSync(`${root}dist/native.js`) && readdirSync(root).some((name) => name.endsWith(".node"));
}

function versionIn(manifest) {
  return require(manifest).version;
}
