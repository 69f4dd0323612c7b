/** How the scripts pass locks on from one waiter to the next, a call at a time: whose turn it is, who is told, what a claim gets. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { allKeys } from "./support/redis.mjs";
import { held, scriptServer, waits } from "./support/scripts.mjs";

const CLAIM_MS = 2_000;
const SECOND_US = 1_000_000;

let redis, admin, holder, waiting, one, two, three, four;
before(async () => {
  redis = await scriptServer();
  ({ admin, holder, waiting } = redis);
});
beforeEach(async () => {
  [one, two, three, four] = [await redis.member(), await redis.member(), await redis.member(), await redis.member()];
});
// Whatever a test did: once its requests are cancelled, nothing but the counter may be left.
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

test("a release gives the lock to the next waiter, tells it, and leaves it its places until it claims", async () => {
  const job = await held(one, ["a"]);
  const [next, last] = [await waits(two, ["a"]), await waits(three, ["a"])];
  await job.release();
  assert.ok(await next.isHandedOver());
  const ms = await admin.pttl(redis.lock("a"));
  assert.ok(ms > 0 && ms <= CLAIM_MS, `${ms} ms to claim`);
  assert.deepEqual([await next.told(), await last.told()], [["granted"], []]);
  assert.deepEqual(await waiting("a"), [next.attempt, last.attempt]);
  assert.equal((await four.job(["a"]).try()).index, 1, "nobody else can have it");

  await next.gets();
  assert.equal(await holder("a"), `${next.attempt}#${next.token}`);
  assert.ok((await admin.pttl(redis.lock("a"))) > CLAIM_MS, "for its lease now");
  assert.deepEqual(await waiting("a"), [last.attempt]);
  assert.equal(await admin.exists(next.waiter), 0);
});

test("to an owner, the lock is the owner's at once, and its record says that it is not claimed", async () => {
  const job = await held(one, ["a"]);
  for (const owner of ["me", "*"]) {
    const next = two.acquire(owner, ["a"]);
    await next.waits();
    await (owner === "me" ? job : one.acquire("me", ["a"])).release();
    assert.equal(await holder("a"), owner);
    assert.equal(await admin.get(redis.record("a")), `${next.attempt} 0`);
    await next.gets();
    assert.equal(await admin.get(redis.record("a")), `${next.attempt} ${next.token}`);
  }
});

test("of a set: all of it or nothing, however its locks become free", async () => {
  const jobs = [await held(one, ["a"]), await held(one, ["b"]), await held(one, ["c"])];
  const set = await waits(two, ["a", "b", "c"]);
  for (const [n, job] of jobs.entries()) {
    assert.deepEqual([await set.told(), await set.isHandedOver()], [[], false], `${n} free`);
    await job.release();
  }
  assert.deepEqual([await set.told(), await set.isHandedOver()], [["granted"], true]);
});

test("one release of several locks calls every waiter, also two of the same process", async () => {
  const job = await held(one, ["a", "b", "c", "d"]);
  const jobs = [await waits(two, ["a"]), await waits(two, ["b"]), await waits(three, ["c"]), await waits(two, ["d"])];
  await job.release();
  for (const next of jobs) {
    assert.ok(await next.isHandedOver(), next.attempt);
    assert.deepEqual(await next.told(), ["granted"], next.attempt);
  }
});

test("is in the order of tickets, and a set keeps its place in each of its queues", async () => {
  const job = await held(one, ["a", "b", "c"]);
  const sets = [["b"], ["a", "b"], ["a"], ["b", "c"], ["c"], ["a", "b", "c"], ["c"]];
  const jobs = [];
  for (const [n, keys] of sets.entries()) jobs.push(await waits([two, three, four][n % 3], keys));
  await job.release();
  const served = [];
  while (served.length < jobs.length) {
    for (const [n, next] of jobs.entries()) {
      if (served.includes(n) || !(await next.isHandedOver())) continue;
      await next.gets();
      served.push(n);
      await next.release();
    }
    assert.ok(served.length > 0, "somebody has its turn");
  }
  assert.deepEqual(served, [0, 1, 2, 3, 4, 5, 6]);
});

test("a back-dated ticket goes before those that asked after its caller did", async () => {
  const job = await held(one, ["a"]);
  const early = await waits(two, ["a"]);
  const late = await waits(three, ["a"], { age: 10 * SECOND_US });
  assert.equal(Number(late.place), Number(await admin.get(redis.fence)) - 10 * SECOND_US);
  assert.deepEqual(await waiting("a"), [late.attempt, early.attempt]);
  await job.release();
  assert.ok(await late.isHandedOver());
});

test("an attempt that asks again has one place and one grant", async () => {
  const job = await held(one, ["a", "b"]);
  const first = job.token;
  assert.ok((await job.try()) > first, "taken again, under a new token");
  assert.equal(await job.release(), 1);

  const other = await held(one, ["a"]);
  const next = await waits(two, ["a", "b"]);
  const ticket = next.place;
  for (let n = 0; n < 3; n += 1) assert.equal(String((await next.waits()).ticket), ticket);
  assert.deepEqual([await waiting("a"), await waiting("b")], [[next.attempt], [next.attempt]]);
  await other.release();
  await next.gets();
  await next.gets();
  assert.equal(await holder("b"), `${next.attempt}#${next.token}`);
  assert.equal(await next.release(), 1);
  assert.deepEqual(await allKeys(admin), [redis.fence]);
});

test("an attempt that has lost one of its locks holds none of the others while it waits, and gives them to who waits for them", async () => {
  for (const request of [two.job(["a", "b"]), two.acquire("me", ["a", "b"]), two.acquire("*", ["a", "b"])]) {
    await request.try();
    const behind = await waits(three, ["a"]);
    await redis.lapse("b");
    const other = await held(one, ["b"]);
    await request.waits();
    assert.ok(await behind.isHandedOver(), request.attempt);
    await behind.cancel();
    assert.equal(await holder("a"), null);
    await other.release();
    await request.gets();
    await request.release();
  }
});

test("a waiter that the server has forgotten comes back to its old place", async () => {
  const job = await held(one, ["a"]);
  const [early, late] = [await waits(two, ["a"]), await waits(three, ["a"])];
  const ticket = early.place;
  await early.isForgotten();
  assert.deepEqual(await waiting("a"), [late.attempt]);
  assert.equal(String((await early.waits()).ticket), ticket);
  assert.deepEqual(await waiting("a"), [early.attempt, late.attempt]);
  await job.release();
  assert.ok(await early.isHandedOver());
});

test("a key of another type is no lock: the error names it, and nothing is taken or entered", async () => {
  await admin.rpush(redis.lock("b"), "x");
  const before = await allKeys(admin);
  for (const request of [one.job(["a", "b"]), one.acquire("me", ["a", "b"]), one.acquire("*", ["a", "b"])]) {
    for (const ask of [request.try, request.ask]) {
      await assert.rejects(ask(), (error) => error.message.startsWith(`WRONGTYPE ${redis.lock("b")}`));
      assert.deepEqual(await allKeys(admin), before);
    }
  }
  const job = await held(two, ["a"]);
  const stuck = await waits(three, ["a", "c"]);
  await admin.rpush(redis.lock("c"), "x");
  await job.release();
  assert.ok(!(await stuck.isHandedOver()), "one that waits for it does not disturb others");
  await stuck.cancel();
  await admin.del(redis.lock("b"), redis.lock("c"));
});

test("tokens rise over grants of every kind, whatever becomes of the counter", async () => {
  const tokens = [];
  const grant = async (request) => {
    tokens.push(await request.gets());
    return request;
  };
  const round = async () => {
    const job = await grant(one.job(["a"], { reserve: 16 }));
    tokens[tokens.length - 1] += 16;
    const next = [await waits(two, ["a"]), two.acquire("me", ["a"]), three.acquire("me", ["a"]), three.acquire("*", ["a"])];
    for (const request of next.slice(1)) await request.waits();
    await job.release();
    await (await grant(next[0])).release();
    await grant(next[1]);
    await grant(await grant(next[2]));
    await next[2].release();
    await (await grant(next[3])).release();
  };
  await round();
  await admin.del(redis.fence);
  await round();
  await admin.set(redis.fence, String(tokens[0]));
  await round();
  await admin.set(redis.fence, String((await redis.now()) + 3_600 * SECOND_US));
  await round();
  assert.equal(tokens.length, 24);
  for (const [n, token] of tokens.entries()) assert.ok(n === 0 || token > tokens[n - 1], `${n}: ${tokens}`);
});
