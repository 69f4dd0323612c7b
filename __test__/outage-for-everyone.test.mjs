/**
 * One outage after the other, and for each: what a job that holds a lock sees of it, one that waits behind it, whoever calls
 * meanwhile, and whoever calls when Redis is back.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { freshNamespace } from "./support/backends.mjs";
import { queued } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

const COMMAND_TIMEOUT_MS = 500;
/** Within this time of Redis being back, locks can be had again. */
const BACK_WITHIN_MS = 2_000;
/** How much later than promised an answer may come on a slow machine. */
const MARGIN_MS = 4_000;

const folders = [];
after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

/** The arguments of a server that has its data when it is started again. */
function lasting() {
  const folder = mkdtempSync(join(tmpdir(), "locking-native-test-"));
  folders.push(folder);
  return ["--dir", folder, "--appendonly", "yes", "--appendfsync", "always"];
}

/** `act` again and again, until the outage is over. */
function repeatedly(act, pauseMs) {
  let over = false;
  const loop = (async () => {
    while (!over) {
      await act();
      await sleep(pauseMs);
    }
  })();
  return () => ((over = true), loop);
}

/** The end of a password that is not ours: the connections that there are would stay without this. */
async function changePassword({ admin }) {
  await admin.config("SET", "requirepass", "another");
  await admin.client("KILL", "SKIPME", "yes");
}

/**
 * `begin` may answer how it ends, else `end` does. `ms`: how long it lasts. `leaseMs`: of the job that holds. `keeps`: that one
 * keeps its lock, and so does an owner; or it is told that it has lost it. `forgets`: the server does, what was locked.
 * `serves`: callers are served meanwhile.
 */
const OUTAGES = {
  "killed, and back empty, which is another run": {
    begin: ({ server }) => server.kill(),
    end: ({ server }) => server.restart(),
    ...{ ms: 500, leaseMs: 4_000, keeps: false, forgets: true },
  },
  "killed, and back with its data": {
    args: lasting,
    begin: ({ server }) => server.kill(),
    end: ({ server }) => server.restart(),
    ...{ ms: 500, leaseMs: 8_000, keeps: true },
  },
  "killed, and back with its data when the lease has lapsed": {
    args: lasting,
    begin: ({ server }) => server.kill(),
    end: ({ server }) => server.restart(),
    ...{ ms: 2_500, leaseMs: 1_500, keeps: false },
  },
  "hung for less than a lease": {
    begin: ({ server }) => server.freeze(),
    end: ({ server }) => server.thaw(),
    ...{ ms: 1_500, leaseMs: 8_000, keeps: true },
  },
  "hung for more than a lease": {
    begin: ({ server }) => server.freeze(),
    end: ({ server }) => server.thaw(),
    ...{ ms: 3_000, leaseMs: 1_500, keeps: false },
  },
  "out of memory": {
    begin: ({ admin }) => admin.config("SET", "maxmemory-policy", "noeviction", "maxmemory", "1"),
    end: ({ admin }) => admin.config("SET", "maxmemory", "0"),
    ...{ ms: 2_500, leaseMs: 1_500, keeps: true },
  },
  "a replica that cannot be written to, for less than a lease": {
    begin: ({ admin }) => admin.replicaof("127.0.0.1", "1"),
    end: ({ admin }) => admin.replicaof("NO", "ONE"),
    ...{ ms: 1_000, leaseMs: 8_000, keeps: true },
  },
  "a replica that cannot be written to, for more than a lease": {
    begin: ({ admin }) => admin.replicaof("127.0.0.1", "1"),
    end: ({ admin }) => admin.replicaof("NO", "ONE"),
    ...{ ms: 3_000, leaseMs: 1_500, keeps: false },
  },
  "the password changed, and changed back within a lease": {
    begin: changePassword,
    end: ({ admin }) => admin.config("SET", "requirepass", ""),
    ...{ ms: 1_000, leaseMs: 8_000, keeps: true },
  },
  "the password changed, and changed back after a lease": {
    begin: changePassword,
    end: ({ admin }) => admin.config("SET", "requirepass", ""),
    ...{ ms: 3_000, leaseMs: 1_500, keeps: false },
  },
  "connections cut every 50 ms": {
    begin: ({ admin }) => repeatedly(() => admin.client("KILL", "SKIPME", "yes"), 50),
    ...{ ms: 2_500, leaseMs: 8_000, keeps: true, serves: true },
  },
  "scripts flushed all the time": {
    begin: ({ admin }) => repeatedly(() => admin.script("FLUSH"), 1),
    ...{ ms: 2_500, leaseMs: 2_500, keeps: true, serves: true },
  },
};

async function open(args) {
  const server = await redisServer(args);
  const namespace = freshNamespace();
  const redisOptions = { commandTimeout: COMMAND_TIMEOUT_MS, connectTimeout: COMMAND_TIMEOUT_MS };
  const options = { redisUrl: server.url, namespace, redisOptions };
  const [holder, waiter, caller] = [1, 2, 3].map(() => new Locks(options));
  const close = async () => {
    server.thaw();
    await Promise.all([holder, waiter, caller].map((locks) => locks.close()));
    await server.stop();
  };
  return { server, namespace, holder, waiter, caller, admin: server.connect(), lock: `${namespace}k`, close };
}

