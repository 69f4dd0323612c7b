/** Each script alone, against what `docs/PROTOCOL.md` says of it: what it replies, and what stands in Redis after it. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { allKeys } from "./support/redis.mjs";
import { scriptNames, scriptServer } from "./support/scripts.mjs";

/** The largest number that counts without gaps. */
const LAST_TOKEN = String(Number.MAX_SAFE_INTEGER);
const KEEP_MS = 60_000;

let redis, admin, holder, waiting, one, two, three;
before(async () => {
  redis = await scriptServer();
  ({ admin, holder, waiting } = redis);
});
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

const within = (ms, low, high) => assert.ok(ms > low && ms <= high, `${ms}, not in ${low} to ${high}`);

async function members() {
  [one, two, three] = [await redis.member(), await redis.member(), await redis.member()];
}

test("every script has a source", () => {
  const ofOne = ["ACQUIRE_JOB", "ACQUIRE_LOCK", "CANCEL_JOB", "CANCEL_LOCK", "INSPECT", "KEEP", "RELEASE", "RENEW", "RESERVE", "SWEEP"];
  assert.deepEqual([...scriptNames].sort(), [...ofOne, "ACQUIRE_JOBS", "ACQUIRE_LOCKS", "RELEASES"].sort());
});

describe("acquire_job", () => {
  test("takes all of its locks under one token, which is the server's time at least, and leaves nothing beside them", async () => {
    await members();
    const start = await redis.now();
    const job = one.job(["a", "b"], { lease: 7_000 });
    const token = await job.try();
    assert.ok(token >= start, `${token} from ${start}`);
    for (const key of ["a", "b"]) {
      assert.equal(await holder(key), `${job.attempt}#${token}`);
      within(await admin.pttl(redis.lock(key)), 0, 7_000);
    }
    assert.deepEqual(await allKeys(admin), [redis.fence, redis.lock("a"), redis.lock("b")].sort());
    assert.equal(await admin.get(redis.fence), String(token));
    assert.equal(await job.release(), 1);
  });

  test("sets tokens aside for those that its lease will pass to", async () => {
    await members();
    const token = await one.job(["a"], { reserve: 16 }).try();
    assert.equal(await admin.get(redis.fence), String(token + 16));
    assert.ok((await two.job(["b"]).try()) > token + 16);
  });

  test("that does not wait is told which lock is held and for how long, and changes nothing", async () => {
    await members();
    await one.job(["b"], { lease: 9_000 }).try();
    await two.acquire("me", ["d"], { expire: 0 }).try();
    const before = await allKeys(admin);
    const timed = await three.job(["a", "b", "c"]).try();
    assert.equal(timed.index, 2);
    within(timed.ms, 0, 9_000);
    assert.deepEqual(await three.job(["c", "d"]).try(), { index: 2, ms: -1 });
    assert.deepEqual(await allKeys(admin), before);
  });

  test("that does not wait is refused a free lock that somebody waits for, and does not see one that has gone", async () => {
    await members();
    await one.job(["a"]).try();
    await two.job(["a", "b"]).waits();
    assert.equal((await three.job(["b"]).try()).index, 1);
    assert.equal((await three.job(["x", "b"]).try()).index, 2);
    await two.die();
    assert.equal(typeof (await three.job(["b"]).try()), "number");
  });

  test("that waits stands in the queue of each lock under one ticket, and holds nothing", async () => {
    await members();
    await one.job(["b"], { lease: 9_000 }).try();
    const job = two.job(["a", "b"]);
    const told = await job.waits();
    assert.equal(told.index, 2);
    within(told.ms, 0, 9_000);
    assert.equal(told.silent, 0);
    assert.equal(await holder("a"), null);
    for (const key of ["a", "b"]) {
      assert.deepEqual(await admin.zrange(redis.queue(key), 0, -1, "WITHSCORES"), [job.waiter, String(told.ticket)]);
      within(await admin.pttl(redis.queue(key)), KEEP_MS - 5_000, KEEP_MS);
    }
    const { polled, inbox, ...rest } = await admin.hgetall(job.waiter);
    const queues = { 1: redis.queue("a"), 2: redis.queue("b") };
    assert.deepEqual(rest, { ticket: String(told.ticket), owner: "", open: "", granted: "", ...queues });
    assert.match(inbox, /^locking-native:inbox:/);
    within(Number(polled), told.ticket - 1, await redis.now());
    within(await admin.pttl(job.waiter), KEEP_MS - 5_000, KEEP_MS);
  });

  test("is told to look again when the lock before it may lapse only if it is next", async () => {
    await members();
    await one.job(["a"]).try();
    within((await two.job(["a"]).waits()).ms, 0, 30_000);
    assert.equal((await three.job(["a"]).waits()).ms, -1);
    await one.acquire("me", ["b"], { expire: 0 }).try();
    assert.equal((await two.job(["b"]).waits()).ms, -1);
  });

  test("behind a lock of a node that knows no queue says so, and marks that such a node is about", async () => {
    await members();
    for (const [key, value] of [["a", "*"], ["b", "somebody"]]) {
      await admin.set(redis.lock(key), value, "PX", 5_000);
      const job = two.job([key]);
      assert.equal((await job.waits()).silent, 1);
      const [mark] = await redis.marks(key);
      assert.match(mark, /^old \d+$/);
      within(Number(mark.split(" ")[1]) - (await redis.now()), 50_000_000, 60_000_000);
      assert.equal((await three.job([key]).waits()).silent, 0, "only the next one polls");
      await redis.lapse(key);
      await job.gets();
    }
  });

  test("whoever takes a lock for a short time, while others wait, has the next one look in time", async () => {
    await members();
    const first = one.job(["a"]);
    await first.try();
    const [short, next, last] = [two.job(["a"], { lease: 400 }), three.job(["a"]), one.job(["a"])];
    for (const job of [short, next, last]) await job.waits();
    await first.release();
    await short.gets();
    assert.deepEqual(await next.told(), ["look 400"]);
    assert.deepEqual(await last.told(), []);
  });

  test("changes nothing where the counter has left the numbers that count without gaps, and forgives one that is no number", async () => {
    await members();
    await admin.set(redis.fence, LAST_TOKEN);
    for (const request of [one.job(["a"]), one.acquire("me", ["a"])]) {
      await assert.rejects(request.try(), /out of range/);
      await assert.rejects(request.ask(), /out of range/);
    }
    assert.deepEqual(await allKeys(admin), [redis.fence]);
    assert.equal(await admin.get(redis.fence), LAST_TOKEN);
    await admin.set(redis.fence, "what");
    const start = await redis.now();
    within(await one.job(["a"]).try(), start - 1, await redis.now());
  });
});

