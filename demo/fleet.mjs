// The flash sale over Redis: several real processes of one shop, each with its share of the buyers, the stock
// in Redis. Everything that it puts there has a name of this run, and goes at the end.

import { fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { startRedis } from "../scripts/redis-server.mjs";
import { Failure, root } from "../scripts/command.mjs";
import { playRounds } from "./flash-sale.mjs";
import * as screen from "./screen.mjs";

const PROCESSES = 4;
/** How long a process may take to end by itself before it is killed, in ms. */
const END_TIMEOUT_MS = 3_000;

const require = createRequire(import.meta.url);
const shopProgram = fileURLToPath(new URL("shop-process.mjs", import.meta.url));

/**
 * The sale in four processes. Without a `url` it runs on a server of its own. Resolves with whether the locked
 * round sold exactly what it should; ended by a signal it cleans up all the same.
 */
export async function sellInFourProcesses({ buyers, stock, url }) {
  const cleanups = [];
  const cleanUp = async () => {
    while (cleanups.length > 0) await cleanups.pop()();
  };
  const signals = onSignal(async (exitCode) => {
    console.log("\nending the shop and removing its keys");
    await cleanUp().catch(() => {});
    process.exit(exitCode);
  });
  try {
    const redisUrl = url ?? (await ownServer(cleanups));
    const redis = await connect(redisUrl, cleanups);
    const run = `locking-native-demo:${randomBytes(4).toString("hex")}:`;
    cleanups.push(() => deleteKeys(redis, run));
    const shops = await openShops({ redisUrl, run }, cleanups);
    screen.headline(`Flash sale: ${buyers} buyers, ${stock} items, ${PROCESSES} processes, locks in Redis`);
    return await playRounds({ buyers, stock }, async (locked, onChange) => {
      await redis.set(`${run}stock`, String(stock));
      return sellInShops(shops, { buyers, locked }, onChange);
    });
  } catch (error) {
    // Shops that a signal ended are no failure; the signal's handler ends this process.
    if (signals.ending) await new Promise(() => {});
    throw error;
  } finally {
    await cleanUp();
    signals.ignore();
  }
}

// Calls the handler for the first signal that asks the process to end, with the exit code that belongs to it.
function onSignal(handler) {
  const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };
  const state = { ending: false, ignore: () => {} };
  const listener = (signal) => {
    if (state.ending) return;
    state.ending = true;
    void handler(exitCodes[signal]);
  };
  for (const signal of Object.keys(exitCodes)) process.on(signal, listener);
  state.ignore = () => Object.keys(exitCodes).forEach((signal) => process.off(signal, listener));
  return state;
}

async function ownServer(cleanups) {
  const server = await startRedis();
  cleanups.push(server.stop);
  console.log(`started a Redis server on port ${server.port}`);
  return server.url;
}

async function connect(url, cleanups) {
  const { Redis } = require("ioredis");
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: null, connectTimeout: 3_000 });
  let reason = "";
  redis.on("error", (error) => {
    reason = error.message || error.code;
  });
  try {
    await redis.connect();
  } catch (error) {
    const { hostname, port } = new URL(url);
    throw new Failure(`Redis at ${hostname}:${port || 6379} cannot be used: ${reason || error.message}`);
  }
  cleanups.push(() => redis.disconnect());
  return redis;
}

// The provider's own keys beside the locks carry the namespace in their names too: one pattern finds all.
async function deleteKeys(redis, run) {
  for await (const keys of redis.scanStream({ match: `*${run}*`, count: 1_000 })) {
    if (keys.length > 0) await redis.unlink(keys);
  }
}

async function openShops({ redisUrl, run }, cleanups) {
  console.log(`starting ${PROCESSES} processes of the shop, each with Medusa's Locking Module`);
  const env = { ...process.env, DEMO_REDIS_URL: redisUrl, DEMO_RUN: run };
  const shops = Array.from({ length: PROCESSES }, () => fork(shopProgram, { cwd: root, env }));
  cleanups.push(() => Promise.all(shops.map(close)));
  await Promise.all(shops.map((shop) => reply(shop, "ready")));
  return shops;
}

// Resolves with the shop's next message of this type; a shop that ends or fails first rejects.
function reply(shop, type, onOther = () => {}) {
  return new Promise((resolve, reject) => {
    const onMessage = (message) => {
      if (message.type === type) settle(() => resolve(message));
      else if (message.type === "failed") settle(() => reject(new Failure(message.reason)));
      else onOther(message);
    };
    const onExit = (code, signal) =>
      settle(() => reject(new Failure(`process ${shop.pid} of the shop ended early (${signal ?? code})`)));
    const settle = (act) => {
      shop.off("message", onMessage);
      shop.off("exit", onExit);
      act();
    };
    shop.on("message", onMessage);
    shop.on("exit", onExit);
  });
}

async function sellInShops(shops, { buyers, locked }, onChange) {
  const tallies = shops.map(() => ({ sold: 0, served: 0, waiting: 0 }));
  const results = await Promise.all(
    shops.map((shop, at) => {
      const share = Math.floor(buyers / shops.length) + (at < buyers % shops.length ? 1 : 0);
      const done = reply(shop, "done", (message) => {
        tallies[at] = message.tally;
        onChange(sum(tallies));
      });
      shop.send({ type: "sell", buyers: share, locked });
      return done;
    }),
  );
  onChange(sum(results.map(({ result, buyers: served }) => ({ sold: result.sold, served, waiting: 0 }))));
  return {
    sold: results.reduce((total, { result }) => total + result.sold, 0),
    errors: results.flatMap(({ result }) => result.errors),
    waitsMs: results.flatMap(({ result }) => result.waitsMs),
    lastedMs: Math.max(...results.map(({ result }) => result.lastedMs)),
  };
}

function sum(tallies) {
  const total = (name) => tallies.reduce((all, tally) => all + tally[name], 0);
  return { sold: total("sold"), served: total("served"), waiting: total("waiting") };
}

async function close(shop) {
  if (shop.exitCode !== null || shop.signalCode !== null) return;
  const exited = new Promise((resolve) => shop.once("exit", resolve));
  shop.kill("SIGTERM");
  const lateKill = setTimeout(() => shop.kill("SIGKILL"), END_TIMEOUT_MS);
  await exited;
  clearTimeout(lateKill);
}
