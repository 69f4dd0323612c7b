/** Waiters that are dead or frozen, as the scripts find them a call at a time: they cost others no more than the protocol says. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { held, scriptServer, waits } from "./support/scripts.mjs";
import { settles, until } from "./support/waiting.mjs";

const CLAIM_MS = 2_000;
const SECOND_US = 1_000_000;
/** How long a lock is left free that has been passed on for a second. */
const GAP_MS = 30;
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 2_500;

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

describe("who is dead", () => {
  test("is passed over at once, with all its places", async () => {
    const job = await held(one, ["a"]);
    const dead = [await waits(two, ["a"]), await waits(two, ["a", "b"]), await waits(three, ["a", "c"])];
    const live = [await waits(four, ["b"]), await waits(four, ["a"]), await waits(four, ["c"])];
    await two.die();
    await three.die();
    await job.release();
    for (const next of live) assert.ok(await next.isHandedOver(), next.attempt);
    assert.equal(await admin.exists(...dead.map(({ waiter }) => waiter)), 0);
  });

  test("is known to be so though somebody listens to every channel", async () => {
    const monitor = redis.server.connect();
    await monitor.psubscribe("*");
    const job = await held(one, ["a"]);
    await waits(two, ["a"]);
    const live = await waits(three, ["a"]);
    await two.die();
    await job.release();
    assert.ok(await live.isHandedOver());
    await monitor.quit();
  });

  test("and first in another queue does not keep a set from its locks: the release looks there too", async () => {
    const [other, job] = [await held(one, ["c"]), await held(one, ["a"])];
    await waits(two, ["b", "c"]);
    const set = await waits(three, ["a", "b"]);
    const last = await waits(four, ["a"]);
    await two.die();
    await job.release();
    assert.ok(await set.isHandedOver());
    await other.release();
    await set.gets();
    await set.release();
    assert.ok(await last.isHandedOver());
  });

  test("cannot be told of a waiter that has no inbox", async () => {
    const job = await held(one, ["a"]);
    const mute = await waits(two, ["a"], { withInbox: false });
    await two.die();
    await job.release();
    assert.ok(await mute.isHandedOver());
    assert.deepEqual(await mute.told(), []);
  });
});