describe("acquire_lock", () => {
  test("a lock holds its owner, for as long as it says or without end, beside a record of the attempt and the token", async () => {
    await members();
    const [timed, endless, nobody] = [one.acquire("me", ["a"], { expire: 8_000 }), one.acquire("me", ["b"], { expire: 0 }), one.acquire("*", ["c"])];
    for (const request of [timed, endless, nobody]) await request.try();
    assert.deepEqual([await holder("a"), await holder("b"), await holder("c")], ["me", "me", "*"]);
    for (const [key, { attempt, token }] of [["a", timed], ["b", endless], ["c", nobody]]) {
      assert.equal(await admin.get(redis.record(key)), `${attempt} ${token}`);
    }
    within(await admin.pttl(redis.lock("a")), 0, 8_000);
    within(await admin.pttl(redis.record("a")), 0, 8_000);
    assert.equal(await admin.pttl(redis.lock("b")), -1);
    within(await admin.pttl(redis.record("b")), 8_000, 86_400_000);
  });

  test("the same owner takes it again at the new expiry, past those that wait; cancelled, the lock is as it was", async () => {
    await members();
    const first = one.acquire("me", ["a"], { expire: 0 });
    await first.try();
    await three.job(["a"]).waits();
    const again = two.acquire("me", ["a"], { expire: 5_000 });
    assert.ok((await again.try()) > first.token);
    assert.equal(await admin.get(redis.record("a")), `${first.attempt} ${first.token} ${again.attempt} -1 me`);
    within(await admin.pttl(redis.lock("a")), 0, 5_000);
    await again.cancel();
    assert.equal(await holder("a"), "me");
    assert.equal(await admin.pttl(redis.lock("a")), -1);
    assert.equal(await admin.get(redis.record("a")), `${first.attempt} ${first.token}`);
    assert.equal(await first.release(), 1);
  });

  test("one of several that another owner holds: nothing is taken, and what the owner had is as it was", async () => {
    await members();
    const mine = one.acquire("me", ["a"], { expire: 9_000 });
    await mine.try();
    await two.acquire("you", ["c"]).try();
    const both = one.acquire("me", ["a", "b", "c"], { expire: 60_000 });
    for (const reply of [await both.try(), await both.waits()]) assert.equal(reply.index, 3);
    assert.deepEqual([await holder("a"), await holder("b"), await holder("c")], ["me", null, "you"]);
    within(await admin.pttl(redis.lock("a")), 0, 9_000);
  });

  test("without an owner, nobody may take the lock again but the attempt itself; open to all, everybody may", async () => {
    await members();
    const first = one.acquire("*", ["a"]);
    await first.try();
    assert.equal((await two.acquire("*", ["a"]).try()).index, 1);
    assert.equal((await two.acquire("me", ["a"]).try()).index, 1);
    assert.ok((await first.try()) > 0);
    const adopting = two.acquire("me", ["a"], { open: true });
    assert.equal(typeof (await adopting.try()), "number");
    assert.equal(await holder("a"), "me");
    await adopting.release();
  });

  test("only if its owner holds all of them already: else nothing is taken, whether they are free or not", async () => {
    await members();
    await one.acquire("me", ["a"], { expire: 5_000 }).try();
    assert.equal((await one.acquire("me", ["b"], { mustHold: true }).try()).index, 1);
    assert.equal((await one.acquire("me", ["a", "b"], { mustHold: true }).try()).index, 2);
    assert.equal((await two.acquire("you", ["a"], { mustHold: true }).try()).index, 1);
    assert.equal(await holder("b"), null);
    const longer = one.acquire("me", ["a"], { expire: 50_000, mustHold: true });
    assert.equal(typeof (await longer.try()), "number");
    within(await admin.pttl(redis.lock("a")), 5_000, 50_000);
    await longer.release();
  });

  test("others of the same owner that wait are told to look as soon as one of them has the lock", async () => {
    await members();
    const job = one.job(["a"]);
    await job.try();
    const [first, second] = [two.acquire("me", ["a"]), three.acquire("me", ["a"])];
    for (const request of [first, second]) await request.waits();
    await job.release();
    await first.gets();
    assert.ok((await second.told()).length > 0);
    assert.ok((await second.gets()) > first.token);
    assert.equal(await first.release(), 1);
  });
});

