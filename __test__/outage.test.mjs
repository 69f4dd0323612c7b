/**
 * Redis away, hung, restarted or refusing: nobody waits past the timeout, nothing crashes, nothing stays locked for a caller that
 * was told no, and the service returns by itself.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { lockError } from "./support/errors.mjs";
import { queued } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { allKeys, nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

/** How much later than promised an answer may come on a slow machine. */
const MARGIN_MS = 4_000;
const COMMAND_TIMEOUT_MS = 1_000;
/** For how long connections are cut under load. */
const LOAD_MS = 3_000;

const closing = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((locks) => locks.close()));
});

function open(server, options = {}) {
  const redisOptions = { commandTimeout: COMMAND_TIMEOUT_MS, connectTimeout: COMMAND_TIMEOUT_MS };
  const locks = new Locks({ redisUrl: server.url, namespace: freshNamespace(), redisOptions, ...options });
  closing.push(locks);
  return locks;
}

const REDIS_FAILURE = /^(REDIS_UNREACHABLE|REDIS_ERROR)$/;
const TOLD_NO = /^(REDIS_UNREACHABLE|REDIS_ERROR|LOCK_TIMEOUT|LOCK_HELD)$/;

/** Fails unless `call` is rejected with a code like `code` before `ms` and the margin have passed. */
const refusedWithin = (call, ms, what, code = TOLD_NO) =>
  settles(assert.rejects(call, (error) => (assert.match(String(error.code), code, error.stack), true)), what, ms + MARGIN_MS);

/** Every kind of call, each with how long it may take. No two want the same key: none is refused because of another. */
const everyCall = (locks) => [
  ["execute", locks.execute("a", () => assert.fail("ran"), { timeout: 1.5 }), 1_500],
  ["execute with timeout 0", locks.execute("b", () => assert.fail("ran"), { timeout: 0 }), COMMAND_TIMEOUT_MS],
  ["execute of many", locks.execute(["c", "d", "e"], () => assert.fail("ran"), { timeout: 1.5 }), 1_500],
  ["acquire", locks.acquire("f", { ownerId: "me" }), COMMAND_TIMEOUT_MS],
  ["acquire without owner", locks.acquire("g"), COMMAND_TIMEOUT_MS],
  ["acquire in the queue", locks.acquire("h", { ownerId: "me", awaitQueue: true, timeout: 1.5 }), 1_500],
  ["release", locks.release("i", { ownerId: "me" }), COMMAND_TIMEOUT_MS],
  ["releaseAll", locks.releaseAll({ ownerId: "me" }), COMMAND_TIMEOUT_MS],
  ["inspect", locks.inspect(), COMMAND_TIMEOUT_MS],
];

/** Fails unless a lock can be had within two seconds and the margin: the service has returned by itself. */
async function serviceReturns(locks, keys = "k") {
  const tries = async () => {
    try {
      return await locks.execute(keys, () => "served", { timeout: 1 });
    } catch (error) {
      assert.match(String(error.code), REDIS_FAILURE, error.stack);
      return undefined;
    }
  };
  assert.equal(await until(tries, "the service returns by itself", 2_000 + MARGIN_MS), "served");
}

/** Fails unless nobody was left a lock, not even by what was on its way when its caller was told no. */
const nothingLocked = (locks) => until(async () => (await locks.inspect()).length === 0, "nothing is locked");

