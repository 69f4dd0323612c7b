/**
 * The ACL line of the README, on a real server: it is enough for everything, for nothing else, and what it grants for channels
 * may be left out.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stopScripts } from "./support/children.mjs";
import { lockError } from "./support/errors.mjs";
import { startChild } from "./support/fleet-children.mjs";
import { calls, connectionOf, inboxes, queued, queueName, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { Locks, projectRoot } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { luaFile } from "./support/scripts.mjs";
import { settles, stays, until } from "./support/waiting.mjs";

/** The namespace that the README's line is for. */
const NAMESPACE = "medusa_lock:";
/** Every lease goes back to Redis, so that every handover is one of the server's. */
const STRICT = { localHandoffs: 0 };
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 2_500;
/** Who is not called asks at least this often. */
const POLL_MS = 1_000;

const rule = readFileSync(join(projectRoot, "README.md"), "utf8").match(/^ACL SETUSER store on >secret (.*)$/m)[1].split(" ");

let server, admin;
const opened = [];
before(async () => {
  server = await redisServer();
  admin = server.connect();
  await setUser("store", rule);
  await setUser("silent", rule.filter((part) => !part.startsWith("&")));
  await setUser("mute", rule.filter((part) => part !== "+publish" && !part.startsWith("+pubsub")));
  await setUser("deaf", rule.filter((part) => part !== "+subscribe"));
});
afterEach(async () => {
  await stopScripts();
  await Promise.all(opened.splice(0).map((locks) => locks.close()));
  await nothingLeft(admin, NAMESPACE);
  await admin.call("ACL", "LOG", "RESET");
});
after(() => server.stop());

const setUser = (name, parts) => admin.call("ACL", "SETUSER", name, "on", ">secret", ...parts);
const urlOf = (user) => `redis://${user}:secret@127.0.0.1:${server.port}`;

function locksOf(user, options = {}) {
  const locks = new Locks({ redisUrl: urlOf(user), ...options });
  opened.push(locks);
  return locks;
}

/** What was denied since the log was reset, as `user: command or key`; without what the README says is missing. */
async function denied() {
  const entries = (await admin.call("ACL", "LOG", "1000")).map((entry) => {
    const fields = Object.fromEntries(Array.from({ length: entry.length / 2 }, (_, n) => [entry[2 * n], entry[2 * n + 1]]));
    return `${fields.username}: ${fields.object}`;
  });
  return entries.filter((entry) => !entry.endsWith("client|setinfo"));
}

const nothingDenied = async () => assert.deepEqual(await denied(), []);

const lock = (key) => `${NAMESPACE}${key}`;