describe("release", () => {
  test("frees what the owner holds, and says whether that was all", async () => {
    await members();
    const [job, mine] = [one.job(["a", "b"]), two.acquire("me", ["c", "d"])];
    for (const request of [job, mine]) await request.try();
    await redis.lapse("b");
    await redis.lapse("d");
    await one.acquire("you", ["b", "d"]).try();
    assert.equal(await job.release(), 0);
    assert.equal(await mine.release(), 0);
    assert.deepEqual([await holder("a"), await holder("b"), await holder("c"), await holder("d")], [null, "you", null, "you"]);
    assert.equal(await mine.release(), 0);
  });

  test("by a token that is not the lock's frees nothing", async () => {
    await members();
    const job = one.job(["a"]);
    const token = await job.try();
    job.token = token - 1;
    assert.equal(await job.release(), 0);
    assert.equal(await holder("a"), `${job.attempt}#${token}`);
  });

  test("a lock without an owner is freed by an ownerless release, and by any where it is open to all", async () => {
    await members();
    await one.acquire("*", ["a"]).try();
    assert.equal(await two.acquire("me", ["a"]).release(), 0);
    assert.equal(await two.acquire("*", ["a"]).release(), 1);
    await one.acquire("*", ["a"]).try();
    assert.equal(await two.acquire("me", ["a"], { open: true }).release(), 1);
    assert.equal(await holder("a"), null);
  });

  test("remembers for two seconds that it is passed on where others of its process come right behind", async () => {
    await members();
    const job = one.job(["a"]);
    await job.try();
    await job.release({ more: true });
    assert.match((await redis.marks("a")).join(), /^since \d+$/);
    within(await admin.pttl(redis.queue("a")), 0, 2_000);
    assert.equal(typeof (await two.job(["a"]).ask()), "number", "it is free all the same");
  });
});