describe("Redis comes and goes", () => {
  let server;
  beforeEach(async () => {
    server = await redisServer();
  });
  afterEach(() => server.stop());

  test("away at boot: calls fail by name within their timeout; it appears: they work", async () => {
    await server.kill();
    const locks = open(server);
    const place = new RegExp(`127\\.0\\.0\\.1:${server.port}`);
    await Promise.all(everyCall(locks).map(([what, call, ms]) => refusedWithin(call, ms, what, /^REDIS_UNREACHABLE$/)));
    await assert.rejects(locks.acquire("k"), lockError("REDIS_UNREACHABLE", place));
    await server.restart();
    await serviceReturns(locks);
  });

  test("away at boot, with a caller that waits: it is served once Redis appears", async () => {
    await server.kill();
    const locks = open(server);
    const waiter = watch(locks.execute("k", () => "served", { timeout: 60 }));
    await refusedWithin(locks.acquire("other"), COMMAND_TIMEOUT_MS, "one that does not wait");
    await server.restart();
    assert.equal(await settles(waiter.promise, "the one that waits"), "served");
  });

  test("hung: every caller is answered within its timeout, and after that nothing is locked", async () => {
    const namespace = freshNamespace();
    const locks = open(server, { namespace });
    await locks.execute("warm", () => {});
    server.freeze();
    await Promise.all(everyCall(locks).map(([what, call, ms]) => refusedWithin(call, ms, what)));
    server.thaw();
    await serviceReturns(locks);
    await nothingLocked(locks);
    await nothingLeft(server.connect(), namespace);
  });

  test("closed while it is out of reach: every call under way is answered, and close itself ends", async () => {
    for (const outOfReach of [() => server.freeze(), () => server.kill()]) {
      const [used, unused] = [open(server), open(server)];
      await used.execute("warm", () => {});
      await outOfReach();
      for (const locks of [used, unused]) {
        const calls = everyCall(locks);
        const closed = locks.close();
        await Promise.all(calls.map(([what, call, ms]) => refusedWithin(call, ms, what, /^(CLOSED|REDIS_UNREACHABLE)$/)));
        await settles(closed, "close");
      }
      server.thaw();
    }
  });

  test("hung before the first connection: the same", async () => {
    server.freeze();
    const locks = open(server);
    await Promise.all(everyCall(locks).map(([what, call, ms]) => refusedWithin(call, ms, what, REDIS_FAILURE)));
    server.thaw();
    await serviceReturns(locks);
    await nothingLocked(locks);
  });

  test("hung, and a hundred callers on a hundred keys: all answered, all free afterwards", async () => {
    const locks = open(server);
    await locks.execute("warm", () => {});
    server.freeze();
    const calls = Array.from({ length: 100 }, (_, n) => locks.execute(`k${n}`, () => assert.fail("ran"), { timeout: 1 }));
    await Promise.all(calls.map((call, n) => refusedWithin(call, 1_000, `caller ${n}`)));
    server.thaw();
    await serviceReturns(locks);
    await nothingLocked(locks);
  });

  test("killed and restarted empty: jobs are told that their locks are gone, waiters go on, the service returns", async () => {
    const locks = open(server);
    const held = await holding(locks, "k", { expire: 3 });
    const waiter = watch(locks.execute("k", () => "next", { timeout: 60 }));
    const elsewhere = watch(locks.acquire("l", { ownerId: "me" }));
    await elsewhere.promise;
    await server.kill();
    await refusedWithin(locks.acquire("m"), COMMAND_TIMEOUT_MS, "acquire meanwhile", /^REDIS_UNREACHABLE$/);
    await server.restart();
    await serviceReturns(locks, "n");
    await until(() => held.signal.aborted, "the job is told");
    await assert.rejects(held.end("must not count"), lockError("LOCK_LOST"));
    assert.equal(await settles(waiter.promise, "the one that waited"), "next");
    assert.equal(await locks.release("l", { ownerId: "me" }), false);
  });

  test("still loading its data: callers are answered, and served once it has loaded", async () => {
    const folder = mkdtempSync(join(tmpdir(), "locking-native-test-"));
    const data = ["--dir", folder, "--dbfilename", "data.rdb"];
    await server.stop();
    server = await redisServer([...data, "--enable-debug-command", "local"]);
    const admin = server.connect();
    await admin.call("DEBUG", "POPULATE", "10000");
    await admin.save();
    const locks = open(server);
    await server.kill();
    const loading = server.restart([...data, "--key-load-delay", "250", "--loading-process-events-interval-bytes", "1024"]);
    const codes = [];
    let messages = "";
    await until(async () => {
      const refused = await locks.acquire("k", { ownerId: "me" }).then(() => undefined, (error) => error);
      if (refused) codes.push(refused.code), (messages += `${refused.message}\n`);
      return refused === undefined;
    }, "it has loaded");
    assert.match(messages, /LOADING/);
    for (const code of codes) assert.match(code, REDIS_FAILURE);
    await loading;
    rmSync(folder, { recursive: true, force: true });
  });
});

