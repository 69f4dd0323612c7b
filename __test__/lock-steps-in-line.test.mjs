/** Medusa's lock steps in line: with default options, workflows that want one key get it, each in its turn. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { onEachBackend } from "./support/backends.mjs";
import { medusaError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { PATIENCE_MS, settles, until } from "./support/waiting.mjs";
import { MOST_WORKFLOWS, runWorkflow } from "./support/workflows.mjs";

const RUNS = 10;
const HOLD_MS = 50;

/** A resource that notices when two are in it at once. */
function exclusive() {
  const order = [];
  let inside = 0;
  return {
    order,
    use: (name, ms) => async () => {
      inside += 1;
      assert.equal(inside, 1, `${name} came in while another was in`);
      order.push(name);
      await sleep(ms);
      inside -= 1;
    },
  };
}

/** Counts the acquires that have reached the provider. */
function countAcquires(instance) {
  const seen = { count: 0 };
  const real = instance.acquire.bind(instance);
  instance.acquire = (...args) => {
    const answer = real(...args);
    seen.count += 1;
    return answer;
  };
  return seen;
}

onEachBackend("Medusa's lock steps in line", (backend) => {
  /** Servers of one store: Locking Modules whose providers know nothing of each other. */
  async function servers(count, options = {}) {
    const first = await backend.medusa(options);
    const others = Array.from({ length: count - 1 }, () => backend.medusa({ ...options, namespace: first.namespace }));
    return [first, ...(await Promise.all(others))];
  }

  for (const count of [1, 2]) {
    test(`${RUNS} workflows for one key on ${count} server(s), none refused, in the order in which they asked`, async () => {
      const stores = await servers(count);
      const seen = stores.map(({ provider }) => countAcquires(provider("native")));
      const room = exclusive();
      // Of neither server: who waits behind a job of its own process asks Redis only when that job ends.
      const gate = await holding(stores[0].locks, "cart_1");
      const runs = [];
      for (let run = 0; run < RUNS; run += 1) {
        const { locking, inspect } = stores[run % count];
        const asked = seen[run % count];
        const before = asked.count;
        runs.push(runWorkflow(locking, { key: "cart_1", ...MOST_WORKFLOWS }, { work: room.use(run, HOLD_MS) }));
        runs.at(-1).catch(() => {});
        await until(() => asked.count > before, `workflow ${run} asks for the lock`);
        // An answer of the server for this key, which comes after that of the acquire: it is in the queue by now.
        await inspect("cart_1");
      }
      await gate.end();
      const outcomes = await settles(Promise.allSettled(runs), "all workflows");
      const refused = outcomes.filter(({ status }) => status === "rejected").map(({ reason }) => reason.message);
      assert.deepEqual(refused, [], "workflows were refused");
      assert.deepEqual(room.order, Array.from({ length: RUNS }, (_, run) => run));
      assert.deepEqual(await stores[0].inspect(), []);
    });
  }

  test("a workflow gets its turn beside four that keep calling execute for the same key", async () => {
    const [{ locking, inspect }] = await servers(1);
    const room = exclusive();
    let served = false;
    let rounds = 0;
    const busy = Array.from({ length: 4 }, async (_, name) => {
      while (!served) {
        await locking.execute("cart_1", room.use(`execute ${name}`, 5), { timeout: 60 });
        rounds += 1;
      }
    });
    try {
      await until(() => rounds > 8, "the four have the key in turn");
      const input = { key: "cart_1", ...MOST_WORKFLOWS };
      await settles(runWorkflow(locking, input, { work: room.use("workflow", HOLD_MS) }), "the workflow", PATIENCE_MS);
    } finally {
      served = true;
      await Promise.all(busy);
    }
    assert.ok(room.order.includes("workflow"));
    assert.deepEqual(await inspect(), []);
  });

  test("an execute waits for a workflow's key, and gets it when the workflow has ended", async () => {
    const [here, there] = await servers(2);
    const room = exclusive();
    let jobs = [];
    const work = async () => {
      jobs = [here, there].map(({ locking }, at) => locking.execute("cart_1", room.use(`job ${at}`, 5), { timeout: 60 }));
      await room.use("workflow", HOLD_MS)();
    };
    await runWorkflow(here.locking, { key: "cart_1", ...MOST_WORKFLOWS }, { work });
    await settles(Promise.all(jobs), "both jobs");
    assert.equal(room.order[0], "workflow");
    assert.equal(room.order.length, 3);
  });

  test("a workflow that waits in vain is refused in the words of a plain acquire, and leaves the holder its lock", async () => {
    const [{ locking, inspect, locks }] = await servers(1);
    await locks.acquire("cart_1", { ownerId: "somebody" });
    const input = { key: "cart_1", timeout: 0.3, ttl: 10 };
    const run = runWorkflow(locking, input, { work: () => assert.fail("it ran") });
    await settles(assert.rejects(run, { message: refusal("cart_1"), type: "conflict" }), "the refusal");
    const [held, ...others] = await inspect();
    assert.deepEqual([held.key, held.ownerId, others.length], ["cart_1", "somebody", 0]);
  });

  test("an execute that waits in vain for a workflow's key times out, and the workflow goes on", async () => {
    const [{ locking, inspect }] = await servers(1);
    const work = async () => {
      const job = locking.execute("cart_1", () => assert.fail("it ran"), { timeout: 0.1 });
      await assert.rejects(job, medusaError("LOCK_TIMEOUT", TIMED_OUT));
      return "done";
    };
    assert.equal(await runWorkflow(locking, { key: "cart_1", ...MOST_WORKFLOWS }, { work }), "done");
    assert.deepEqual(await inspect(), []);
  });
});
