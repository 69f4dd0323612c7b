/**
 * Waiters that are not called when their turn comes, or called when it has not: connections cut at the worst moment, a user
 * without the right to channels, forged messages, a server that forgets. They are served all the same, in order, and once.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { connectionOf, fleetServer, inboxes, queued, RARE_POLLS, waitersOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { Locks, projectRoot } from "./support/product.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

/** Who is not called asks at least this often. */
const POLL_MS = 1_000;
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 2_000;

let server, admin, fleet, leaveNothing;
const opened = [];
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((locks) => locks.close()));
  await leaveNothing();
});
after(() => server.stop());

function open(options) {
  const locks = new Locks(options);
  opened.push(locks);
  return locks;
}

describe("a connection that is cut", () => {
  const NAMES = ["first", "second", "third"];

  /** One client holds "k", and three wait for it in this order; `jobs` are theirs, `served` tells whose turn it was. */
  async function threeWait(jobs = {}) {
    const { clients, lock, options } = fleet(1, RARE_POLLS);
    const held = await holding(clients[0], "k");
    const served = [];
    const waiting = [];
    for (const [n, name] of NAMES.entries()) {
      const job = () => (served.push(name), jobs[name]?.(served));
      const locks = open({ ...options, redisOptions: { connectionName: name } });
      waiting.push(locks.execute("k", job, { timeout: 60 }));
      await queued(admin, lock("k"), n + 1);
    }
    return { held, served, all: Promise.all(waiting), lock: lock("k") };
  }

  const idOf = async (name) => (await connectionOf(admin, name))?.id;
  const cut = async (name) => admin.client("KILL", "ID", await idOf(name));

  for (const name of NAMES) {
    test(`that of the ${name} of three waiters: it keeps its place`, async () => {
      const { held, served, all } = await threeWait();
      const before = await idOf(name);
      await cut(name);
      const isBack = async () => {
        const now = await connectionOf(admin, name);
        return now !== undefined && now.id !== before && now.channels === 1;
      };
      await until(isBack, "it is back, and listens");
      await held.end();
      await settles(all, "all are served");
      assert.deepEqual(served, NAMES);
    });
  }

  test("that of the next one while the lock is released: it may lose this turn, but not its place", async () => {
    for (let round = 0; round < 5; round += 1) {
      let lock;
      const firstIsBack = (served) =>
        until(async () => served.includes("first") || (await waitersOf(admin, lock)).length === 2, "the first is back");
      const row = await threeWait({ second: firstIsBack });
      lock = row.lock;
      const id = await idOf("first");
      await Promise.all([admin.client("KILL", "ID", id), row.held.end()]);
      await settles(row.all, "all are served");
      assert.equal(row.served.length, 3);
      assert.ok(row.served.indexOf("first") < row.served.indexOf("third"), `${row.served}`);
      await Promise.all(opened.splice(0).map((locks) => locks.close()));
    }
  });

  test("that of the holder: the lock stays its own, and is handed over when the job ends", async () => {
    const { clients, lock, options } = fleet(1, RARE_POLLS);
    const holder = open({ ...options, redisOptions: { connectionName: "holder" } });
    const held = await holding(holder, "k");
    const waiting = watch(clients[0].execute("k", () => "served", { timeout: 60 }));
    await queued(admin, lock("k"), 1);
    await cut("holder");
    const ended = held.end("done");
    assert.equal(await settles(ended, "the holder's execute"), "done");
    assert.equal(await settles(waiting.promise, "the one that waits"), "served");
  });

  test("those of all, again and again, while they hand one lock around: one at a time, and all are served", async () => {
    const { clients } = fleet(4, RARE_POLLS);
    let inside = 0;
    let served = 0;
    const job = async () => {
      assert.equal((inside += 1), 1, "one at a time");
      await new Promise(setImmediate);
      inside -= 1;
      served += 1;
    };
    const loops = clients.map(async (locks) => {
      for (let n = 0; n < 40; n += 1) await locks.execute("k", job, { timeout: 60 });
    });
    const all = watch(Promise.all(loops));
    for (let next = 20; all.state === "pending" && next < 160; next += 20) {
      await until(() => served >= next || all.state !== "pending", `${next} served`);
      for (const type of ["normal", "pubsub"]) await admin.client("KILL", "TYPE", type, "SKIPME", "yes");
    }
    await settles(all.promise, "all are served");
    assert.equal(served, 160);
  });
});