describe("Redis refuses", () => {
  let server, admin;
  before(async () => {
    server = await redisServer();
    admin = server.connect();
  });
  after(() => server.stop());

  test("SCRIPT FLUSH at any time goes unnoticed", async () => {
    const locks = open(server);
    const flush = () => admin.script("FLUSH");
    await locks.acquire("k", { ownerId: "me", expire: 60 });
    await flush();
    await locks.acquire("k", { ownerId: "me" });
    await flush();
    assert.equal((await locks.inspect()).length, 1);
    await flush();
    await assert.rejects(locks.acquire("k"), lockError("LOCK_HELD"));
    await flush();
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
    const held = await holding(locks, ["a", "b"], { expire: 0.9 });
    const waiter = locks.execute("b", () => "next", { timeout: 60 });
    const end = performance.now() + 2_000;
    while (performance.now() < end) await flush();
    assert.equal(held.signal.aborted, false);
    await held.end();
    assert.equal(await settles(waiter, "the next one"), "next");
    await flush();
    await locks.acquire("k", { ownerId: "me" });
    await flush();
    await locks.releaseAll({ ownerId: "me" });
    assert.deepEqual(await locks.inspect(), []);
  });

  test("another type under a lock's key: the error names the key, the foreign value stays, nothing else is taken", async () => {
    const namespace = freshNamespace();
    const locks = open(server, { namespace });
    await admin.rpush(`${namespace}list`, "theirs");
    const named = /list/;
    await assert.rejects(locks.acquire("list", { ownerId: "me" }), lockError("REDIS_ERROR", named));
    await assert.rejects(locks.acquire(["a", "list", "z"]), lockError("REDIS_ERROR", named));
    await refusedWithin(locks.execute("list", () => assert.fail("ran"), { timeout: 1 }), 1_000, "execute", /^REDIS_ERROR$/);
    await refusedWithin(locks.execute(["list", "z"], () => assert.fail("ran"), { timeout: 1 }), 1_000, "execute", /^REDIS_ERROR$/);
    const released = await locks.release("list", { ownerId: "me" }).catch((error) => error.code);
    assert.ok(released === false || released === "REDIS_ERROR", String(released));
    await locks.releaseAll().catch((error) => assert.ok(lockError("REDIS_ERROR", named)(error)));
    assert.deepEqual(await admin.lrange(`${namespace}list`, 0, -1), ["theirs"]);
    assert.deepEqual((await allKeys(admin)).filter((key) => key.startsWith(namespace)), [`${namespace}list`]);
    assert.equal(await locks.execute(["a", "z"], () => "others are served"), "others are served");
  });

  test("another type appears under a key that a job holds: the job is told, the foreign value stays", async () => {
    const namespace = freshNamespace();
    const locks = open(server, { namespace });
    const held = await holding(locks, "k", { expire: 1.5 });
    await admin.multi().del(`${namespace}k`).rpush(`${namespace}k`, "theirs").exec();
    await until(() => held.signal.aborted, "the job is told");
    await assert.rejects(held.end("must not count"), lockError("LOCK_LOST"));
    assert.deepEqual(await admin.lrange(`${namespace}k`, 0, -1), ["theirs"]);
  });

  test("another type appears under a key that somebody waits for: it is told which key, and leaves every queue", async () => {
    const namespace = freshNamespace();
    const [holder, waiter] = [open(server, { namespace }), open(server, { namespace })];
    const held = await holding(holder, "k", { expire: 1.5 });
    const waiting = waiter.execute(["j", "k"], () => assert.fail("ran"), { timeout: 60 });
    const told = settles(assert.rejects(waiting, lockError("REDIS_ERROR", /k/)), "the one that waits");
    await queued(admin, `${namespace}k`, 1);
    await admin.multi().del(`${namespace}k`).rpush(`${namespace}k`, "theirs").exec();
    await told;
    await assert.rejects(held.end(), lockError("LOCK_LOST"));
    assert.equal(await waiter.execute("j", () => "free", { timeout: 5 }), "free");
    assert.deepEqual(await admin.lrange(`${namespace}k`, 0, -1), ["theirs"]);
    await nothingLeft(admin, namespace);
  });

  test("READONLY: callers are answered with it, and the service returns", async () => {
    const locks = open(server);
    await locks.execute("k", () => {});
    await admin.replicaof("127.0.0.1", "1");
    await assert.rejects(locks.acquire("k", { ownerId: "me" }), lockError("REDIS_ERROR", /READONLY/));
    await refusedWithin(locks.execute("k", () => assert.fail("ran"), { timeout: 1 }), 1_000, "execute", REDIS_FAILURE);
    await refusedWithin(locks.execute(["k", "l"], () => assert.fail("ran"), { timeout: 1 }), 1_000, "execute", REDIS_FAILURE);
    await admin.replicaof("NO", "ONE");
    await serviceReturns(locks);
    await nothingLocked(locks);
  });

  test("NOAUTH: callers are answered with it, and the service returns", async () => {
    const locks = open(server);
    await locks.execute("k", () => {});
    await admin.config("SET", "requirepass", "new");
    await admin.client("KILL", "SKIPME", "yes");
    await refusedWithin(locks.acquire("k", { ownerId: "me" }), COMMAND_TIMEOUT_MS, "acquire", REDIS_FAILURE);
    await assert.rejects(locks.acquire("k", { ownerId: "me" }), (error) => /NOAUTH|[Aa]uth/.test(error.message));
    await refusedWithin(locks.execute("k", () => assert.fail("ran"), { timeout: 1 }), 1_000, "execute", REDIS_FAILURE);
    await admin.config("SET", "requirepass", "");
    await serviceReturns(locks);
    await nothingLocked(locks);
  });

  test("OOM: callers are answered with it, a running job keeps its lock and gives it back, the service returns", async () => {
    const locks = open(server);
    const held = await holding(locks, "held", { expire: 0.9 });
    await admin.config("SET", "maxmemory-policy", "noeviction", "maxmemory", "1");
    await assert.rejects(locks.acquire("k", { ownerId: "me" }), lockError("REDIS_ERROR", /OOM/));
    await refusedWithin(locks.execute(["k", "l"], () => assert.fail("ran"), { timeout: 1 }), 1_000, "execute", REDIS_FAILURE);
    const end = performance.now() + 1_500;
    await until(() => performance.now() > end || held.signal.aborted, "two leases have passed");
    assert.equal(held.signal.aborted, false);
    assert.equal(await held.end("done"), "done");
    await admin.config("SET", "maxmemory", "0");
    await serviceReturns(locks);
    await nothingLocked(locks);
  });

  test("connections cut again and again under load: everyone is answered, no two are inside, nothing is left", async () => {
    const namespace = freshNamespace();
    const locks = open(server, { namespace });
    const inside = new Map();
    const overtaken = [];
    let [asked, served] = [0, 0];
    const job = (key) => async () => {
      // Who is still inside must have lost its lock with its connection: it was told, or will be at its return.
      const ahead = inside.get(key);
      if (ahead) overtaken.push(ahead);
      const mine = { key };
      inside.set(key, mine);
      await new Promise(setImmediate);
      if (inside.get(key) === mine) inside.delete(key);
      return mine;
    };
    const end = performance.now() + LOAD_MS;
    const cut = async () => {
      while (performance.now() < end) {
        await admin.client("KILL", "SKIPME", "yes");
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      }
    };
    const worker = async (key) => {
      while (performance.now() < end) {
        asked += 1;
        await locks.execute(key, job(key), { timeout: 30 }).then(
          (mine) => {
            served += 1;
            assert.ok(!overtaken.includes(mine), "two jobs were inside at once, and both succeeded");
          },
          (error) => assert.match(String(error.code), /^(REDIS_|LOCK_)/, error.stack),
        );
      }
    };
    const workers = Array.from({ length: 32 }, (_, n) => worker(`k${n % 4}`));
    await settles(Promise.all([cut(), ...workers]), "all are answered", LOAD_MS + 35_000);
    assert.ok(served > 100 && served > asked / 2, `${served} of ${asked} served`);
    await serviceReturns(locks);
    await nothingLocked(locks);
    await nothingLeft(admin, namespace);
  });
});
