/** Leases on Redis: renewed whatever the event loop does, never pretended, told of at the deadline when they cannot be kept. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { freshNamespace } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { lockError } from "./support/errors.mjs";
import { connectionOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

let server, admin;
const closing = [];

before(async () => {
  server = await redisServer();
  admin = server.connect();
});
afterEach(async () => {
  server.thaw();
  await Promise.all(closing.splice(0).map((locks) => locks.close()));
  await stopScripts();
});
after(() => server.stop());

function open(options = {}) {
  const namespace = freshNamespace();
  const locks = new Locks({ redisUrl: server.url, namespace, ...options });
  closing.push(locks);
  return { locks, namespace, lockName: `${namespace}k` };
}

/** Holds the key "k" and blocks the event loop for `input.busyMs` inside its job. */
const BUSY_JOB = `
const locks = new Locks(input.options);
const outcome = await locks.execute("k", () => {
  say("inside");
  const end = Date.now() + input.busyMs;
  while (Date.now() < end);
  say("leaves", Date.now());
  return "finished";
}, { expire: input.expire }).then((value) => value, (error) => error.code);
say("outcome", outcome);
`;

test("a job that blocks its event loop for three leases keeps its lock, seen from another process", async () => {
  const { locks, namespace, lockName } = open();
  const child = startScript(BUSY_JOB, { input: { options: { redisUrl: server.url, namespace }, busyMs: 3_600, expire: 1.2 } });
  await child.line("inside");
  const owner = await admin.get(lockName);
  assert.match(owner, new RegExp(`^execute:.+:${child.pid}:`));
  const next = watch(locks.execute("k", () => Date.now(), { timeout: 60 }));
  await until(
    async () => {
      const left = child.lines.some((line) => line.startsWith("leaves"));
      if (!left) assert.equal(await admin.get(lockName), owner);
      return left;
    },
    "the job leaves",
    30_000,
  );
  const entered = await settles(next.promise, "the next job");
  assert.ok(entered >= Number(await child.line("leaves")), "two jobs were inside at once");
  assert.equal(await child.line("outcome"), "finished");
  await child.ends();
});

test("maxStall: a process that hangs for ever stops renewing, and its lock comes free", async () => {
  const { locks, namespace } = open();
  const options = { redisUrl: server.url, namespace, maxStall: 1 };
  const child = startScript(BUSY_JOB, { input: { options, busyMs: 6_000, expire: 1 } });
  await child.line("inside");
  await settles(locks.execute("k", () => "taken over", { timeout: 60 }), "the lock of the hung process comes free");
  assert.ok(!child.lines.some((line) => line.startsWith("leaves")), "it was freed only when the job had ended");
  assert.equal(await child.line("outcome"), "LOCK_LOST");
  await child.ends();
});

test("maxStall: nor does such a process renew when its connection is made anew, again and again", async () => {
  const { locks, namespace } = open();
  const options = { redisUrl: server.url, namespace, maxStall: 1, redisOptions: { connectionName: "stuck" } };
  const child = startScript(BUSY_JOB, { input: { options, busyMs: 8_000, expire: 1.5 } });
  await child.line("inside");
  const next = watch(locks.execute("k", () => "taken over", { timeout: 60 }));
  let connections = 0;
  await until(
    async () => {
      const id = (await connectionOf(admin, "stuck"))?.id;
      if (id !== undefined) connections += await admin.client("KILL", "ID", id);
      await sleep(100);
      return next.state !== "pending";
    },
    "the lock of the hung process comes free",
    30_000,
  );
  assert.equal(await next.promise, "taken over");
  assert.ok(connections > 5, `${connections} connections`);
  assert.ok(!child.lines.some((line) => line.startsWith("leaves")), "it was freed only when the job had ended");
  assert.equal(await child.line("outcome", 30_000), "LOCK_LOST");
  await child.ends();
});

test("renewals go on for as long as the job runs, and end with it", async () => {
  const { locks, namespace, lockName } = open();
  const held = await holding(locks, ["k", "l"], { expire: 0.9 });
  const owner = await admin.get(lockName);
  await stays(async () => (await admin.get(lockName)) === owner, "the lock is there", 2_700);
  assert.ok((await admin.pttl(lockName)) <= 900);
  assert.equal(held.signal.aborted, false);
  assert.equal(await held.end("done"), "done");
  await stays(async () => (await admin.exists(lockName)) === 0, "nothing renews a lock that was given back", 500);
  await nothingLeft(admin, namespace);
});

test("many leases are renewed in few commands", async () => {
  const { locks } = open();
  const held = await Promise.all(Array.from({ length: 100 }, (_, n) => holding(locks, `k${n}`, { expire: 1.5 })));
  const calls = async () => {
    const stats = await admin.info("commandstats");
    const count = (command) => Number(stats.match(new RegExp(`cmdstat_${command}:calls=(\\d+)`))?.[1] ?? 0);
    return count("evalsha") + count("eval") + count("fcall");
  };
  const before = await calls();
  await stays(() => held.every(({ signal }) => !signal.aborted), "all leases are kept", 3_000);
  const used = (await calls()) - before;
  assert.ok(used > 0 && used < 200, `${used} commands renewed 100 leases six times`);
  await Promise.all(held.map(({ end }) => end()));
});

