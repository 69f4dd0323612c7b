/**
 * Something else under the names of our own records in Redis: a queue that is no queue, a counter that is none. Every call is
 * answered, nobody who was told no holds anything, and with the key gone all is as before.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { lockError } from "./support/errors.mjs";
import { fleetServer, queued, queueName, RARE_POLLS, waitersOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { settles, until } from "./support/waiting.mjs";

const LIST = "locking-native:queues";

let server, admin, fleet, leaveNothing;
let hadForeignQueue = false;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  // The name of a queue that could not be made stays listed for a minute.
  assert.notEqual(await admin.pttl(LIST), -1, "the list of queues expires");
  await leaveNothing((key) => key === LIST && hadForeignQueue);
  hadForeignQueue = false;
});
after(() => server.stop());

const FOREIGN = {
  "a queue is a list": { isQueue: true, name: (queue) => queue, put: (name) => admin.rpush(name, "x") },
  "a queue is a string": { isQueue: true, name: (queue) => queue, put: (name) => admin.set(name, "x") },
  "the counter is a list": { name: (_queue, namespace) => `locking-native:fence:${namespace}`, put: (name) => admin.rpush(name, "x") },
};

/** Ways to ask for `keys`. None of them can be served. */
const ASKING = {
  "an execute that waits": (locks, keys) => locks.execute(keys, () => assert.fail("ran"), { timeout: 1 }),
  "an execute that tries once": (locks, keys) => locks.execute(keys, () => assert.fail("ran"), { timeout: 0 }),
  "an acquire": (locks, keys) => locks.acquire(keys, { ownerId: "me" }),
  "an acquire that waits": (locks, keys) => locks.acquire(keys, { ownerId: "me", awaitQueue: true, timeout: 1 }),
};

/** Everything of the namespace but what a test put there. */
const others = async (namespace, name) => {
  const found = await admin.keys(`*${namespace}*`);
  return found.filter((key) => key !== name && key !== `locking-native:fence:${namespace}`);
};

/** Somebody waits for another lock, so that queues are looked at; resolves with what ends that. */
async function somebodyWaits() {
  const { clients: [holder, waiter], lock } = fleet(2, RARE_POLLS);
  const held = await holding(holder, "k");
  const waiting = waiter.execute("k", () => "served", { timeout: 60 });
  await queued(admin, lock("k"), 1);
  return async () => {
    await held.end();
    assert.equal(await settles(waiting, "somebody else"), "served");
  };
}

for (const [title, { isQueue, name: nameOf, put }] of Object.entries(FOREIGN)) {
  test(`${title}: calls fail by name, take nothing and leave nothing, and the service returns with its end`, async () => {
    const { clients: [holder, locks], lock, namespace } = fleet(2, RARE_POLLS);
    // What its queue is called shows only while somebody waits.
    const held = await holding(holder, ["a", "b", "c"]);
    const early = locks.execute(["a", "b", "c"], () => "served", { timeout: 60 });
    await queued(admin, lock("b"), 1);
    const name = nameOf(await queueName(admin, lock("b")), namespace);
    await held.end();
    assert.equal(await settles(early, "one before"), "served");

    await admin.del(name);
    await put(name);
    let end = () => {};
    if (isQueue) {
      hadForeignQueue = true;
      assert.equal(await locks.execute(["a", "b", "c"], () => "served"), "served", "nobody waits, and nobody looks at queues");
      end = await somebodyWaits();
    }
    for (const [way, ask] of Object.entries(ASKING)) {
      await assert.rejects(settles(ask(locks, ["a", "b", "c"]), way), (error) => {
        assert.ok(lockError("REDIS_ERROR", /WRONGTYPE/)(error), way);
        assert.equal(error.key, undefined, "it names no lock");
        return true;
      });
      await until(async () => (await others(namespace, name)).length === 0, `nothing is left of ${way}`, 5_000);
    }
    await admin.del(name);
    assert.equal(await locks.execute(["a", "b", "c"], () => "served"), "served");
    await end();
  });
}

test("a queue becomes something else while it is waited in: the holder ends, the one that waits is answered, others go on", async () => {
  const { clients: [holder, locks, other], lock } = fleet(3, RARE_POLLS);
  const held = await holding(holder, ["a", "b", "c"]);
  const waiting = locks.execute(["a", "b", "c"], () => assert.fail("ran"), { timeout: 60 });
  const refused = assert.rejects(waiting, lockError("REDIS_ERROR", /WRONGTYPE/));
  await queued(admin, lock("c"), 1);
  const queue = await queueName(admin, lock("b"));
  hadForeignQueue = true;
  await admin.set(queue, "x");
  assert.equal(await settles(held.end("done"), "the holder"), "done");
  await settles(refused, "the one that waits");
  for (const key of ["a", "c"]) assert.equal(await settles(other.execute(key, () => key, { timeout: 20 }), key), key);
  await admin.del(queue);
  assert.equal(await other.execute(["a", "b", "c"], () => "all"), "all");
  await until(async () => (await waitersOf(admin, lock("a"))).length === 0, "nobody waits");
});
