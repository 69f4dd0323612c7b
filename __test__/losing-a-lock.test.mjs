/** The ways in which a job's lock can go while the job runs: it is told of each, by name, and nothing of the next owner is touched. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { lockError } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { redisServer } from "./support/redis.mjs";
import { settles, until } from "./support/waiting.mjs";

const LEASE_S = 1.5;

let server, replica, admin, promoted, proxy, locks;
before(async () => {
  server = await redisServer();
  admin = server.connect();
  replica = await redisServer(["--replicaof", "127.0.0.1", String(server.port)]);
  promoted = replica.connect();
  await until(async () => (await promoted.info("replication")).includes("master_link_status:up"), "the replica follows");
});
afterEach(async () => {
  await locks.close();
  await proxy.stop();
});
after(() => Promise.all([server.stop(), replica.stop()]));

/** What happens to the lock, and what stands in its place afterwards, on the server that is then asked. */
const WAYS = {
  deleted: { act: (lock) => admin.del(lock) },
  "taken by somebody else": { act: (lock) => admin.set(lock, "another"), stands: "another" },
  "replaced by the same owner's id with another end": { act: (lock, owner) => admin.set(lock, `${owner}0`), stands: /^execute:.*0$/ },
  expired: { act: (lock) => admin.pexpire(lock, 1) },
  flushed: { act: () => admin.flushall() },
  "not there after a failover": {
    // Replication is asynchronous: the lock was taken when the new master had ceased to listen to the old one.
    async act() {
      proxy.leadTo(replica.port);
      proxy.cut();
    },
    prepare: () => promoted.replicaof("NO", "ONE"),
    on: () => promoted,
  },
};

for (const [title, { act, prepare, stands = null, on = () => admin }] of Object.entries(WAYS)) {
  test(`${title}: the job is told which key, and why, and its result does not count`, async () => {
    await prepare?.();
    proxy = await startProxy(server.port);
    const namespace = freshNamespace();
    locks = new Locks({ redisUrl: proxy.url, namespace });
    const lock = `${namespace}k`;
    const held = await holding(locks, "k", { expire: LEASE_S });
    await act(lock, held.lock.ownerId);
    // The lease has not lapsed: it is the server that says so, at the next renewal.
    await until(() => held.signal.aborted, "the signal aborts");
    assert.ok(lockError("LOCK_LOST", /"k".*the server says that it is not its own any more/)(held.signal.reason), held.signal.reason.message);
    assert.equal(held.signal.reason.key, "k");
    await assert.rejects(settles(held.end("must not count"), "execute"), (error) => error === held.signal.reason);
    const value = await on().get(lock);
    if (stands instanceof RegExp) assert.match(value, stands);
    else assert.equal(value, stands);
  });
}
