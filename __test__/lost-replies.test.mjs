/**
 * A reply lost on a broken connection: the server has done what it was asked, the caller cannot know. The call ends as if the
 * reply had come, or nothing of it stays: no lock is left for a caller that was told no.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

let server, admin, proxy, locks, namespace;

before(async () => {
  server = await redisServer();
  admin = server.connect();
});
after(() => server.stop());

beforeEach(async () => {
  proxy = await startProxy(server.port);
  namespace = freshNamespace();
  const redisOptions = { commandTimeout: 1_000, connectTimeout: 1_000 };
  locks = new Locks({ redisUrl: proxy.url, namespace, redisOptions, waitLockingTimeout: 1 });
  await locks.execute("warm", () => {});
});
afterEach(async () => {
  proxy.accept();
  await locks.close();
  await proxy.stop();
});

const value = (key) => admin.get(`${namespace}${key}`);

const CALLS = [
  ["execute", (keys) => locks.execute(keys, () => "ran", { timeout: 2 })],
  ["acquire by an owner", (keys) => locks.acquire(keys, { ownerId: "me", expire: 600 })],
  ["acquire by an owner without expiry", (keys) => locks.acquire(keys, { ownerId: "me" })],
  ["acquire without owner", (keys) => locks.acquire(keys, { expire: 600 })],
  ["acquire without owner and expiry", (keys) => locks.acquire(keys)],
  ["acquire in the queue", (keys) => locks.acquire(keys, { ownerId: "me", awaitQueue: true, timeout: 2 })],
];

for (const [title, call] of CALLS) {
  for (const keys of ["k", ["a", "k", "z"]]) {
    const name = `${title} of ${Array.isArray(keys) ? "three keys" : "one key"}`;

    test(`${name}, the reply lost and the connection back: it succeeds, and does not refuse itself`, async () => {
      proxy.loseReplyTo(`${namespace}k`);
      const result = await settles(call(keys), title);
      assert.equal(proxy.lost(), 1);
      if (title === "execute") {
        assert.equal(result, "ran");
        await until(async () => (await value("k")) === null, "the lock is given back");
      } else {
        assert.equal(await value("k"), title.includes("without owner") ? "*" : "me");
        const ownerId = title.includes("without owner") ? undefined : "me";
        assert.equal(await locks.release(keys, { ownerId }), true);
      }
      await nothingLeft(admin, namespace);
    });

    test(`${name}, the reply lost and Redis out of reach: told no, and the lock does not stay`, async () => {
      proxy.loseReplyTo(`${namespace}k`, { refuse: true });
      const outcome = watch(call(keys));
      await until(() => proxy.lost() === 1, "the reply was lost");
      assert.notEqual(await value("k"), null, "the server took the lock");
      await until(() => outcome.state === "rejected", "the caller is told no");
      proxy.accept();
      for (const key of [keys].flat()) await until(async () => (await value(key)) === null, `"${key}" comes free`);
      await nothingLeft(admin, namespace);
      assert.equal(await locks.execute(keys, () => "served", { timeout: 5 }), "served");
    });
  }
}

test("a caller that gave up while the reply was lost: the lock does not stay", async () => {
  const caller = new AbortController();
  proxy.loseReplyTo(`${namespace}k`, { refuse: true });
  const taking = watch(locks.acquire("k", { signal: caller.signal }));
  await until(() => proxy.lost() === 1, "the reply was lost");
  caller.abort();
  await until(() => taking.state === "rejected", "the caller is answered");
  assert.equal(taking.reason, caller.signal.reason);
  proxy.accept();
  await until(async () => (await value("k")) === null, "the key comes free");
});

test("a release whose reply was lost is a release, and does not free a later owner's lock", async () => {
  await locks.acquire("k", { ownerId: "me" });
  proxy.loseReplyTo(`${namespace}k`);
  assert.equal(await settles(locks.release("k", { ownerId: "me" }), "release"), true);
  assert.equal(await value("k"), null);

  await locks.acquire("k");
  proxy.loseReplyTo(`${namespace}k`, { refuse: true });
  const releasing = watch(locks.release("k"));
  await until(() => proxy.lost() === 2, "the reply was lost");
  await until(() => releasing.state === "rejected", "the caller is told that it is not known");
  await admin.set(`${namespace}k`, "*");
  proxy.accept();
  await locks.execute("other", () => {}, { timeout: 5 });
  await stays(async () => (await value("k")) === "*", "the later lock stays", 1_000);
});

test("an execute's release whose reply was lost: the job's result counts", async () => {
  const held = await holding(locks, "k");
  proxy.loseReplyTo(`${namespace}k`);
  assert.equal(await settles(held.end("done"), "execute"), "done");
  await until(async () => (await value("k")) === null, "the key is free");
  await nothingLeft(admin, namespace);
});

test("a renewal whose reply was lost: the lease is kept", async () => {
  const held = await holding(locks, "k", { expire: 1.5 });
  proxy.loseReplyTo(`${namespace}k`);
  await until(() => proxy.lost() === 1, "a renewal's reply is lost");
  await stays(() => !held.signal.aborted, "the lease is kept", 2_500);
  assert.equal(await held.end("done"), "done");
});
