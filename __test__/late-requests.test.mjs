/**
 * Requests of a connection that is over, which the server reads only now: where it may be told to close that connection, they never
 * run; where the user may not do that, they do, and nothing stays of them all the same.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

const COMMAND_TIMEOUT_MS = 1_000;

let server, admin, proxy, namespace;
const opened = [];
before(async () => {
  server = await redisServer();
  admin = server.connect();
  await admin.call("ACL", "SETUSER", "bound", "on", ">secret", "~*", "&*", "+@all", "-client|kill");
});
beforeEach(async () => {
  proxy = await startProxy(server.port);
  namespace = freshNamespace();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((locks) => locks.close()));
  await proxy.stop();
});
after(() => server.stop());

const value = () => admin.get(`${namespace}k`);

/** `Locks` that are connected, as a user who may close its old connections or, `bound`, one who may not. */
async function open(bound) {
  const login = bound ? "bound:secret@" : "";
  const redisOptions = { commandTimeout: COMMAND_TIMEOUT_MS, connectTimeout: COMMAND_TIMEOUT_MS };
  const locks = new Locks({ redisUrl: `redis://${login}127.0.0.1:${proxy.port}`, namespace, redisOptions });
  opened.push(locks);
  await locks.execute("warm", () => {});
  await locks.acquire("warm", { ownerId: "me" });
  await locks.release("warm", { ownerId: "me" });
  return locks;
}

/** Makes a call whose request stays on its way when its connection ends. */
async function cutBehind(call) {
  proxy.hold("requests");
  const outcome = watch(call());
  await until(() => proxy.held("requests") > 0, "the request is on its way");
  proxy.cut();
  return outcome;
}

/** How many scripts have run. */
async function scriptsRun() {
  const stats = await admin.info("commandstats");
  return [...stats.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** Tells when there has been a moment at which the lock was there. */
function watchForLock() {
  const seen = { there: false, over: false };
  const looking = (async () => {
    while (!seen.over) if ((await value()) !== null) seen.there = true;
  })();
  return { seen, end: () => ((seen.over = true), looking) };
}

test("the server may be told to close it: the request does not run any more", async () => {
  const locks = await open(false);
  const caller = new AbortController();
  const outcome = await cutBehind(() => locks.acquire("k", { ownerId: "me", signal: caller.signal }));
  await settles(outcome.promise, "it is asked for again, over another connection");
  assert.equal(await locks.release("k", { ownerId: "me" }), true);
  proxy.deliver("requests");
  await stays(async () => (await value()) === null, "what comes late does not run", 2 * COMMAND_TIMEOUT_MS);
  await nothingLeft(admin, namespace);
});

describe("the user may not have it closed", () => {
  for (const [title, args] of [["acquire", { ownerId: "me" }], ["acquire without owner", {}]]) {
    test(`${title}: the request runs when its caller has gone and has been cancelled once, and is cancelled again`, async () => {
      const locks = await open(true);
      const caller = new AbortController();
      const outcome = await cutBehind(() => locks.acquire("k", { ...args, signal: caller.signal }));
      const before = await scriptsRun();
      caller.abort();
      await until(() => outcome.state === "rejected", "it is told that it has gone");
      await until(async () => (await scriptsRun()) > before, "it is cancelled");
      const looking = watchForLock();
      proxy.deliver("requests");
      await until(() => looking.seen.there, "the late request has run");
      await until(async () => (await value()) === null, "what it took is given back");
      await looking.end();
      await nothingLeft(admin, namespace);
    });
  }

  test("execute: the request runs before it is asked for again, and the job runs once, under one lock", async () => {
    const locks = await open(true);
    let runs = 0;
    const job = async (_signal, lock) => {
      runs += 1;
      assert.equal(await value(), lock.ownerId);
      return "ran";
    };
    const outcome = await cutBehind(() => locks.execute("k", job, { timeout: 10 }));
    proxy.deliver("requests");
    assert.equal(await settles(outcome.promise, "execute"), "ran");
    assert.equal(runs, 1);
    await stays(async () => (await value()) === null, "nothing takes the lock again", 2 * COMMAND_TIMEOUT_MS);
    await nothingLeft(admin, namespace);
  });

  for (const next of [null, "the next owner"]) {
    test(`a renewal that runs when its job has ended ${next ? "leaves the next one's lock alone" : "does not bring the lock back"}`, async () => {
      const locks = await open(true);
      const held = await holding(locks, "k", { expire: 1.5 });
      proxy.hold("requests");
      await until(() => proxy.held("requests") > 0, "the renewal is on its way");
      proxy.cut();
      assert.equal(await settles(held.end("done"), "the job"), "done");
      await until(async () => (await value()) === null, "the lock is given back, over another connection");
      if (next) await admin.set(`${namespace}k`, next, "PX", 60_000);
      const [before, left] = [await scriptsRun(), await admin.pttl(`${namespace}k`)];
      proxy.deliver("requests");
      await until(async () => (await scriptsRun()) > before, "the renewal has run");
      assert.equal(await value(), next);
      assert.ok((await admin.pttl(`${namespace}k`)) <= left);
      await admin.del(`${namespace}k`);
      await nothingLeft(admin, namespace);
    });
  }
});
