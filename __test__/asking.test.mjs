/** What Redis is asked, how often and in which order: no haste where asking again cannot help, and no call overtakes another. */
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { lockError } from "./support/errors.mjs";
import { Locks } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { redisServer } from "./support/redis.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

let server, admin, namespace;

before(async () => {
  server = await redisServer();
  admin = server.connect();
});
after(() => server.stop());
beforeEach(() => (namespace = freshNamespace()));

function open(t, options = {}) {
  const locks = new Locks({ redisUrl: server.url, namespace, ...options });
  t.after(() => locks.close());
  return locks;
}

async function count(section, name) {
  const line = (await admin.info(section)).match(new RegExp(`${name}(\\d+)`));
  return Number(line?.[1] ?? 0);
}
const connectionsMade = () => count("stats", "total_connections_received:");
const scriptsRun = async () => (await count("commandstats", "cmdstat_evalsha:calls=")) + (await count("commandstats", "cmdstat_eval:calls="));

for (const [title, args] of [["plain", {}], ["queued", { awaitQueue: true, timeout: 10 }]]) {
  test(`a ${title} acquire for less time than a round trip takes is answered, and not asked for again and again`, async (t) => {
    const proxy = await startProxy(server.port);
    t.after(() => proxy.stop());
    const locks = open(t, { redisUrl: proxy.url });
    await locks.inspect("k");
    proxy.delayReplies(60);
    const before = await scriptsRun();
    await settles(locks.acquire("k", { ownerId: "me", expire: 0.01, ...args }).catch(() => {}), "an answer of either kind", 5_000);
    const asked = (await scriptsRun()) - before;
    assert.ok(asked <= 20, `${asked} scripts ran for one acquire`);
    assert.equal(await locks.release("k", { ownerId: "me" }), false, "it has expired");
  });
}

test("a read-only server, as during a failover: connections are remade with pauses, and the service returns", async (t) => {
  t.after(() => admin.replicaof("NO", "ONE"));
  const locks = open(t);
  await locks.execute("k", () => {});
  await admin.replicaof("127.0.0.1", "1");
  const before = await connectionsMade();
  const waiter = watch(locks.execute("k", () => "served", { timeout: 30 }));
  await stays(() => waiter.state !== "fulfilled", "a read-only server grants nothing", 2_000);
  const made = (await connectionsMade()) - before;
  assert.ok(made <= 40, `${made} connections in 2 s`);
  await admin.replicaof("NO", "ONE");
  const served = async () => waiter.state === "fulfilled" || (await locks.execute("k", () => true, { timeout: 1 }).catch(() => false));
  await until(served, "the service returns");
});

test("a fence counter that is used up: the call fails by name, takes nothing, and Redis is left in peace", async (t) => {
  const locks = open(t);
  await locks.inspect("k");
  await admin.set(`locking-native:fence:${namespace}`, "9007199254740991");
  const before = await connectionsMade();
  await assert.rejects(
    settles(locks.acquire("k", { ownerId: "me" }), "an answer"),
    lockError("REDIS_ERROR", /counter of fencing tokens is out of range/),
  );
  await stays(async () => (await admin.exists(`${namespace}k`)) === 0, "nothing is taken", 1_500);
  const made = (await connectionsMade()) - before;
  assert.ok(made <= 20, `${made} connections in 1.5 s`);
});

test("a release and an acquire behind it take effect in this order, also when the server does not know the scripts", async (t) => {
  for (const round of ["unknown", "known"]) {
    if (round === "unknown") await admin.script("FLUSH");
    const locks = open(t);
    await locks.acquire("k", { ownerId: "me" });
    // Both are under way before the first is answered.
    await admin.client("PAUSE", 200, "ALL");
    const releasing = locks.release("k", { ownerId: "me" });
    const acquiring = locks.acquire("k", { ownerId: "me" });
    assert.equal(await releasing, true);
    await acquiring;
    assert.equal(await admin.get(`${namespace}k`), "me", `scripts ${round}: the lock that was granted last is there`);
    assert.equal(await locks.release("k", { ownerId: "me" }), true);
  }
});

test("the first call of a Locks may be one that tries once: a free key is its own, whether or not the scripts are known", async () => {
  const call = async (use) => {
    const locks = new Locks({ redisUrl: server.url, namespace });
    try {
      return await use(locks);
    } finally {
      await locks.close();
    }
  };
  for (let n = 0; n < 20; n += 1) {
    if (n % 5 === 0) await admin.script("FLUSH");
    assert.equal(await call((locks) => locks.execute(`k${n}`, () => "ran", { timeout: 0 })), "ran");
    await call((locks) => locks.acquire(`l${n}`, { ownerId: "me", timeout: 0 }));
    // Too short for a connection to be made, yet nothing says that Redis cannot be reached.
    const hasty = call((locks) => locks.execute(`m${n}`, () => "ran", { timeout: 0.001 }).catch((error) => error.code));
    assert.match(await hasty, /^(ran|LOCK_TIMEOUT)$/);
  }
});