describe("who is frozen", () => {
  test("does not claim: after two seconds the next poll of anybody passes over it, and its own one returns to its old place", async () => {
    const job = await held(one, ["a"]);
    const [frozen, next, last] = [await waits(two, ["a"]), await waits(three, ["a"]), await waits(four, ["a"])];
    const ticket = frozen.place;
    await job.release();
    const start = performance.now();
    await until(async () => (await holder("a")) === null, "its claim lapses", CLAIM_MS + MARGIN_MS);
    assert.ok(performance.now() - start > CLAIM_MS - 500, "not before its time");
    await last.waits();
    assert.deepEqual(await waiting("a"), [next.attempt, last.attempt]);
    // The lock has been passed on for more than a second: there is a gap first.
    assert.deepEqual(await next.told(), [`look ${GAP_MS}`]);
    await next.polls();
    assert.equal(String((await frozen.waits()).ticket), ticket);
    assert.deepEqual(await waiting("a"), [frozen.attempt, last.attempt]);
    await next.release();
    assert.ok(await frozen.isHandedOver());
  });

  test("keeps a lock only so long from others that it wants with another of its own: the rest of its places go too", async () => {
    const job = await held(one, ["a", "b"]);
    const [frozen, both] = [await waits(two, ["b"]), await waits(two, ["a", "b"])];
    const live = await waits(three, ["a"]);
    await job.release();
    assert.ok(await frozen.isHandedOver());
    await live.waits();
    await frozen.claimLapses();
    await live.gets();
    assert.deepEqual(await waiting("b"), []);
    assert.equal(await admin.exists(both.waiter), 0);
  });

  test("and first in another queue does not keep a set from its locks: whoever is behind the set looks there too", async () => {
    const job = await held(one, ["a", "b"]);
    const frozen = await waits(two, ["b"]);
    const set = await waits(three, ["a", "b"]);
    const last = await waits(four, ["a"]);
    await job.release();
    await frozen.claimLapses();
    await last.waits();
    assert.ok(await set.isHandedOver());
    assert.deepEqual(await set.told(), ["granted"]);
  });

  test("has not asked for two seconds: it does not keep a free lock from others that it wants with a held one", async () => {
    await held(one, ["b"]);
    const frozen = await waits(two, ["a", "b"]);
    const live = await waits(three, ["a"]);
    await frozen.polledBefore(1 * SECOND_US);
    await live.waits();
    await frozen.polledBefore(2.1 * SECOND_US);
    await live.gets();
    await live.release();

    const ticket = frozen.place;
    const later = await waits(four, ["b"]);
    assert.equal(String((await frozen.waits()).ticket), ticket, "it goes on, and has its place again");
    assert.deepEqual(await waiting("b"), [frozen.attempt, later.attempt]);
  });

  // Each lets go of a lock that has been handed over, and is not claimed yet.
  const LETTING_GO = {
    "a release by its owner elsewhere": ({ other }) => other.release(),
    "a sweep of its owner's": () => redis.sweep(["a", "b"], "me"),
    "a sweep of all": () => redis.sweep(["a", "b"]),
  };
  for (const [title, letGo] of Object.entries(LETTING_GO)) {
    test(`is not who was to claim what ${title} frees: it is handed the lock again, and its process keeps its places`, async () => {
      const job = await held(one, ["a", "b"]);
      const next = two.acquire("me", ["a"]);
      await next.waits();
      const [same, behind] = [await waits(two, ["a"]), await waits(three, ["a"])];
      await job.release();
      assert.ok(await next.isHandedOver());
      await letGo({ other: four.acquire("me", ["a"]) });
      assert.ok(await next.isHandedOver());
      assert.deepEqual(await waiting("a"), [next.attempt, same.attempt, behind.attempt]);
      await next.gets();
      await next.release();
      assert.ok(await same.isHandedOver());
    });
  }

  test("is not who was to claim a lock beside one that its owner had, when that one is released, cancelled or lapses", async () => {
    for (const letGo of [(mine) => mine.release(), (mine) => mine.cancel(), () => redis.lapse("a")]) {
      const [mine, job] = [one.acquire("me", ["a"]), await held(one, ["b"])];
      await mine.try();
      const both = two.acquire("me", ["a", "b"]);
      await both.waits();
      const behind = await waits(three, ["a"]);
      await job.release();
      assert.ok(await both.isHandedOver());
      await letGo(mine);
      await behind.waits();
      await both.gets();
      await both.release();
      await behind.cancel();
    }
  });

  test("is not who shares a lock with another of its owner that gives up before either has claimed it", async () => {
    const job = await held(one, ["a"]);
    const [first, second] = [two.acquire("me", ["a"]), three.acquire("me", ["a"])];
    for (const request of [first, second]) await request.waits();
    const behind = await waits(four, ["a"]);
    await job.release();
    await first.cancel();
    assert.ok(await second.isHandedOver());
    await second.gets();
    await second.release();
    assert.ok(await behind.isHandedOver());
  });
});

// Its fault would be a script that never ends, on a server of its own.
test("a sweep of what two owners were to claim, each with a lock that another one gets, ends", async () => {
  const other = await scriptServer();
  try {
    const [first, second, third, fourth] = [await other.member(), await other.member(), await other.member(), await other.member()];
    const job = first.job(["a", "b"]);
    await job.try();
    await first.acquire("me", ["x"]).try();
    await first.acquire("you", ["y"]).try();
    const ahead = [second.job(["x"]), second.job(["y"])];
    const owners = [third.acquire("me", ["a", "x"]), fourth.acquire("you", ["b", "y"])];
    for (const request of [...ahead, ...owners]) await request.waits();
    await job.release();
    for (const request of owners) assert.ok(await request.isHandedOver());
    assert.equal(await settles(other.sweep(["a", "b", "x", "y"]), "the sweep", 5_000), 1);
    for (const request of ahead) assert.ok(await request.isHandedOver());
    for (const request of [...ahead, ...owners]) await request.cancel();
  } finally {
    await other.server.kill();
    await other.server.stop();
  }
});