describe("a user without the right to channels", () => {
  /** Options with which a client can neither subscribe nor publish. */
  async function deaf(options) {
    await admin.call("ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all", "resetchannels");
    return { ...options, redisUrl: `redis://deaf:secret@127.0.0.1:${server.port}` };
  }

  const soon = async (promise, times, what) => {
    const start = performance.now();
    const result = await settles(promise, what);
    const ms = performance.now() - start;
    assert.ok(ms < times * POLL_MS + MARGIN_MS, `${what}: ${ms} ms`);
    return result;
  };

  test("waits in the queue and is served in turn, each within a poll", async () => {
    const { options, lock } = fleet(0, RARE_POLLS);
    const clients = [];
    for (let n = 0; n < 4; n += 1) clients.push(open(await deaf(options)));
    const held = await holding(clients[0], "k");
    const served = [];
    const waiting = [];
    for (const [n, client] of clients.slice(1).entries()) {
      waiting.push(client.execute("k", () => void served.push(n), { timeout: 60 }));
      await queued(admin, lock("k"), n + 1);
    }
    assert.deepEqual(await inboxes(admin), []);
    await held.end();
    await soon(Promise.all(waiting), 3, "three that wait");
    assert.deepEqual(served, [0, 1, 2]);
  });

  test("serves and is served by clients that have it", async () => {
    const { clients: [hearing], options, lock } = fleet(1, RARE_POLLS);
    const mute = open(await deaf(options));
    for (const [holder, waiter] of [[hearing, mute], [mute, hearing]]) {
      const held = await holding(holder, "k");
      const waiting = waiter.execute("k", () => "served", { timeout: 60 });
      await queued(admin, lock("k"), 1);
      await held.end();
      assert.equal(await soon(waiting, 1, "the other kind"), "served");

      await holder.acquire("k", { ownerId: "me" });
      const acquiring = waiter.acquire("k", { ownerId: "you", awaitQueue: true });
      await queued(admin, lock("k"), 1);
      await holder.release("k", { ownerId: "me" });
      await soon(acquiring, 1, "the other kind's acquire");
      await waiter.release("k", { ownerId: "you" });
    }
  });

  test("that is closed while it waits leaves the queue", async () => {
    const { clients: [hearing], options, lock } = fleet(1, RARE_POLLS);
    const mute = open(await deaf(options));
    const held = await holding(hearing, "a");
    const leaving = assert.rejects(mute.execute(["a", "b"], () => assert.fail("ran"), { timeout: 60 }), { code: "CLOSED" });
    await queued(admin, lock("b"), 1);
    const behind = hearing.execute("b", () => "served", { timeout: 60 });
    await mute.close();
    await settles(leaving, "the one that is closed");
    assert.equal(await soon(behind, 1, "the one behind it"), "served");
    await held.end();
  });
});

describe("a user with the rights that the README names", () => {
  test("can do everything, and is called like any other", async () => {
    const readme = readFileSync(join(projectRoot, "README.md"), "utf8");
    const [, rights] = readme.match(/^ACL (SETUSER store on >secret .*)$/m);
    await admin.call("ACL", ...rights.split(" "));
    const { options, lock } = fleet(0, { ...RARE_POLLS, namespace: "medusa_lock:" });
    const redisUrl = `redis://store:secret@127.0.0.1:${server.port}`;
    const [one, two] = [1, 2].map(() => open({ ...options, redisUrl, redisOptions: { connectionName: "store" } }));

    const held = await holding(one, ["k", "l"], { expire: 0.9 });
    const waiting = two.execute(["l", "m"], () => performance.now(), { timeout: 60 });
    await queued(admin, lock("l"), 1);
    assert.equal((await inboxes(admin)).length, 2);
    await stays(() => !held.signal.aborted, "the lease is renewed", 1_200);
    const start = performance.now();
    await held.end();
    const ms = (await settles(waiting, "the one that waits")) - start;
    assert.ok(ms < 500, `${ms} ms`);

    await one.acquire("k", { ownerId: "me" });
    await assert.rejects(two.acquire("k", { ownerId: "you", awaitQueue: true, timeout: 0.2 }), { code: "LOCK_TIMEOUT" });
    const acquiring = two.acquire("k", { ownerId: "you", awaitQueue: true });
    await queued(admin, lock("k"), 1);
    await admin.client("KILL", "ID", (await connectionOf(admin, "store")).id);
    await one.release("k", { ownerId: "me" });
    await settles(acquiring, "the acquire");
    assert.deepEqual((await one.inspect()).map(({ key, ownerId }) => [key, ownerId]), [["k", "you"]]);
    await one.releaseAll();
  });
});

