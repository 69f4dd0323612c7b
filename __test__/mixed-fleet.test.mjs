/**
 * A fleet in the middle of a rolling deploy: clients that queue, and nodes that do not know of queues, on one server. They exclude
 * each other, old nodes harm no queue, and neither kind shuts the other out.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { lockError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { fleetServer, queued, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { incumbent, lockingModule } from "./support/medusa.mjs";
import { OldProvider } from "./support/old-provider.mjs";
import { deferred, settles, stays, until, watch } from "./support/waiting.mjs";

/** The incumbent's time-out keeps this process alive until it has passed, even when the lock was granted long before. */
const PATIENT = { timeout: 20 };
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 1_500;

let server, admin, fleet, leaveNothing;
const closing = [];
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
  // The record of a lock that an old node released stays until it expires.
  await leaveNothing((key) => key.includes("}:lock:"));
});
after(() => server.stop());

const KINDS = {
  "@medusajs/locking-redis": async (namespace) => {
    const provider = { ...incumbent({ redisUrl: server.url, namespace }), is_default: true };
    const { locking, close } = await lockingModule([provider]);
    closing.push(close);
    return locking;
  },
  "a node of the first releases": async (namespace) => new OldProvider(server.connect(), namespace),
};

for (const [kind, start] of Object.entries(KINDS)) {
  /** `count` clients of ours, and `old`, another node on the same locks. */
  async function mixed(count, options) {
    const opened = fleet(count, options);
    return { ...opened, old: await start(opened.namespace), value: (key) => admin.get(opened.lock(key)) };
  }

  /** Runs an execute of `node` whose job goes on until `end()`. */
  async function inside(node, keys) {
    const end = deferred();
    const started = deferred();
    const done = node.execute(keys, () => (started.resolve(), end.promise), PATIENT);
    done.catch(started.reject);
    await settles(started.promise, "its job runs");
    return (result) => (end.resolve(result), done);
  }

  describe(kind, () => {
    test("takes turns on a key that four clients of ours ask for without a pause", async () => {
      const { clients, old, lock } = await mixed(4);
      // Before the deploy reached the others, it held the lock now and then.
      const end = await inside(old, "k");
      let over = false;
      let served = 0;
      let insideNow = 0;
      const job = async () => {
        assert.equal((insideNow += 1), 1, "one at a time");
        await sleep(1);
        insideNow -= 1;
        served += 1;
      };
      const loops = clients.flatMap((client) =>
        [1, 2].map(async () => {
          while (!over) await client.execute("k", job, { timeout: 60 });
        }),
      );
      await queued(admin, lock("k"), clients.length);
      await end();
      const goOn = async () => {
        const before = served;
        await until(() => served > before + 100, "ours go on");
      };
      try {
        await goOn();
        // Whether it asks in the moments that are left for it is chance: it gets many.
        assert.equal(await old.execute("k", () => job().then(() => "its turn"), { timeout: 30 }), "its turn");
        await goOn();
      } finally {
        over = true;
        await settles(Promise.all(loops), "the loops end");
      }
    });

    test("and ours exclude each other in execute", async () => {
      const { clients: [locks, other], old } = await mixed(2);
      const held = await holding(locks, "k");
      await assert.rejects(old.execute("k", () => assert.fail("ran"), { timeout: 1 }), { message: TIMED_OUT });
      await held.end();
      const end = await inside(old, "k");
      for (const client of [locks, other]) {
        const late = client.execute(["j", "k"], () => assert.fail("ran"), { timeout: 0.5 });
        await assert.rejects(late, lockError("LOCK_TIMEOUT", TIMED_OUT));
      }
      assert.equal(await end("done"), "done");
      assert.equal(await locks.execute(["j", "k"], () => "free"), "free");
    });

    test("and ours exclude each other in acquire, and each releases for an owner what the other took", async () => {
      const { clients: [locks], old, value } = await mixed(1);
      for (const [first, second] of [[locks, old], [old, locks]]) {
        await first.acquire(["j", "k"], { ownerId: "me" });
        await assert.rejects(second.acquire("k", { ownerId: "you" }), { message: refusal("k") });
        assert.equal(await second.release("k", { ownerId: "you" }), false);
        assert.equal(await second.release("k", { ownerId: "me" }), true);
        assert.equal(await value("k"), null);
        assert.equal(await value("j"), "me");
        await second.releaseAll({ ownerId: "me" });
        assert.equal(await value("j"), null);
      }
    });

    test("and ours wait for each other with awaitQueue", async () => {
      const { clients: [locks], old, value } = await mixed(1, RARE_POLLS);
      for (const [first, second] of [[locks, old], [old, locks]]) {
        await first.acquire("k", { ownerId: "first" });
        const waiting = watch(second.acquire("k", { ownerId: "second", awaitQueue: true }));
        await stays(() => waiting.state === "pending", "it waits", 200);
        assert.equal(await first.release("k", { ownerId: "first" }), true);
        await settles(waiting.promise, "it goes on");
        assert.equal(await value("k"), "second");
        assert.equal(await second.release("k", { ownerId: "second" }), true);
      }
    });

    test("tells nobody when it releases a lock: ours find out within maximumRetryInterval, in turn", async () => {
      const { clients, old, lock } = await mixed(3, { maximumRetryInterval: 300 });
      for (const round of ["execute", "acquire"]) {
        const end = round === "execute" ? await inside(old, "k") : () => old.release("k", { ownerId: "old" });
        if (round === "acquire") await old.acquire("k", { ownerId: "old" });
        const served = [];
        const waiting = [];
        for (const [n, client] of clients.entries()) {
          waiting.push(client.execute("k", () => void served.push(n), { timeout: 60 }));
          await queued(admin, lock("k"), n + 1);
        }
        await stays(() => served.length === 0, "they wait", 1_500);
        const start = performance.now();
        await end();
        await settles(Promise.all(waiting), "all of ours");
        const ms = performance.now() - start;
        assert.ok(ms < 300 + MARGIN_MS, `${ms} ms`);
        assert.deepEqual(served, [0, 1, 2]);
      }
    });

    test("leaves a lock that expires: ours have it then, whatever the retry options say", async () => {
      const { clients: [locks, other], old, lock } = await mixed(2, RARE_POLLS);
      await old.acquire("k", { ownerId: "crashed", expire: 2 });
      const waiting = [locks.execute("k", () => performance.now(), PATIENT), other.execute("k", () => performance.now(), PATIENT)];
      await queued(admin, lock("k"), 2);
      const lapses = performance.now() + (await admin.pttl(lock("k")));
      const late = (await settles(Promise.all(waiting), "both")).map((at) => at - lapses);
      assert.ok(Math.max(...late) < MARGIN_MS, `late by ${late} ms`);
      assert.ok(Math.min(...late) > -100, `early by ${late} ms`);
    });

    test("does no harm to what ours hold, nor to who waits for it, with releaseAll and ownerless releases", async () => {
      const { clients: [holder, ...others], old, lock, value } = await mixed(4, RARE_POLLS);
      const held = await holding(holder, ["k", "l"]);
      await holder.acquire("named", { ownerId: "me" });
      const served = [];
      const waiting = [];
      for (const [n, client] of others.entries()) {
        waiting.push(client.execute(["k", "l"], () => void served.push(n), { timeout: 60 }));
        await queued(admin, lock("k"), n + 1);
      }
      const keys = await admin.keys("locking-native:*");
      for (let round = 0; round < 3; round += 1) {
        assert.equal(await old.release(["k", "l"]), false);
        await old.releaseAll();
        await old.releaseAll({ ownerId: "somebody" });
      }
      assert.deepEqual((await admin.keys("locking-native:*")).sort(), keys.sort());
      assert.deepEqual([await value("k"), await value("l"), await value("named")], [held.lock.ownerId, held.lock.ownerId, "me"]);
      assert.equal(held.signal.aborted, false);
      await queued(admin, lock("l"), 3);
      await held.end();
      await settles(Promise.all(waiting), "all are served");
      assert.deepEqual(served, [0, 1, 2]);
      assert.equal(await old.release("named", { ownerId: "me" }), true);
    });

    test("holds a key of a set of ours: the set takes nothing until all of it is free, and then goes before others", async () => {
      const { clients: [locks, other], old, lock, value } = await mixed(2);
      const end = await inside(old, "b");
      const set = watch(locks.execute(["a", "b", "c"], () => "the set", PATIENT));
      await queued(admin, lock("a"), 1);
      const single = watch(other.execute("a", () => "the single one", PATIENT));
      await queued(admin, lock("a"), 2);
      await stays(async () => (await value("a")) === null && (await value("c")) === null, "nothing is taken", 300);
      // A node that knows no queue does not stand in one.
      assert.equal(await old.execute(["a", "c"], () => "passes", PATIENT), "passes");
      assert.deepEqual([set.state, single.state], ["pending", "pending"]);
      await end();
      assert.equal(await settles(set.promise, "the set"), "the set");
      assert.equal(await settles(single.promise, "the single one"), "the single one");
    });

    test("hammers two keys together with ours: no two are inside at once, and all are served", async () => {
      const { clients, old } = await mixed(3);
      const insideNow = new Set();
      let done = 0;
      const job = (keys) => async () => {
        for (const key of keys) {
          assert.ok(!insideNow.has(key), `two at once on "${key}"`);
          insideNow.add(key);
        }
        await sleep(1);
        for (const key of keys) insideNow.delete(key);
        done += 1;
      };
      const loop = async (node, keys) => {
        for (let n = 0; n < 8; n += 1) await node.execute(keys, job(keys), PATIENT);
      };
      const ours = clients.flatMap((client) => [loop(client, ["k"]), loop(client, ["k", "l"])]);
      await Promise.all([...ours, loop(old, ["k"]), loop(old, ["l"])]);
      assert.equal(done, 64);
    });
  });
}
