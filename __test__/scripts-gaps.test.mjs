/**
 * A lock that is never idle is left free for a moment now and then, for nodes that know no queue. What the marks in a queue say
 * of that, and what no mark may do: keep somebody from a free lock for longer.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { scriptServer } from "./support/scripts.mjs";
import { until } from "./support/waiting.mjs";

const SECOND_US = 1_000_000;
/** How long a lock is left free: as a rule, and where a node that knows no queue is about. */
const GAP_MS = 30;
const LONG_GAP_MS = 250;
/** How much later than promised something may come on a slow machine. */
const MARGIN_MS = 2_500;

let redis, admin, holder, one, two, three;
before(async () => {
  redis = await scriptServer();
  ({ admin, holder } = redis);
});
beforeEach(async () => {
  [one, two, three] = [await redis.member(), await redis.member(), await redis.member()];
});
afterEach(() => redis.leaveNothing());
after(() => redis.server.stop());

/** A job that holds these locks, and one that waits for them. */
async function heldAndWanted(keys) {
  const [job, next] = [one.job(keys), two.job(keys)];
  await job.try();
  await next.waits();
  return [job, next];
}

describe("a lock that has been passed on for a second", () => {
  test("is left free for 30 ms once, and the next waiter is told to look then", async () => {
    const [job, next] = await heldAndWanted(["a"]);
    await redis.mark("a", "since", -1.1 * SECOND_US);
    await job.release();
    assert.equal(await holder("a"), null);
    assert.deepEqual(await next.told(), [`look ${GAP_MS}`]);
    assert.equal((await three.job(["a"]).try()).index, 1, "not for those that know the queue");
    await three.job(["a"]).waits();
    const { ms } = await next.polls();
    assert.ok(ms < GAP_MS + MARGIN_MS, `${ms} ms`);
    await next.release();
    assert.match((await redis.marks("a")).join(), /^since \d+$/, "and counts anew from then on");
  });

  test("is left free for 250 ms where a node that knows no queue has held it: it may take the lock", async () => {
    const [job, next] = await heldAndWanted(["a"]);
    await redis.mark("a", "since", -1.1 * SECOND_US);
    await redis.mark("a", "old", 30 * SECOND_US);
    await job.release();
    assert.deepEqual(await next.told(), [`look ${LONG_GAP_MS}`]);
    assert.equal(await admin.set(redis.lock("a"), "old", "NX"), "OK");
    assert.equal((await next.waits()).silent, 1);
    assert.deepEqual((await redis.marks("a")).map((mark) => mark.split(" ")[0]), ["old"], "it has had its gap");
    await redis.lapse("a");
    await next.gets();
  });

  test("comes free for its waiter when the gap ends, though nobody but those behind it asks", async () => {
    const [job, next] = await heldAndWanted(["a"]);
    const last = three.job(["a"]);
    await last.waits();
    await redis.mark("a", "since", -1.1 * SECOND_US);
    await job.release();
    await until(async () => {
      await last.waits();
      return next.isHandedOver();
    }, "the one that is next");
  });

  test("is not left free before: passed on for less, or where it rested", async () => {
    const [job, next] = await heldAndWanted(["a"]);
    await redis.mark("a", "since", -0.5 * SECOND_US);
    await job.release();
    assert.ok(await next.isHandedOver());
    await next.gets();
    await next.release();

    const again = one.job(["a"]);
    await again.try();
    assert.deepEqual(await redis.marks("a"), []);
  });
});

// Each lock's time is over at another moment: what they are left free for must not add up for ever.
describe("many locks that were passed on since different times", () => {
  const LOCKS = 12;
  const keys = Array.from({ length: LOCKS }, (_, n) => `k${String(n).padStart(2, "0")}`);
  const CASES = [
    ["a gap apart, old nodes about", true, (n) => [`since`, -(1_000 - n * 251)]],
    ["evenly over a second, old nodes about", true, (n) => ["since", -(1_200 - n * 100)]],
    ["out of step, old nodes about", true, (n) => ["since", -((n * 617) % 1_250)]],
    ["a gap apart", false, (n) => ["since", -(1_000 - n * 31)]],
    ["out of step", false, (n) => ["since", -((n * 389) % 1_000)]],
    ["some of them in their gaps", true, (n) => (n % 3 === 0 ? ["gap", (n * 83) % 250] : ["since", -((n * 617) % 1_250)])],
  ];
  for (const [title, old, markOf] of CASES) {
    test(`are all to be had together after a few polls: ${title}`, async () => {
      const [job, next] = await heldAndWanted(keys);
      for (const [n, key] of keys.entries()) {
        const [word, ms] = markOf(n);
        if (word === "gap" || ms < 0) await redis.mark(key, word, ms * 1_000);
        if (old) await redis.mark(key, "old", 60 * SECOND_US);
      }
      await job.release();
      const { asked, ms } = await next.polls();
      // No lock has a second gap within a second of its first one.
      assert.ok(asked <= (old ? 7 : LOCKS + 2), `${asked} polls`);
      assert.ok(ms < 1_250 + MARGIN_MS, `${ms} ms`);
    });
  }
});

describe("a mark from before the clock was set back", () => {
  for (const word of ["gap", "since"]) {
    test(`is not believed: "${word}" of an hour ahead keeps nobody from the lock`, async () => {
      const [job, next] = await heldAndWanted(["a"]);
      await redis.mark("a", word, 3_600 * SECOND_US);
      await job.release();
      assert.ok(await next.isHandedOver());
      await next.gets();

      await redis.mark("a", word, 3_600 * SECOND_US);
      await next.release();
      assert.equal(await holder("a"), null);
      const newcomer = three.job(["a"]);
      await newcomer.gets();
      await newcomer.release();
    });
  }

  test(`"old" of an hour ahead makes no gap longer, nor more frequent`, async () => {
    const [job, next] = await heldAndWanted(["a"]);
    await redis.mark("a", "old", 3_600 * SECOND_US);
    await redis.mark("a", "since", -1.1 * SECOND_US);
    await job.release();
    const { asked, ms } = await next.polls();
    assert.ok(asked <= 3 && ms < LONG_GAP_MS + MARGIN_MS, `${asked} polls, ${ms} ms`);
    await next.release();
  });
});
