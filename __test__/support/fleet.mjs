/** Several clients on one Redis server, as a fleet of processes has them, and what the server shows of their queues. */
import assert from "node:assert/strict";
import { freshNamespace } from "./backends.mjs";
import { Locks } from "./product.mjs";
import { allKeys, foreignConnections, redisServer } from "./redis.mjs";
import { until } from "./waiting.mjs";

/** Clients ask again once a second whatever these say: who is served sooner was told by the server. */
export const RARE_POLLS = { defaultRetryInterval: 600_000, maximumRetryInterval: 600_000 };

/** Starts a server, and a connection `admin` to look at it with. */
export async function fleetServer(args) {
  const server = await redisServer(args);
  const admin = server.connect();
  const opened = [];

  /**
   * Opens `count` `Locks` of one namespace, each with a connection and places in the queues of its own: to Redis, they are
   * so many processes. `lock(key)` is what a key is called in Redis, `options` what another process needs to join.
   */
  function fleet(count, options = {}) {
    const shared = { redisUrl: server.url, namespace: freshNamespace(), ...options };
    const clients = Array.from({ length: count }, () => new Locks(shared));
    opened.push(...clients);
    return { clients, options: shared, namespace: shared.namespace, lock: (key) => `${shared.namespace}${key}` };
  }

  const closeAll = () => Promise.all(opened.splice(0).map((locks) => locks.close()));

  /**
   * Closes every client, and waits until nothing is left on the server but counters of fencing tokens, and what `mayStay` says
   * of a key's name. Then empties the server: what one test left is not the next one's.
   */
  async function leaveNothing(mayStay = () => false) {
    await closeAll();
    const left = async () => {
      const keys = await allKeys(admin);
      return keys.filter((key) => !key.startsWith("locking-native:fence:") && !mayStay(key));
    };
    try {
      const gone = until(async () => (await left()).length === 0, "only counters of fencing tokens are left");
      await gone.catch(async () => assert.deepEqual(await left(), []));
    } finally {
      await admin.flushall();
    }
  }

  return { server, admin, fleet, closeAll, leaveNothing };
}

/** What the queue of a lock is called, or undefined where there is none. */
export async function queueName(admin, lock) {
  const keys = await allKeys(admin);
  return keys.find((key) => /^locking-native:\{[^}]*\}:queue:/.test(key) && key.endsWith(`}:queue:${lock}`));
}

/** Who waits for a lock, in the order of their turns. What else stands in a queue has a score below 0. */
export async function waitersOf(admin, lock) {
  const name = await queueName(admin, lock);
  return name === undefined ? [] : admin.zrangebyscore(name, 0, "+inf");
}

/** Waits until this many wait for a lock. */
export const queued = (admin, lock, count) =>
  until(async () => (await waitersOf(admin, lock)).length === count, `${count} in the queue of ${lock}`);

/** Waits until a process waits for a lock, for whatever sets. */
export const waitsIn = (admin, lock, pid) =>
  until(async () => (await waitersOf(admin, lock)).some((name) => name.includes(`:${pid}:`)), `${pid} in the queue of ${lock}`);

/** The channels on which clients are told of their turns. */
export const inboxes = (admin) => admin.pubsub("CHANNELS", "locking-native:inbox:*");

/** The connection of the client with this `connectionName`: its id and how many channels it listens to, or undefined. */
export async function connectionOf(admin, name) {
  const line = (await foreignConnections(admin)).find((entry) => entry.includes(` name=${name} `));
  return line && { id: line.match(/\bid=(\d+)/)[1], channels: Number(line.match(/\bsub=(\d+)/)[1]) };
}

/** How often the server was asked for a command since `CONFIG RESETSTAT`. */
export async function calls(admin, ...commands) {
  const stats = await admin.info("commandstats");
  const of = (command) => Number(stats.match(new RegExp(`cmdstat_${command}:calls=(\\d+)`))?.[1] ?? 0);
  return commands.reduce((sum, command) => sum + of(command), 0);
}

/** How many scripts the server was asked to run since `CONFIG RESETSTAT`. */
export const scriptCalls = (admin) => calls(admin, "eval", "evalsha");

export function median(numbers) {
  const sorted = [...numbers].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)];
}
