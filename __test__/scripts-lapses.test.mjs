/**
 * The lock of a dead holder lapses, and nobody says so: whoever is next must know when. Also where others were next until a moment
 * ago, and left, or died, or where the clock of the server was set back.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { held, scriptServer, waits } from "./support/scripts.mjs";

const SECOND_US = 1_000_000;
/** What is left of a lease when those that wait will not ask again before it ends: they poll once a second. */
const LEFT_MS = 900;

let redis, admin, one, two, three, four;
before(async () => {
  redis = await scriptServer();
  ({ admin } = redis);
});
beforeEach(async () => {
  [one, two, three, four] = [await redis.member(), await redis.member(), await redis.member(), await redis.member()];
});
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

/** Leaves so much of a lock's time as if its holder had died a while ago. */
const almostLapsed = (key, ms = LEFT_MS) => admin.pexpire(redis.lock(key), ms);

/** Fails unless this is when a lock with `LEFT_MS` left lapses, or a little before: some of it has passed. */
const isThen = (ms) => assert.ok(ms > 0 && ms <= LEFT_MS, `${ms} ms`);

/** Fails unless the waiter was told, once, to look when the lock lapses. */
async function isTold(waiter) {
  const told = await waiter.told();
  assert.equal(told.length, 1, `told ${JSON.stringify(told)}`);
  const [, ms] = told[0].match(/^look (\d+)$/) ?? assert.fail(told[0]);
  isThen(Number(ms));
}

describe("the holder is dead, and its lock lapses before those who wait ask again", () => {
  test("the next waiter knows when", async () => {
    await held(one, ["a"]);
    await almostLapsed("a");
    isThen((await two.job(["a"]).waits()).ms);
  });

  const LEAVING = {
    "a job": (member) => member.job(["a"]),
    "an acquire": (member) => member.acquire("me", ["a"]),
  };
  for (const [title, make] of Object.entries(LEAVING)) {
    test(`${title} that was next gives up: the one behind it is told when`, async () => {
      await held(one, ["a"]);
      const leaving = make(two);
      await leaving.waits();
      const [next, last] = [await waits(three, ["a"]), await waits(four, ["a"])];
      await almostLapsed("a");
      await leaving.cancel();
      await isTold(next);
      assert.deepEqual(await last.told(), [], "it is not next");
    });
  }

  test("with time enough left to ask again, nobody is told anything", async () => {
    await held(one, ["a"]);
    const [leaving, next, last] = [await waits(two, ["a"]), await waits(three, ["a"]), await waits(four, ["a"])];
    await leaving.cancel();
    assert.deepEqual([await next.told(), await last.told()], [[], []]);
  });

  test("those that were next died too: the one behind them knows when", async () => {
    await held(one, ["a"]);
    for (let n = 0; n < 6; n += 1) await waits(two, n % 2 === 0 ? ["a"] : ["a", `b${n}`]);
    const [next, last] = [await waits(three, ["a"]), await waits(four, ["a"])];
    await two.die();
    await almostLapsed("a");
    isThen((await next.waits()).ms);
    assert.equal((await last.waits()).ms, -1, "it is not next");
  });

  test("one that was next died, and the lock is taken for a short time once more: the one behind it is told when", async () => {
    const mine = one.acquire("me", ["a"], { expire: 0 });
    await mine.try();
    await waits(two, ["a"]);
    const next = await waits(three, ["a"]);
    await two.die();
    await one.acquire("me", ["a"], { expire: LEFT_MS }).try();
    await isTold(next);
  });
});

describe("the server's clock was set back while a process was frozen", () => {
  test("it does not keep a lock free that it wants with another one, and has its place when it goes on", async () => {
    await held(one, ["b"]);
    const frozen = await waits(two, ["a", "b"]);
    const ticket = frozen.place;
    await frozen.polledBefore(-3_600 * SECOND_US);
    const live = three.job(["a"]);
    await live.gets();
    await live.release();
    assert.equal(String((await frozen.waits()).ticket), ticket);
  });
});
