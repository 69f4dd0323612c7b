/** Jobs of one process that follow each other on a key: on Redis, a lease passes from one to the next without a round trip. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { lockError, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { deferred, settles, until, watch } from "./support/waiting.mjs";

const queued = (locks, count) =>
  until(async () => (await locks.inspect("k"))[0]?.waiting === count, `${count} wait`);

/** Queues these jobs for "k" behind one that ends when all of them wait; resolves with what to watch them by. */
async function inARow(locks, jobs, timeout = 60) {
  const held = await holding(locks, "k");
  const outcomes = jobs.map((job) => watch(locks.execute("k", job, { timeout })));
  await queued(locks, jobs.length);
  await held.end();
  return outcomes;
}

const allSettle = (outcomes) => settles(Promise.allSettled(outcomes.map(({ promise }) => promise)), "every job's end");

onEachBackend("jobs in a row", (backend) => {
  test("each has a higher fencing token than the one before, and an owner id of its own", async () => {
    const locks = backend.locks();
    const seen = [];
    const note = (_signal, lock) => void seen.push(lock);
    for (let round = 0; round < 5; round += 1) await allSettle(await inARow(locks, Array(30).fill(note)));
    assert.equal(seen.length, 150);
    for (let n = 1; n < seen.length; n += 1) {
      assert.ok(seen[n].fencingToken > seen[n - 1].fencingToken, `${seen[n - 1].fencingToken}, then ${seen[n].fencingToken}`);
    }
    assert.equal(new Set(seen.map(({ ownerId }) => ownerId)).size, seen.length);
  });

  test("an ended job's owner id releases nothing of the next one's, whose own does", async () => {
    const namespace = freshNamespace();
    // A short lease, for a job learns of a release when its lease is renewed.
    const [locks, other] = [backend.locks({ namespace, lease: 1.5 }), backend.locks({ namespace })];
    let first;
    const second = deferred();
    const end = deferred();
    const outcomes = await inARow(locks, [
      (_signal, lock) => void (first = lock),
      (signal, lock) => (second.resolve({ signal, lock }), end.promise),
      () => "third",
    ]);
    const running = await settles(second.promise, "the second job runs");
    assert.equal(await locks.release("k", { ownerId: first.ownerId }), false);
    await assert.rejects(other.execute("k", () => assert.fail("ran"), { timeout: 0 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    assert.equal(running.signal.aborted, false);
    assert.equal(outcomes[2].state, "pending");

    assert.equal(await locks.release("k", { ownerId: running.lock.ownerId }), true);
    await until(() => running.signal.aborted, "the second job is told that its lock was released");
    end.resolve("must not count");
    await assert.rejects(outcomes[1].promise, lockError("LOCK_LOST"));
    assert.equal(await settles(outcomes[2].promise, "the third job"), "third");
  });
});

describe("a lease on Redis that passes from job to job", () => {
  let server, admin;
  before(async () => {
    server = await redisServer();
    admin = server.connect();
  });
  after(() => server.stop());

  const open = (t, options) => {
    const locks = new Locks({ redisUrl: server.url, ...options });
    t.after(() => locks.close());
    return locks;
  };
  /** Notes for each job whether Redis knows its lock by the job's own name. */
  const note = (namespace, own) => async (_signal, lock) => {
    own.push((await admin.get(`${namespace}k`)) === lock.ownerId);
  };

  test("jobs that follow each other share one grant, and leave nothing behind", async (t) => {
    const namespace = freshNamespace();
    const locks = open(t, { namespace });
    const own = [];
    // How many pass in 50 ms is the machine's matter; that some do is ours.
    await until(async () => {
      await allSettle(await inARow(locks, Array(10).fill(note(namespace, own))));
      return own.includes(false);
    }, "a lease was passed on");
    await until(async () => (await admin.exists(`${namespace}k`)) === 0, "the lock is given back");
    await nothingLeft(admin, namespace);
  });

  test("hundreds of jobs share a few grants where nobody else waits, each with a token of its own", async (t) => {
    const namespace = freshNamespace();
    const locks = open(t, { namespace });
    // How many pass before a lease must go back is the machine's matter as well; one grant passes 16 times, if the server is
    // not asked for more.
    await until(async () => {
      const names = new Set();
      const tokens = [];
      const job = async (_signal, lock) => {
        tokens.push(lock.fencingToken);
        names.add(await admin.get(`${namespace}k`));
      };
      await allSettle(await inARow(locks, Array(400).fill(job)));
      assert.equal(tokens.length, 400);
      for (let n = 1; n < tokens.length; n += 1) assert.ok(tokens[n] > tokens[n - 1], `${tokens[n - 1]}, then ${tokens[n]}`);
      return names.size < 400 / 17;
    }, "400 jobs share fewer grants than that makes");
    await nothingLeft(admin, namespace);
  });

  test("localHandoffs 0: each job has a grant of its own", async (t) => {
    const namespace = freshNamespace();
    const locks = open(t, { namespace, localHandoffs: 0 });
    const own = [];
    await allSettle(await inARow(locks, Array(20).fill(note(namespace, own))));
    assert.deepEqual(own, Array(20).fill(true));
  });

  test("another process's turn comes within its patience, however many callers loop on the key here", async (t) => {
    const namespace = freshNamespace();
    const busy = open(t, { namespace });
    // It asks often enough to meet every gap that is left for it.
    const other = open(t, { namespace, maximumRetryInterval: 100 });
    let served = 0;
    let over = false;
    const loops = Array.from({ length: 20 }, async () => {
      while (!over) await busy.execute("k", () => void (served += 1), { timeout: 60 });
    });
    await until(() => served > 100, "the callers loop");
    try {
      for (let turn = 0; turn < 2; turn += 1) {
        assert.equal(await other.execute("k", () => "served", { timeout: 5 }), "served");
      }
    } finally {
      over = true;
      await settles(Promise.all(loops), "the loops end");
    }
  });

  test("a lock that its own job has released is passed on to nobody: whoever comes next has a grant of its own", async (t) => {
    const namespace = freshNamespace();
    const [locks, other] = [open(t, { namespace }), open(t, { namespace })];
    for (const release of [(ownerId) => locks.release("k", { ownerId }), (ownerId) => locks.releaseAll({ ownerId }), () => locks.releaseAll()]) {
      const tokens = [];
      const outcomes = await inARow(locks, [
        () => "first",
        async (_signal, lock) => {
          await release(lock.ownerId);
          assert.equal(await admin.exists(`${namespace}k`), 0, "it is released, also where its lease was passed on to it");
          await other.execute("k", (_signal, { fencingToken }) => void tokens.push(fencingToken));
        },
        async (_signal, lock) => {
          tokens.push(lock.fencingToken);
          assert.equal(await admin.get(`${namespace}k`), lock.ownerId);
          return "third";
        },
      ]);
      await allSettle(outcomes);
      assert.ok(lockError("LOCK_LOST")(outcomes[1].reason));
      assert.equal(await outcomes[2].promise, "third");
      assert.ok(tokens[1] > tokens[0], `${tokens[0]}, then ${tokens[1]}`);
      await nothingLeft(admin, namespace);
    }
  });

  test("the lock deleted under the first: the last to run under it is told, and the next one has a grant of its own", async (t) => {
    const namespace = freshNamespace();
    const locks = open(t, { namespace });
    const outcomes = await inARow(locks, [() => admin.del(`${namespace}k`), ...Array(8).fill(() => "ran")]);
    await allSettle(outcomes);
    const lost = outcomes.filter(({ state }) => state === "rejected");
    assert.equal(lost.length, 1);
    assert.ok(lockError("LOCK_LOST")(lost[0].reason));
    assert.equal(await locks.execute("k", () => "served"), "served");
    await nothingLeft(admin, namespace);
  });

  test("the lock taken over under the first: the last to run under it is told, and the new owner's lock stays", async (t) => {
    const namespace = freshNamespace();
    const locks = open(t, { namespace });
    const outcomes = await inARow(locks, [() => admin.set(`${namespace}k`, "foreign"), ...Array(8).fill(() => "ran")], 3);
    await allSettle(outcomes);
    const refused = outcomes.filter(({ state }) => state === "rejected").map(({ reason }) => reason.code);
    assert.deepEqual(refused.filter((code) => code !== "LOCK_TIMEOUT"), ["LOCK_LOST"]);
    assert.equal(await admin.get(`${namespace}k`), "foreign");
  });
});