describe("cancel", () => {
  test("gives back what the attempt took, and nothing that another one has", async () => {
    await members();
    const [job, other, mine] = [one.job(["a", "b"]), two.job(["b"]), three.acquire("me", ["c", "d"])];
    for (const request of [job, mine]) await request.try();
    await redis.lapse("b");
    await other.try();
    assert.equal(await job.cancel(), 1);
    assert.equal(await mine.cancel(), 1);
    assert.deepEqual(await Promise.all(["a", "b", "c", "d"].map(holder)), [null, `${other.attempt}#${other.token}`, null, null]);
    assert.equal(await three.acquire("you", ["x"]).cancel(), 1, "what was never there can be cancelled");
  });

  test("of one that waits lets those behind it through at once, in its other queues too", async () => {
    await members();
    await one.job(["a"]).try();
    for (const leaving of [two.job(["a", "b"]), two.acquire("me", ["a", "b"])]) {
      await leaving.waits();
      const behind = three.job(["b"]);
      await behind.waits();
      await leaving.cancel();
      assert.deepEqual(await behind.told(), ["granted"]);
      assert.deepEqual(await waiting("a"), []);
      await behind.cancel();
    }
  });

  test("of one that its locks have been handed over to hands them on", async () => {
    await members();
    for (const leaving of [two.job(["a"]), two.acquire("me", ["a"]), two.acquire("*", ["a"])]) {
      const [job, behind] = [one.job(["a"]), three.job(["a"])];
      await job.try();
      await leaving.waits();
      await behind.waits();
      await job.release();
      assert.ok(await leaving.isHandedOver());
      await leaving.cancel();
      assert.ok(await behind.isHandedOver());
      await behind.cancel();
    }
  });
});

test("renew extends the leases that hold all their locks, and names the lock that another lost", async () => {
  await members();
  const [job, losing] = [one.job(["a", "b"], { lease: 5_000 }), one.job(["c", "d"], { lease: 5_000 })];
  for (const request of [job, losing]) await request.try();
  await redis.lapse("d");
  const lease = ({ attempt, token }, keys) => [keys, `${attempt}#${token}`, 40_000];
  assert.deepEqual(await redis.renew([lease(job, ["a", "b"]), lease(losing, ["c", "d"]), lease(job, ["a", "x"])]), [0, 2, 2]);
  for (const key of ["a", "b"]) within(await admin.pttl(redis.lock(key)), 30_000, 40_000);
  within(await admin.pttl(redis.lock("c")), 0, 5_000);
});