describe("messages that nobody of the fleet sent", () => {
  const BIG = 4_000_000;

  /** Texts that a waiter's inbox may get from anybody; `n` is the number of its request. */
  const forged = (n) => [
    "", " ", "nonsense", "granted", "granted ", "granted x", "granted -1", "granted 1.5", "granted 99999999999999999999999999",
    `granted ${n}`, `granted ${n} ${n}`, ` granted ${n}`, `GRANTED ${n}`, `granted ${n - 1}`, `granted ${n + 1}`, `granted ${n}\r\n`,
    "look", `look ${n}`, `look ${n} x`, `look ${n} 0`, `look ${n} -1`, `look ${n} 1e99`, `look ${n} 99999999999999999999999999`,
    `look ${n} 18446744073709551615`, `look ${n} 3600000`, "\0\u{1F512}", Buffer.from([0xff, 0xfe, 0x00, 0x80]),
    Buffer.alloc(BIG, "granted "), `granted ${n}`.padEnd(BIG), `look ${n} ${"0".repeat(BIG)}`,
  ];

  const tell = async (messages) => {
    for (const inbox of await inboxes(admin)) for (const message of messages) await admin.publish(inbox, message);
  };

  /** The number of the only waiter of a lock. */
  const numberOf = async (lock) => Number((await waitersOf(admin, lock))[0].match(/\d+$/)[0]);

  test("grant nothing, and hold up nothing: the waiter is served in its turn, once", async () => {
    const { clients, lock } = fleet(2, RARE_POLLS);
    const held = await holding(clients[0], "k");
    let runs = 0;
    const waiting = watch(clients[1].execute("k", () => (runs += 1), { timeout: 60 }));
    await queued(admin, lock("k"), 1);
    const messages = forged(await numberOf(lock("k")));
    await tell(messages);
    await stays(() => waiting.state === "pending" && runs === 0, "it waits", 1_500);
    assert.equal(await admin.get(lock("k")), held.lock.ownerId);
    assert.equal((await waitersOf(admin, lock("k"))).length, 1);

    const telling = tell(messages);
    await held.end();
    assert.equal(await settles(waiting.promise, "its turn"), 1);
    await telling;
    await tell(messages);
    assert.equal(await clients[0].execute("k", () => "free", { timeout: 5 }), "free");
    assert.equal(runs, 1);
  });

  test("do not disturb an acquire in the queue, nor the job that was called by one of them", async () => {
    const { clients, lock } = fleet(3, RARE_POLLS);
    await clients[0].acquire("k", { ownerId: "first" });
    const second = watch(clients[1].acquire("k", { ownerId: "second", awaitQueue: true }));
    await queued(admin, lock("k"), 1);
    const n = await numberOf(lock("k"));
    const third = watch(clients[2].execute("k", () => "third", { timeout: 60 }));
    await queued(admin, lock("k"), 2);
    for (let round = 0; round < 100; round += 1) await tell([`granted ${n}`, `look ${n} 0`]);
    assert.deepEqual([second.state, third.state], ["pending", "pending"]);
    assert.equal(await admin.get(lock("k")), "first");
    await clients[0].release("k", { ownerId: "first" });
    await settles(second.promise, "the second");
    await tell([`granted ${n}`, `granted ${n + 1}`]);
    await stays(async () => third.state === "pending" && (await admin.get(lock("k"))) === "second", "the second's", 300);
    await clients[1].release("k", { ownerId: "second" });
    assert.equal(await settles(third.promise, "the third"), "third");
  });
});

describe("a server that forgets", () => {
  test("FLUSHALL while some hold and wait: the holder is told, those that wait are served, one at a time", async () => {
    const { clients, lock } = fleet(5, { ...RARE_POLLS, lease: 3 });
    const [holder, ...others] = clients;
    const held = await holding(holder, "k");
    let inside = 0;
    const job = async () => {
      assert.equal((inside += 1), 1, "one at a time");
      await new Promise((resolve) => setTimeout(resolve, 30));
      inside -= 1;
      return "served";
    };
    const waiting = others.flatMap((client) => ["k", ["k", "l"]].map((keys) => client.execute(keys, job, { timeout: 60 })));
    await until(async () => (await waitersOf(admin, lock("k"))).length >= others.length, "they wait");
    await admin.flushall();
    await admin.script("FLUSH");
    assert.deepEqual(await settles(Promise.all(waiting), "all that wait"), Array(waiting.length).fill("served"));
    await until(() => held.signal.aborted, "the holder is told");
    await assert.rejects(held.end(), { code: "LOCK_LOST" });
  });

  test("the queues deleted while the lock is held: those that wait come back to their places", async () => {
    const { clients, lock } = fleet(5, RARE_POLLS);
    const [holder, ...others] = clients;
    const held = await holding(holder, "k");
    const served = [];
    const waiting = [];
    for (const [n, client] of others.entries()) {
      waiting.push(client.execute("k", () => void served.push(n), { timeout: 60 }));
      await queued(admin, lock("k"), n + 1);
    }
    for (const name of await admin.keys("locking-native:{*")) await admin.del(name);
    await queued(admin, lock("k"), others.length);
    await held.end();
    await settles(Promise.all(waiting), "all are served");
    assert.deepEqual(served, [0, 1, 2, 3]);
  });
});