test("leases of large sets are renewed too", async () => {
  const { locks } = open();
  const keys = (n) => Array.from({ length: 1_000 }, (_, i) => `${n}/${i}`);
  const held = await Promise.all(Array.from({ length: 20 }, (_, n) => holding(locks, keys(n), { expire: 2, timeout: 30 })));
  await stays(() => held.every(({ signal }) => !signal.aborted), "all leases are kept", 4_000);
  for (const { end } of held) assert.equal(await end("done"), "done");
});

test("a lock deleted under its job: the signal aborts, execute rejects, the new owner's lock is not touched", async () => {
  const { locks, lockName } = open();
  const held = await holding(locks, ["j", "k"], { expire: 1.5 });
  await admin.set(lockName, "the new owner");
  await until(() => held.signal.aborted, "the signal aborts");
  assert.ok(lockError("LOCK_LOST", /"k"/)(held.signal.reason));
  await assert.rejects(held.end("a result that must not count"), (error) => error === held.signal.reason);
  assert.equal(await admin.get(lockName), "the new owner");
  await until(async () => (await locks.inspect("j")).length === 0, "what was still ours is given back");
});

test("a lock lost unnoticed until the job returns: execute rejects all the same", async () => {
  const { locks, lockName } = open();
  const held = await holding(locks, "k", { expire: 600 });
  await admin.del(lockName);
  assert.equal(held.signal.aborted, false);
  await assert.rejects(held.end("a result that must not count"), lockError("LOCK_LOST"));
  const again = await holding(locks, "k", { expire: 600 });
  await admin.set(lockName, "the new owner");
  await assert.rejects(again.end(), lockError("LOCK_LOST"));
  assert.equal(await admin.get(lockName), "the new owner");
});

test("a job that fails after it lost its lock: execute rejects with the loss and its cause, and the new owner's lock is not touched", async () => {
  const { locks, lockName } = open();
  const held = await holding(locks, "k", { expire: 600 });
  await admin.set(lockName, "the new owner");
  const own = new Error("the job's own");
  held.fail(own);
  await assert.rejects(held.done, (error) => lockError("LOCK_LOST")(error) && error.cause === own);
  assert.equal(await admin.get(lockName), "the new owner");
});

test("Redis hangs past the lease: the signal aborts at the deadline, not after it", async () => {
  const { locks, namespace } = open({ redisOptions: { commandTimeout: 1_000, connectTimeout: 1_000 } });
  const lease = 3_000;
  const held = await holding(locks, "k", { expire: lease / 1_000 });
  const frozen = performance.now();
  server.freeze();
  await until(() => held.signal.aborted, "the signal aborts");
  const passed = performance.now() - frozen;
  assert.ok(lockError("LOCK_LOST")(held.signal.reason));
  // The last renewal was sent at most a third of the lease before the freeze: the deadline lies in the last two thirds.
  assert.ok(passed > lease / 3, `aborted after ${passed} ms, long before the lease could lapse`);
  assert.ok(passed < lease + 500, `aborted after ${passed} ms, when another one may hold the lock`);
  await settles(assert.rejects(held.end("must not count"), (error) => error === held.signal.reason), "execute rejects");
  server.thaw();
  assert.equal(await settles(locks.execute("k", () => "again", { timeout: 30 }), "the key is free"), "again");
  await nothingLeft(admin, namespace);
});

test("Redis hangs for less than the lease: nobody loses anything", async () => {
  const { locks } = open({ redisOptions: { commandTimeout: 500, connectTimeout: 500 } });
  const held = await holding(locks, "k", { expire: 4 });
  server.freeze();
  await stays(() => !held.signal.aborted, "the lease holds", 1_000);
  server.thaw();
  await stays(() => !held.signal.aborted, "the lease was renewed in time", 4_000);
  assert.equal(await held.end("done"), "done");
});

test("a job that ends while Redis hangs, within its lease: its result or its loss, but an answer", async () => {
  const { locks, lockName } = open({ redisOptions: { commandTimeout: 1_000, connectTimeout: 1_000 } });
  const held = await holding(locks, "k", { expire: 3 });
  server.freeze();
  const outcome = watch(held.end("done"));
  await until(() => outcome.state !== "pending", "execute answers");
  if (outcome.state === "rejected") assert.match(outcome.reason.code, /^(LOCK_LOST|REDIS_)/);
  server.thaw();
  await until(async () => (await admin.exists(lockName)) === 0, "the lock is given back or lapses");
});

test("a grant whose answer takes longer than its lease lasts runs no job: the lock may be another one's by then", async (t) => {
  const proxy = await startProxy(server.port);
  t.after(() => proxy.stop());
  const { locks, namespace } = open();
  const late = new Locks({ redisUrl: proxy.url, namespace });
  closing.push(late);
  await late.execute("k", () => {});
  proxy.delayReplies(700);
  let runs = 0;
  const waiting = late.execute("k", () => (runs += 1), { expire: 0.3, timeout: 30 });
  const isGranted = async () => /#[1-9]\d+$/.test((await admin.get(`${namespace}k`)) ?? "");
  await until(isGranted, "the server has granted it");
  await stays(() => runs === 0, "it does not run", 1_500);
  proxy.delayReplies(0);
  await settles(waiting, "answers come in time again");
  assert.equal(runs, 1);
  assert.equal(await locks.execute("k", () => "free", { timeout: 5 }), "free");
});
