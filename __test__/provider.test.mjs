/** The provider as a part of Medusa: how it is registered, what it logs, how it ends, what its errors are. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Modules } from "@medusajs/framework/utils";
import { freshNamespace, onEachBackend } from "./support/backends.mjs";
import { medusaError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { lockingModule, ours } from "./support/medusa.mjs";
import { provider } from "./support/product.mjs";
import { foreignConnections, redisServer } from "./support/redis.mjs";
import { settles, until } from "./support/waiting.mjs";

describe("the module provider", () => {
  test("is one for the Locking Module, with one service of a fixed identifier", () => {
    assert.equal(provider.module, Modules.LOCKING);
    assert.equal(provider.services.length, 1);
    assert.equal(provider.services[0].identifier, "locking-native");
  });

  test("its constructor needs no logger in the cradle: reading one that is not registered throws there", async () => {
    const cradle = new Proxy({}, {
      get(_target, name) {
        throw new Error(`Could not resolve '${String(name)}'.`);
      },
    });
    const service = new provider.services[0](cradle, { providers: [] });
    assert.equal(await service.execute("k", () => "ran"), "ran");
    await service.shutdown();
  });

  test("loads without a logger registered in the container", async () => {
    const { locking, close } = await lockingModule([ours({ namespace: freshNamespace() })], { logger: undefined });
    assert.equal(await locking.execute("k", () => "ran"), "ran");
    await close();
  });

  test("two of its kind in one Locking Module keep their own options", async () => {
    const [one, two] = [freshNamespace(), freshNamespace()];
    const { locking, close } = await lockingModule([
      ours({ namespace: one, waitLockingTimeout: 0.2 }, "one"),
      { ...ours({ namespace: two, acquireWait: 60 }, "two"), is_default: false },
    ]);
    await locking.acquire("k", { ownerId: "me", provider: "one" });
    await locking.acquire("k", { ownerId: "me", provider: "two" });
    await assert.rejects(locking.execute("k", () => {}, { provider: "one" }), medusaError("LOCK_TIMEOUT", TIMED_OUT));
    const queued = locking.acquire("k", { provider: "two" });
    assert.equal(await locking.release("k", { ownerId: "me", provider: "two" }), true);
    await settles(queued, "the second provider's acquireWait");
    await close();
  });

  test("the Locking Module's own options are not taken for the provider's", async () => {
    const service = new provider.services[0]({}, { providers: [], waitLockingTimeout: "not ours" });
    assert.equal(await service.execute("k", () => "ran"), "ran");
    await service.shutdown();
  });
});

onEachBackend("the provider", (backend) => {
  test("refusals, time-outs and losses are conflicts, bad arguments invalid data: the code says which", async () => {
    const { locking } = await backend.medusa({ lease: 1.5 });
    const held = await holding(locking, "k");
    await assert.rejects(locking.acquire("k"), medusaError("LOCK_HELD", refusal("k")));
    await assert.rejects(locking.execute("k", () => {}, { timeout: 0.1 }), medusaError("LOCK_TIMEOUT", TIMED_OUT));
    await assert.rejects(locking.acquire(42), medusaError("INVALID_ARGUMENT", /"keys".*42/));
    await locking.releaseAll();
    await until(() => held.signal.aborted, "the job's signal aborts");
    assert.ok(medusaError("LOCK_LOST")(held.signal.reason));
    await assert.rejects(held.end(), (error) => error === held.signal.reason);
  });

  test("a job's own error passes through as it is, also one that looks like ours", async () => {
    const { locking, locks } = await backend.medusa();
    const own = new Error("the job's own");
    const inner = await locks.acquire(42).catch((error) => error);
    for (const error of [own, inner, "text", undefined, null]) {
      const passed = await locking.execute("k", () => Promise.reject(error)).then(
        () => assert.fail("it succeeded"),
        (reason) => reason,
      );
      assert.equal(passed, error);
    }
  });

  test("shutdown(): waiters are told, jobs end in peace, later calls are unexpected state, twice is once", async () => {
    const { locking, provider: instance } = await backend.medusa();
    const held = await holding(locking, "k");
    const waiter = locking.execute("k", () => assert.fail("ran"), { timeout: 60 });
    const told = assert.rejects(waiter, medusaError("CLOSED"));
    const ended = instance("native").shutdown();
    await settles(told, "the waiter is told");
    await assert.rejects(locking.acquire("l"), medusaError("CLOSED"));
    assert.equal(await held.end("done"), "done");
    await settles(ended, "shutdown");
    await settles(instance("native").shutdown(), "a second shutdown");
  });

  test("the application's shutdown hooks close it too, and only the last one", async () => {
    const { locking, provider: instance } = await backend.medusa();
    const hooks = instance("native").__hooks;
    await locking.execute("k", () => {});
    await hooks.onApplicationStart?.call(instance("native"));
    await settles(hooks.onApplicationPrepareShutdown?.call(instance("native")) ?? Promise.resolve(), "prepare");
    await settles(hooks.onApplicationShutdown.call(instance("native")), "the hook");
    await assert.rejects(locking.acquire("k"), medusaError("CLOSED"));
    await settles(instance("native").shutdown(), "shutdown after the hook");
  });

  test("shutdown() gives back what outlasts the grace, and leaves what acquire took", async () => {
    const { locking, locks, provider: instance } = await backend.medusa({ shutdownGrace: 0.2 });
    const held = await holding(locking, "job");
    await locking.acquire("kept", { ownerId: "me" });
    await settles(instance("native").shutdown(), "shutdown");
    assert.ok(held.signal.aborted);
    await assert.rejects(held.end());
    assert.deepEqual((await locks.inspect()).map(({ key }) => key), ["kept"]);
  });
});

describe("what the provider logs", () => {
  let server;
  before(async () => {
    server = await redisServer();
  });
  afterEach(() => server.thaw());
  after(() => server.stop());

  test("in memory: nothing that looks like trouble", async () => {
    const { locking, logger, close } = await lockingModule([ours(undefined)]);
    await locking.execute("k", () => {});
    await close();
    assert.deepEqual(logger.at("warn", "error"), []);
  });

  test("with Redis: one line of information that names the server, and nothing else", async () => {
    const { locking, logger, close } = await lockingModule([ours({ redisUrl: server.url })]);
    await locking.execute("k", () => {});
    const lines = logger.at("info").filter((line) => line.includes("locking-native"));
    assert.equal(lines.length, 1, JSON.stringify(logger.lines));
    assert.match(lines[0], /Redis/);
    assert.deepEqual(logger.at("warn", "error"), []);
    await close();
    const admin = server.connect();
    await until(async () => (await foreignConnections(admin)).length === 0, "shutdown closes the connection");
  });

  test("a lock lost under a job is one warning that names the key", async () => {
    const namespace = freshNamespace();
    const { locking, logger, close } = await lockingModule([ours({ redisUrl: server.url, namespace, lease: 1.2 })]);
    const held = await holding(locking, "cart_1");
    await server.connect().del(`${namespace}cart_1`);
    await until(() => held.signal.aborted, "the job is told");
    await assert.rejects(held.end());
    const warnings = logger.at("warn");
    assert.equal(warnings.length, 1, JSON.stringify(logger.lines));
    assert.match(warnings[0], /cart_1/);
    await close();
  });

  test("a refused or timed-out lock is the caller's affair, and not logged", async () => {
    const { locking, logger, close } = await lockingModule([ours({ redisUrl: server.url, namespace: freshNamespace() })]);
    await locking.acquire("k", { ownerId: "me" });
    await assert.rejects(locking.acquire("k"));
    await assert.rejects(locking.execute("k", () => {}, { timeout: 0.1 }));
    await assert.rejects(locking.acquire(null));
    assert.deepEqual(logger.at("warn", "error"), []);
    await close();
  });
});