const TOLD_NO = /^(REDIS_UNREACHABLE|REDIS_ERROR|LOCK_TIMEOUT)$/;

/** Load of callers who want keys of their own, for as long as the outage lasts: each is answered within its timeout. */
async function callMeanwhile({ caller }, isOver, { serves }) {
  const calls = {
    execute: { call: (n) => caller.execute(`execute${n}`, () => "ran", { timeout: 1 }), ms: 1_000 },
    "execute of many": { call: (n) => caller.execute([`a${n}`, `b${n}`], () => "ran", { timeout: 1 }), ms: 1_000 },
    "execute that tries once": { call: (n) => caller.execute(`once${n}`, () => "ran", { timeout: 0 }), ms: COMMAND_TIMEOUT_MS },
    acquire: { call: (n) => caller.acquire(`acquire${n}`, { ownerId: "me", expire: 60 }), ms: COMMAND_TIMEOUT_MS },
    release: { call: (n) => caller.release(`free${n}`, { ownerId: "me" }), ms: COMMAND_TIMEOUT_MS },
    inspect: { call: () => caller.inspect("free"), ms: COMMAND_TIMEOUT_MS },
  };
  const told = { yes: 0, no: 0 };
  const loops = Object.entries(calls).map(async ([what, { call, ms }]) => {
    for (let n = 0; n === 0 || !isOver(); n += 1) {
      await settles(call(n), what, ms + MARGIN_MS).then(
        () => (told.yes += 1),
        (error) => {
          assert.match(String(error.code), TOLD_NO, error.stack);
          told.no += 1;
        },
      );
      await sleep(5);
    }
  });
  await Promise.all(loops);
  assert.ok(serves ? told.yes > 0 : told.no > 0, JSON.stringify(told));
}

/** A lock can be had within two seconds and a margin. Answers how long it took. */
async function serviceReturns({ caller }) {
  const start = performance.now();
  const tries = () => caller.execute("again", () => "served", { timeout: 1 }).catch((error) => void assert.match(String(error.code), TOLD_NO));
  assert.equal(await until(tries, "the service returns by itself", BACK_WITHIN_MS + MARGIN_MS), "served");
  return Math.round(performance.now() - start);
}

/** The job ends, and is told what is so. */
async function endHolder(held, { keeps }) {
  if (keeps) {
    assert.equal(held.signal.aborted, false, held.signal.reason?.stack);
    return assert.equal(await settles(held.end("done"), "the holder"), "done");
  }
  await until(() => held.signal.aborted, "the holder is told");
  assert.equal(held.signal.reason.code, "LOCK_LOST");
  assert.equal(held.signal.reason.key, "k");
  await assert.rejects(held.end("must not count"), (error) => error === held.signal.reason);
}

async function goThrough(outage, t) {
  const stage = await open(outage.args?.());
  try {
    const { holder, waiter, admin, lock } = stage;
    await holder.acquire("owned", { ownerId: "me" });
    const held = await holding(holder, "k", { expire: outage.leaseMs / 1_000 });
    const waiting = watch(waiter.execute("k", (_signal, { fencingToken }) => fencingToken, { timeout: 60 }));
    await queued(admin, lock, 1);

    const stop = await outage.begin(stage);
    const releasing = watch(holder.release("owned", { ownerId: "me" }));
    let over = false;
    const calling = callMeanwhile(stage, () => over, outage);
    await sleep(outage.ms);
    // Who cannot renew is told at its deadline, not when Redis is back.
    if (!outage.keeps && !outage.forgets) assert.equal(held.signal.aborted, true, "the holder is told at its deadline");
    await (typeof stop === "function" ? stop() : outage.end(stage));
    over = true;
    t.diagnostic(`served again after ${await serviceReturns(stage)} ms`);
    await settles(calling, "whoever called meanwhile");

    await until(() => releasing.state !== "pending", "who releases is answered");
    if (releasing.state === "rejected") assert.match(String(releasing.reason.code), TOLD_NO, releasing.reason.stack);
    else assert.equal(releasing.value || outage.forgets, true, "it was its own");
    await endHolder(held, outage);
    const token = await settles(waiting.promise, "the one that waits");
    assert.ok(token > held.lock.fencingToken);

    for (const locks of [holder, stage.caller]) await locks.releaseAll({ ownerId: "me" });
    await until(async () => (await holder.inspect()).length === 0, "nothing is locked");
    await nothingLeft(admin, stage.namespace);
  } finally {
    await stage.close();
  }
}

// Most of each is waiting.
describe("everybody gets through an outage", { concurrency: 3 }, () => {
  for (const [title, outage] of Object.entries(OUTAGES)) test(title, (t) => goThrough(outage, t));
});
