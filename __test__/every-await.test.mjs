/**
 * Every step of a lock's life, with each way in which the wait for the server's answer can end: the answer comes, is an error, comes
 * late, never comes, or nobody is there any more to hear it. Each cell says what the caller is told, and what stands in Redis
 * afterwards: nothing, or what the caller was told that it has.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import { freshNamespace } from "./support/backends.mjs";
import { queued } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { LEASE_MS, STEPS, TIMEOUT_MS } from "./support/lock-steps.mjs";
import { Locks } from "./support/product.mjs";
import { DIRECTIONS, startProxy } from "./support/proxy.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

const COMMAND_TIMEOUT_MS = 1_000;
/** How much later an answer is that is late, in each direction: two of them are well within every timeout here. */
const SLOW_MS = 150;
/** How long `close` waits for the server. */
const CLOSE_MS = 2_000;
const GRACE_MS = 50;
/** How much later than promised an answer may come on a slow machine. */
const MARGIN_MS = 4_000;

let server, admin, proxy, direct, namespace, locks;
before(async () => {
  server = await redisServer();
  admin = server.connect();
});
beforeEach(async () => {
  proxy = await startProxy(server.port);
  namespace = freshNamespace();
  direct = new Locks({ redisUrl: server.url, namespace });
  locks = new Locks(options());
  await locks.execute("warm", () => {});
});
afterEach(async () => {
  proxy.accept();
  await Promise.all([locks.close(), direct.close()]);
  await proxy.stop();
});
after(() => server.stop());

const options = () => ({
  redisUrl: proxy.url,
  namespace,
  shutdownGrace: GRACE_MS / 1_000,
  redisOptions: { commandTimeout: COMMAND_TIMEOUT_MS, connectTimeout: COMMAND_TIMEOUT_MS },
});
const lock = () => `${namespace}k`;

/** The next request does not reach the server, and nothing passes any more. */
const loseRequest = () => void proxy.answerNext("").then(proxy.mute);

/** It does, and is carried out, and the answer does not come back, nor anything else. */
async function loseReply() {
  proxy.hold("requests");
  await until(() => proxy.held("requests") > 0, "the step is taken");
  const lost = proxy.breakAfter("replies", 0, "silence");
  proxy.deliver("requests");
  await lost;
  proxy.mute();
}