describe("reserve", () => {
  test("sets tokens aside for a job that holds all of its locks, above all before them, and changes nothing else", async () => {
    await members();
    const job = one.job(["a", "b"], { lease: 9_000, reserve: 16 });
    const token = await job.try();
    const other = await two.job(["c"]).try();
    const first = await job.reserve(16);
    assert.ok(first > other && first > token + 16, `${first} after ${token} and ${other}`);
    assert.equal(await admin.get(redis.fence), String(first + 15));
    assert.ok((await three.job(["d"]).try()) > first + 15);
    for (const key of ["a", "b"]) {
      assert.equal(await holder(key), `${job.attempt}#${token}`);
      within(await admin.pttl(redis.lock(key)), 0, 9_000);
    }
    assert.equal(await admin.exists(redis.queue("a"), redis.queue("b")), 0);
  });

  test("sets none aside where somebody else waits for one of the locks", async () => {
    await members();
    const job = one.job(["a", "b"]);
    await job.try();
    const waits = two.job(["b", "c"]);
    await waits.waits();
    const before = await admin.get(redis.fence);
    assert.equal(await job.reserve(16), 0);
    assert.equal(await admin.get(redis.fence), before);
    await waits.cancel();
    // What a queue remembers is nobody who waits.
    await redis.mark("b", "old", 5_000_000);
    assert.ok((await job.reserve(1)) > Number(before));
  });

  test("sets none aside for a job that has lost a lock, and names it", async () => {
    await members();
    const job = one.job(["a", "b"]);
    await job.try();
    await redis.lapse("b");
    assert.equal(await job.reserve(16), -2);
    await two.job(["b"]).try();
    assert.equal(await job.reserve(16), -2);
    await admin.del(redis.lock("a"));
    await admin.lpush(redis.lock("a"), "no lock");
    assert.equal(await job.reserve(16), -1);
    await admin.del(redis.lock("a"));
  });
});

test("sweep releases an owner's, or all, and hands them over", async () => {
  await members();
  const keys = ["a", "b", "c"];
  const sweep = async (owner) => {
    await one.acquire("me", ["a"]).try();
    await one.acquire("you", ["b"]).try();
    await one.job(["c"]).try();
    const jobs = keys.map((key) => two.job([key]));
    for (const job of jobs) await job.waits();
    assert.equal(await redis.sweep(keys, owner), 1);
    const now = await Promise.all(jobs.map((job) => job.isHandedOver()));
    for (const job of jobs) await job.cancel();
    await redis.sweep(keys);
    return now;
  };
  assert.deepEqual(await sweep("me"), [true, false, false]);
  assert.deepEqual(await sweep(), [true, true, true]);
  assert.equal(await admin.exists(redis.record("a"), redis.record("b")), 0);
});

test("inspect shows owner, rest and record; not the record of a lock before it, nor a key that is no lock", async () => {
  await members();
  const [job, mine] = [one.job(["a"]), one.acquire("me", ["b"], { expire: 0 })];
  for (const request of [job, mine]) await request.try();
  await admin.set(redis.lock("c"), "*");
  await admin.set(redis.record("c"), "execute:h:1:n:1 17", "PX", 5_000);
  await admin.set(redis.lock("d"), "old", "PX", 9_000);
  await admin.set(redis.record("d"), "execute:h:1:n:1 17", "PX", 5_000);
  await admin.rpush(redis.lock("e"), "x");
  const [a, b, c, d, ...none] = await redis.inspect(["a", "b", "c", "d", "e", "f"]);
  within(a[1], 0, 30_000);
  assert.deepEqual([a[0], a[2]], [`${job.attempt}#${job.token}`, null]);
  assert.deepEqual(b, ["me", -1, `${mine.attempt} ${mine.token}`]);
  assert.deepEqual(c.slice(0, 2), ["*", -1]);
  assert.deepEqual([d[0], d[2]], ["old", null]);
  assert.deepEqual(none, [null, null]);
  await admin.del(...["c", "d", "e"].map(redis.lock), ...["c", "d"].map(redis.record));
});
