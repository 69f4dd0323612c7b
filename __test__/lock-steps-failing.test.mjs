/** Medusa's lock steps when a workflow fails, outlasts its ttl or runs within another: whose lock is freed, and whose not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { until } from "./support/waiting.mjs";
import { MOST_WORKFLOWS, runNested, runWorkflow } from "./support/workflows.mjs";

const CART = { key: "cart_1", ...MOST_WORKFLOWS };
const TTL_S = 0.3;

onEachBackend("Medusa's lock steps in workflows that fail or last too long", (backend) => {
  /** Two servers of one store, with `inspect` of the first. */
  async function twoServers() {
    const here = await backend.medusa();
    const there = await backend.medusa({ namespace: here.namespace });
    return { here: here.locking, there: there.locking, inspect: here.inspect, logger: here.logger };
  }

  const fails = async () => {
    throw new Error("out of stock");
  };

  test("a workflow holds its key without an owner until it ends, and for no longer than its ttl", async () => {
    const { here, inspect } = await twoServers();
    const [held, ...others] = await runWorkflow(here, CART, { work: () => inspect() });
    assert.deepEqual([held.key, held.ownerId, others.length], ["cart_1", null, 0]);
    assert.ok(held.expiresIn > 0 && held.expiresIn <= MOST_WORKFLOWS.ttl, `expires in ${held.expiresIn} s`);
    assert.deepEqual(await inspect(), []);
  });

  test("one that fails frees its keys by its compensation, and the next has them at once, on any server", async () => {
    const { here, there, inspect } = await twoServers();
    const input = { ...CART, key: ["cart_1", "cart_2"] };
    await assert.rejects(runWorkflow(here, input, { work: fails }), { message: "out of stock" });
    assert.deepEqual(await inspect(), []);
    assert.equal(await runWorkflow(there, { ...input, timeout: 0 }, { work: () => "ran" }), "ran");
  });

  // In memory the other one is of the same process, whose next grant of the key a further release belongs to.
  const onServers = backend.kind === "redis" ? test : () => {};
  onServers("one that fails after it has freed its key does not free the lock that another server took meanwhile", async () => {
    const { here, there, inspect } = await twoServers();
    const more = async () => {
      await there.acquire("cart_1", { expire: 60 });
      throw new Error("no mail");
    };
    await assert.rejects(runWorkflow(here, CART, { more }), { message: "no mail" });
    assert.deepEqual((await inspect()).map(({ key }) => key), ["cart_1"], "the other's lock is gone");
    assert.equal(await there.release("cart_1"), true);
  });

  for (const [place, of] of [["on another server", ({ there }) => there], ["on the same server", ({ here }) => here]]) {
    for (const [end, outcome] of [["ends", undefined], ["fails", "out of stock"]]) {
      test(`one that ${end} after its ttl does not free the lock of the one that took the key ${place}`, async () => {
        const servers = await twoServers();
        const { here, inspect } = servers;
        const other = of(servers);
        const work = async () => {
          await until(async () => (await inspect()).length === 0, "the lock lapses");
          await other.acquire("cart_1", { expire: 60 });
          if (outcome !== undefined) await fails();
        };
        const run = runWorkflow(here, { ...CART, ttl: TTL_S }, { work });
        await (outcome === undefined ? run : assert.rejects(run, { message: outcome }));
        assert.deepEqual((await inspect()).map(({ key }) => key), ["cart_1"], "the other's lock is gone");
        await assert.rejects(other.acquire("cart_1"), /Failed to acquire lock for key "cart_1"/);
        assert.equal(await other.release("cart_1"), true, "who has the lock can free it");
      });
    }
  }

  test("one after the other for the same key, ended and failed, leave nothing behind and never wait", async () => {
    const { here, there, inspect } = await twoServers();
    for (let round = 0; round < 5; round += 1) {
      const server = round % 2 === 0 ? here : there;
      assert.equal(await runWorkflow(server, { ...CART, timeout: 0 }, { work: () => round }), round);
      await assert.rejects(runWorkflow(server, { ...CART, timeout: 0 }, { work: fails }), { message: "out of stock" });
    }
    assert.deepEqual(await inspect(), []);
  });

  test("one within another that has the same key runs under the outer one's lock, and the outer one frees it", async () => {
    const { here, inspect } = await twoServers();
    const seen = await runNested(here, CART, CART, { work: async () => (await inspect()).map(({ key }) => key) });
    assert.deepEqual(seen, ["cart_1"]);
    assert.deepEqual(await inspect(), []);
  });

  test("one within another that takes a key of its own and fails: both keys are free", async () => {
    const { here, there, inspect } = await twoServers();
    const order = { ...CART, key: "order_1", executeOnSubWorkflow: true };
    let seen;
    const work = async () => {
      seen = (await inspect()).map(({ key }) => key);
      await fails();
    };
    await assert.rejects(runNested(here, CART, order, { work }), { message: "out of stock" });
    assert.deepEqual(seen, ["cart_1", "order_1"]);
    assert.deepEqual(await inspect(), []);
    assert.equal(await there.execute(["cart_1", "order_1"], () => "ran", { timeout: 0 }), "ran");
  });
});