/** What is done before a step is taken, so that the wait for its answer ends in one of these ways. */
const WAYS = {
  ok: () => {},
  error: () => void proxy.answerNext("-ERR the test says no\r\n"),
  "not now": () => void proxy.answerNext("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
  slow: () => DIRECTIONS.forEach((direction) => proxy.delay(direction, SLOW_MS)),
  "request lost": loseRequest,
  "reply lost": loseReply,
  dropped: () => proxy.hold("requests"),
};

/** What a caller is told of each step in each of these ways, and how long that may take. */
const TOLD = {
  acquire: { ms: COMMAND_TIMEOUT_MS, ok: "done", slow: "done", error: "REDIS_ERROR", "not now": "REDIS_ERROR", lost: "REDIS_UNREACHABLE" },
  execute: { ms: TIMEOUT_MS, ok: "ran", slow: "ran", error: "REDIS_ERROR", "not now": "ran", lost: "REDIS_UNREACHABLE" },
  wait: { ms: TIMEOUT_MS, ok: "ran", slow: "ran", error: "REDIS_ERROR", "not now": "ran", lost: "REDIS_UNREACHABLE" },
  claim: { ms: TIMEOUT_MS, ok: "ran", slow: "ran", error: "REDIS_ERROR", "not now": "ran", lost: "REDIS_UNREACHABLE" },
  renew: { ms: LEASE_MS * 1.3, ok: "ran", slow: "ran", error: "ran", "not now": "ran", lost: "LOCK_LOST" },
  finish: { ms: COMMAND_TIMEOUT_MS, ok: "ran", slow: "ran", error: "ran", "not now": "ran", lost: "ran" },
  release: { ms: COMMAND_TIMEOUT_MS, ok: true, slow: true, error: "REDIS_ERROR", "not now": "REDIS_ERROR", lost: "REDIS_UNREACHABLE" },
  cancel: { ms: 0, ok: "AbortError", slow: "AbortError", error: "AbortError", "not now": "AbortError", lost: "AbortError" },
  close: { ms: GRACE_MS + CLOSE_MS, ok: "done", slow: "done", error: "done", "not now": "done", lost: "done" },
};

/** Where a lock stands afterwards: who has been told that it is its own, or has not been told that it is released. */
const STAYS = {
  acquire: ["ok", "slow"],
  release: ["error", "not now", "request lost"],
};

const expected = (step, way) => TOLD[step][way.endsWith("lost") ? "lost" : way];

/** How an outcome is called in the table. */
const nameOf = ({ state, value, reason }) => (state === "fulfilled" ? (value ?? "done") : reason.name === "AbortError" ? reason.name : reason.code);

/** Somebody else holds the lock, where a step needs that. */
const holderFor = async ({ behind }) => (behind ? holding(direct, "k", { expire: 60 }) : undefined);

/** The one behind whom a step is taken releases: at once, or when the step has got it into the queue, or has come to nothing. */
async function letGo(holder, { queued: waits }, outcome) {
  if (!waits) {
    const inQueue = queued(admin, lock(), 1).catch(() => {});
    await Promise.race([inQueue, outcome.promise.catch(() => {})]);
  }
  await holder?.end();
}

/** Nobody is kept from the lock by what is left of a step, and that is gone soon. */
async function nothingStays() {
  assert.equal(await settles(direct.execute("k", () => "next", { timeout: 10 }), "the next one"), "next");
  await nothingLeft(admin, namespace);
}

async function checkCell(step, way) {
  const { prepare, act, ...kind } = STEPS[step];
  const { signal } = new AbortController();
  const holder = await holderFor(kind);
  const prepared = await prepare?.(locks, signal);
  if (kind.queued) await queued(admin, lock(), 1);
  const arranged = WAYS[way]();
  const start = performance.now();
  const outcome = watch(act(locks, signal, prepared));
  const released = kind.behind && letGo(holder, step === "cancel" ? {} : kind, outcome);
  await until(() => outcome.state !== "pending", "the caller is answered");
  const ms = performance.now() - start;
  await arranged;
  proxy.accept();
  await released;
  assert.equal(nameOf(outcome), expected(step, way), outcome.reason?.stack);
  assert.ok(ms <= TOLD[step].ms + MARGIN_MS, `told after ${ms} ms`);
  if (step === "close") await assert.rejects(prepared.end("must not count"), { code: "LOCK_LOST" });
  if (STAYS[step]?.includes(way)) {
    assert.equal(await admin.get(lock()), "me");
    assert.equal(await direct.release("k", { ownerId: "me" }), true);
  }
  await nothingStays();
}

for (const step of Object.keys(STEPS)) {
  describe(step, () => {
    for (const way of Object.keys(WAYS).filter((name) => name !== "dropped")) {
      const stays = STAYS[step]?.includes(way) ? "the lock stays" : "nothing stays";
      test(`${way}: the caller is told ${expected(step, way)}, and ${stays}`, () => checkCell(step, way));
    }

    if (["acquire", "execute", "wait", "claim"].includes(step)) {
      test("dropped by its caller while the answer is on its way: nothing stays", async () => {
        const { prepare, act, ...kind } = STEPS[step];
        const caller = new AbortController();
        const holder = await holderFor(kind);
        const prepared = await prepare?.(locks, caller.signal);
        if (kind.queued) await queued(admin, lock(), 1);
        WAYS.dropped();
        const outcome = watch(act(locks, caller.signal, prepared));
        if (kind.queued) await holder.end();
        await answerIsOnItsWay();
        caller.abort();
        await until(() => outcome.state !== "pending", "the caller is answered");
        assert.equal(outcome.reason, caller.signal.reason);
        DIRECTIONS.forEach(proxy.deliver);
        await holder?.end();
        await nothingStays();
      });
    }

    test("dropped with its thread while the answer is on its way: nothing stays", async () => {
      const kind = STEPS[step];
      const holder = await holderFor(kind);
      const thread = new Worker(new URL("./support/lock-steps-thread.mjs", import.meta.url), {
        workerData: { options: options(), step },
      });
      await once(thread, "message");
      if (kind.queued) await queued(admin, lock(), 1);
      WAYS.dropped();
      thread.postMessage("go");
      if (step === "claim") await holder.end();
      await answerIsOnItsWay();
      await thread.terminate();
      DIRECTIONS.forEach(proxy.deliver);
      await holder?.end();
      await nothingStays();
    });
  });
}

/** The server has carried out what the step asked for, and the answer is held back. */
async function answerIsOnItsWay() {
  await until(() => proxy.held("requests") > 0, "the step is taken");
  proxy.hold("replies");
  proxy.deliver("requests");
  await until(() => proxy.held("replies") > 0, "it is answered");
}
