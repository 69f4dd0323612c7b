/** How Medusa's lock steps call a provider, to the property: what an `acquire` that waits is told apart by. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { MOST_WORKFLOWS, runNested, runWorkflow } from "./support/workflows.mjs";

const DEPENDS =
  "this version of @medusajs/core-flows calls a provider in another way: what recognises a lock step's acquire in " +
  "provider/arguments.ts (no owner, an expiry, the property `provider`, be it undefined) no longer fits, so workflows " +
  "would be refused at once again instead of waiting in line";

/** What reaches our provider behind the Locking Module, as `[method, keys, args]`. */
function recordCalls(instance) {
  const calls = [];
  for (const method of ["acquire", "release", "execute", "releaseAll"]) {
    const real = instance[method].bind(instance);
    instance[method] = (...args) => {
      calls.push([method, ...args.slice(0, 2)]);
      return real(...args);
    };
  }
  return calls;
}

const acquire = (keys, expire) => ["acquire", keys, { expire, ownerId: undefined, provider: undefined }];
const release = (keys) => ["release", keys, { ownerId: undefined, provider: undefined }];

onEachBackend("the calls of Medusa's lock steps", (backend) => {
  async function recorded() {
    const { locking, provider, inspect } = await backend.medusa();
    return { locking, inspect, calls: recordCalls(provider("native")) };
  }

  test("take and free one key: no owner, an expiry, and the property `provider`", async () => {
    const { locking, calls } = await recorded();
    await runWorkflow(locking, { key: "cart_1", ...MOST_WORKFLOWS });
    assert.deepStrictEqual(calls, [acquire("cart_1", 10), release(["cart_1"])], DEPENDS);
    assert.ok(Object.hasOwn(calls[0][2], "provider"), DEPENDS);
  });

  test("several keys go as they are, in one call", async () => {
    const { locking, calls } = await recorded();
    await runWorkflow(locking, { key: ["cart_2", "cart_1"], ...MOST_WORKFLOWS });
    assert.deepStrictEqual(calls, [acquire(["cart_2", "cart_1"], 10), release(["cart_2", "cart_1"])], DEPENDS);
  });

  test("a workflow that fails frees its key by the same call, of its compensation", async () => {
    const { locking, calls } = await recorded();
    const fails = () => Promise.reject(new Error("out of stock"));
    await assert.rejects(runWorkflow(locking, { key: "cart_1", ...MOST_WORKFLOWS }, { work: fails }), { message: "out of stock" });
    assert.deepStrictEqual(calls, [acquire("cart_1", 10), release(["cart_1"])], DEPENDS);
  });

  test("one that fails after it has freed its key frees it a second time", async () => {
    const { locking, calls } = await recorded();
    const fails = () => Promise.reject(new Error("no mail"));
    await assert.rejects(runWorkflow(locking, { key: "cart_1", ...MOST_WORKFLOWS }, { more: fails }), { message: "no mail" });
    assert.deepStrictEqual(calls, [acquire("cart_1", 10), release(["cart_1"]), release(["cart_1"])], DEPENDS);
  });

  test("a workflow within another takes no lock of its own, unless it says so", async () => {
    const { locking, calls } = await recorded();
    await runNested(locking, { key: "cart_1", ...MOST_WORKFLOWS }, { key: "cart_1", ...MOST_WORKFLOWS });
    assert.deepStrictEqual(calls, [acquire("cart_1", 10), release(["cart_1"])], DEPENDS);
    calls.length = 0;
    const inner = { key: "order_1", ...MOST_WORKFLOWS, executeOnSubWorkflow: true };
    await runNested(locking, { key: "cart_1", ...MOST_WORKFLOWS }, inner);
    const expected = [acquire("cart_1", 10), acquire("order_1", 10), release(["order_1"]), release(["cart_1"])];
    assert.deepStrictEqual(calls, expected, DEPENDS);
  });
});