describe("the line of the README", () => {
  test("names every command that the scripts use", () => {
    const files = readdirSync(join(projectRoot, "src", "backend", "redis", "lua"));
    const calls = files.flatMap((file) => [...luaFile(file).matchAll(/redis\.p?call\(\s*'(\w+)'(?:, '([A-Z]+)')?/g)]);
    assert.ok(calls.length > 40, `${calls.length} calls`);
    for (const [call, command, subcommand] of calls) {
      const names = [command, `${command}|${subcommand}`].map((name) => `+${name.toLowerCase()}`);
      assert.ok(names.some((name) => rule.includes(name)), call);
    }
  });

  test("is enough for execute, alone and contended by two clients, also in gaps and when the server forgets the scripts", async () => {
    const [one, two] = [locksOf("store", STRICT), locksOf("store", STRICT)];
    let inside = 0;
    const job = async () => {
      inside += 1;
      assert.equal(inside, 1);
      await sleep(1);
      inside -= 1;
    };
    assert.equal(await one.execute(["a", "b"], () => "alone"), "alone");
    assert.equal((await inboxes(admin)).length, 1, "it is subscribed");
    const end = performance.now() + 1_500;
    const caller = async (locks, keys) => {
      while (performance.now() < end) await locks.execute(keys, job, { timeout: 30 });
    };
    await Promise.all([one, two].flatMap((locks) => [["k"], ["k", "l"], ["j", "k"]].map((keys) => caller(locks, keys))));
    await admin.script("FLUSH");
    assert.equal(await one.execute("k", () => "after that"), "after that");
    await nothingDenied();
  });

  test("lets waiters be told of their turn, also behind a process that has died", async () => {
    const [one, two] = [locksOf("store", RARE_POLLS), locksOf("store", RARE_POLLS)];
    const held = await holding(one, "k");
    const dead = startChild({ redisUrl: urlOf("store"), namespace: NAMESPACE }, ["k"]);
    await queued(admin, lock("k"), 1);
    const waiting = two.execute("k", () => performance.now(), { timeout: 60 });
    await queued(admin, lock("k"), 2);
    dead.kill();
    await until(async () => (await inboxes(admin)).length === 2, "the server has noticed");
    const start = performance.now();
    await held.end();
    const ms = (await settles(waiting, "the one that waits")) - start;
    assert.ok(ms < POLL_MS, `${ms} ms`);
    await nothingDenied();
  });

  test("is enough for acquire, release, awaitQueue, releaseAll and inspect", async () => {
    const [one, two] = [locksOf("store"), locksOf("store")];
    await one.acquire(["a", "b"], { ownerId: "me", expire: 60 });
    await one.acquire("a", { ownerId: "me" });
    await one.acquire("c");
    await assert.rejects(two.acquire("a", { ownerId: "you" }), lockError("LOCK_HELD"));
    await assert.rejects(two.acquire("a", { ownerId: "you", awaitQueue: true, timeout: 0.2 }), lockError("LOCK_TIMEOUT"));
    await assert.rejects(two.execute("c", () => assert.fail("ran"), { timeout: 0.2 }), lockError("LOCK_TIMEOUT"));
    const acquiring = two.acquire(["a", "d"], { ownerId: "you", awaitQueue: true });
    await queued(admin, lock("d"), 1);
    assert.equal(await one.release(["a", "b"], { ownerId: "me" }), true);
    await settles(acquiring, "the one that waits");
    assert.deepEqual((await one.inspect("a")).map(({ ownerId }) => ownerId), ["you"]);
    assert.deepEqual((await one.inspect()).map(({ key }) => key).sort(), ["a", "c", "d"]);
    await two.releaseAll({ ownerId: "you" });
    assert.deepEqual((await one.inspect()).map(({ key }) => key), ["c"]);
    await two.releaseAll();
    assert.deepEqual(await one.inspect(), []);
    await nothingDenied();
  });

  test("is enough to wait behind a node that knows no queue, and behind a lock that is due to lapse", async () => {
    const locks = locksOf("store");
    await admin.set(lock("k"), "*");
    const waiting = locks.execute("k", () => "served", { timeout: 60 });
    await queued(admin, lock("k"), 1);
    await until(async () => (await admin.zcount(await queueName(admin, lock("k")), "-inf", "(0")) > 0, "the old node is noted");
    await admin.pexpire(lock("k"), 300);
    assert.equal(await settles(waiting, "the one that waits"), "served");
    await nothingDenied();
  });

  test("is enough for renewals: a job outlives its lease", async () => {
    const held = await holding(locksOf("store"), ["k", "l"], { expire: 0.6 });
    await stays(async () => !held.signal.aborted && (await admin.get(lock("k"))) === held.lock.ownerId, "it is held", 1_500);
    assert.equal(await held.end("done"), "done");
    await nothingDenied();
  });

  test("is enough for a new connection after one was killed: holders keep their locks, waiters their places", async () => {
    const named = (name) => locksOf("store", { ...RARE_POLLS, redisOptions: { connectionName: name, db: 0 } });
    const [one, two] = [named("one"), named("two")];
    const held = await holding(one, "k");
    const waiting = two.execute("k", () => "served", { timeout: 60 });
    await queued(admin, lock("k"), 1);
    for (const name of ["one", "two"]) {
      const { id } = await connectionOf(admin, name);
      await admin.client("KILL", "ID", id);
      await until(async () => {
        const now = await connectionOf(admin, name);
        return now !== undefined && now.id !== id && now.channels === 1;
      }, `"${name}" is back, and listens`);
    }
    assert.equal(held.signal.aborted, false);
    assert.equal(await held.end("done"), "done");
    assert.equal(await settles(waiting, "the one that waits"), "served");
    await nothingDenied();
  });

  test("is enough to have the server close a connection that broke before an answer had come", async () => {
    const proxy = await startProxy(server.port);
    const locks = locksOf("store", { redisUrl: `redis://store:secret@127.0.0.1:${proxy.port}` });
    await locks.execute("k", () => {});
    await admin.config("RESETSTAT");
    proxy.loseReplyTo(lock("k"));
    assert.equal(await locks.execute("k", () => "after all"), "after all");
    assert.equal(proxy.lost(), 1);
    assert.equal(await calls(admin, "client\\|kill"), 1);
    await nothingDenied();
    await locks.close();
    await proxy.stop();
  });

  test("is enough for a database other than 0", async () => {
    const locks = new Locks({ redisUrl: `${urlOf("store")}/3` });
    assert.equal(await locks.execute("k", () => server.connect(`${server.url}/3`).exists(lock("k"))), 1);
    await locks.close();
    await nothingDenied();
  });

  test("opens neither another namespace nor other keys, channels or commands", async () => {
    const other = locksOf("store", { namespace: "other:" });
    await admin.set("other:k", "theirs");
    for (const attempt of [
      () => other.acquire("k", { ownerId: "me" }),
      () => other.execute("l", () => assert.fail("ran"), { timeout: 1 }),
      () => other.release("k", { ownerId: "theirs" }),
      () => other.releaseAll(),
      () => other.inspect("k"),
    ]) {
      await assert.rejects(attempt(), lockError("REDIS_ERROR", /NOPERM/));
    }
    const client = server.connect(urlOf("store"));
    for (const [command, ...args] of [
      ["GET", "other:k"], ["SET", "other:k", "mine"], ["DEL", "other:k"], ["SET", "cart_1", "x"], ["SET", "medusa_lock", "x"],
      ["PEXPIRE", "other:k", "1"], ["EVAL", "return redis.call('GET', KEYS[1])", "1", "other:k"], ["PUBLISH", "other", "x"],
      ["EVAL", "return redis.call('DEL', 'other:k')", "0"], ["EVAL", "return redis.call('FLUSHALL')", "0"], ["SUBSCRIBE", "other"],
      ["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "GET", "*"], ["ACL", "LIST"], ["CLIENT", "LIST"], ["MONITOR"], ["HGETALL", "other:h"],
      ["SHUTDOWN"], ["SCRIPT", "FLUSH"], ["INFO"], ["RENAME", "medusa_lock:k", "other:k"], ["DUMP", "medusa_lock:k"],
    ]) {
      await assert.rejects(client.call(command, ...args), /NOPERM|ACL failure|can't access|no permissions|can't run/i, `${command} ${args}`);
    }
    assert.equal(await admin.get("other:k"), "theirs");
    await admin.del("other:k");
  });
});

test("whoever names a key that the user has no right to is refused alone, though others are asked for in the same call", async () => {
  const rights = rule.map((part) => (part === `~${NAMESPACE}*` ? `~${NAMESPACE}cart_*` : part));
  assert.notDeepEqual(rights, rule);
  await setUser("carts", rights);
  const locks = locksOf("carts");
  const isRefused = lockError("REDIS_ERROR", /NOPERM/);
  for (let round = 0; round < 20; round += 1) {
    // Made in one turn: most go together.
    const keys = ["cart_1", "order_1", "cart_2", "cart_3"];
    const each = (call) => Promise.all(keys.map((key) => (key.startsWith("cart") ? call(key) : assert.rejects(call(key), isRefused))));
    assert.deepEqual(await each((key) => locks.execute(key, () => key)), ["cart_1", undefined, "cart_2", "cart_3"]);
    await each((key) => locks.acquire(key, { ownerId: "me" }));
    assert.deepEqual(await each((key) => locks.release(key, { ownerId: "me" })), [true, undefined, true, true]);
    assert.deepEqual(await admin.keys(lock("*")), []);
  }
});

const LESS = {
  silent: "the right to the channels",
  mute: "+publish and +pubsub|numsub",
  deaf: "+subscribe",
};
for (const [user, what] of Object.entries(LESS)) {
  describe(`without ${what}`, () => {
    test("waiters are served in order, each within a poll", async () => {
      const [holder, ...others] = Array.from({ length: 4 }, () => locksOf(user, RARE_POLLS));
      const held = await holding(holder, "k");
      const served = [];
      const waiting = [];
      for (const [n, locks] of others.entries()) {
        waiting.push(locks.execute("k", () => void served.push(n), { timeout: 60 }));
        await queued(admin, lock("k"), n + 1);
      }
      const start = performance.now();
      await held.end();
      await settles(Promise.all(waiting), "all are served");
      const ms = performance.now() - start;
      assert.deepEqual(served, [0, 1, 2]);
      assert.ok(ms < others.length * POLL_MS + MARGIN_MS, `${ms} ms`);
      const channels = await denied();
      const only = user === "mute" ? /^mute: (publish|pubsub\|numsub|pubsub)$/ : /: (subscribe|publish|locking-native:inbox:.*)$/;
      assert.ok(channels.length > 0 && channels.every((entry) => only.test(entry)), `${channels}`);
    });

    test("acquires wait and are served too, of one that has all rights and by it", async () => {
      const [whole, less] = [locksOf("store", RARE_POLLS), locksOf(user, RARE_POLLS)];
      for (const [holder, waiter] of [[whole, less], [less, whole]]) {
        await holder.acquire("k", { ownerId: "me" });
        const acquiring = waiter.acquire("k", { ownerId: "you", awaitQueue: true });
        await queued(admin, lock("k"), 1);
        const start = performance.now();
        await holder.release("k", { ownerId: "me" });
        await settles(acquiring, "the one that waits");
        const ms = performance.now() - start;
        assert.ok(ms < POLL_MS + MARGIN_MS, `${ms} ms`);
        await waiter.release("k", { ownerId: "you" });
      }
    });
  });
}
