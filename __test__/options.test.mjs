/** Options: wrong ones are named, unknown ones warned of once, the incumbent's honoured. */
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { after, afterEach, before, describe, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { lockError, medusaError, TIMED_OUT } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { incumbent, lockingModule, ours, recordingLogger } from "./support/medusa.mjs";
import { Locks, provider, providerEntry } from "./support/product.mjs";
import { foreignConnections, redisServer } from "./support/redis.mjs";
import { settles, stays, until, watch } from "./support/waiting.mjs";

/** `[path, value, what the message must say]` */
const BAD_OPTIONS = [
  ["namespace", 5, /5/],
  ["namespace", "lone\ud800", /surrogate|ill-formed|well-formed/i],
  ["namespace", "locking-native:mine:", /locking-native:mine/],
  ["waitLockingTimeout", "5s", /5s/],
  ["waitLockingTimeout", -1, /-1/],
  ["waitLockingTimeout", NaN, /NaN/],
  ["defaultRetryInterval", "soon", /soon/],
  ["defaultRetryInterval", -20, /-20/],
  ["maximumRetryInterval", Infinity, /Infinity/],
  ["backoffFactor", "double", /double/],
  ["backoffFactor", -2, /-2/],
  ["lease", 0, /0/],
  ["lease", "15", /15/],
  ["acquireWait", {}, /object|\{\}/],
  ["acquireRenew", -1, /-1/],
  ["ownerless", "shared", /shared/],
  ["ownerless", true, /true/],
  ["maxStall", -1, /-1/],
  ["shutdownGrace", "5", /5/],
  ["redisUrl", 6379, /6379/],
  ["redisUrl", "", /empty|""/],
  ["redisUrl", "http://127.0.0.1:6379", /http/],
  ["redisOptions", "127.0.0.1", /127\.0\.0\.1/],
  ["redisOptions.port", "6379", /6379/],
  ["redisOptions.port", 70_000, /70000/],
  ["redisOptions.host", 127, /127/],
  ["redisOptions.db", -1, /-1/],
  ["redisOptions.connectTimeout", "1s", /1s/],
  ["redisOptions.commandTimeout", NaN, /NaN/],
  ["redisOptions.family", 5, /5/],
  ["redisOptions.password", 1234, /redisOptions\.password/],
  ["redisOptions.tls", "yes", /yes/],
];

const nested = (path, value) => path.split(".").reduceRight((inner, name) => ({ [name]: inner }), value);

describe("options of a wrong type or out of range", () => {
  for (const [path, value, got] of BAD_OPTIONS) {
    const options = { namespace: freshNamespace(), ...nested(path, value) };

    test(`${path}: ${inspect(value)} is refused by Locks, by name and value`, () => {
      assert.throws(
        () => new Locks(options),
        (error) => {
          assert.ok(lockError("INVALID_OPTION")(error));
          assert.match(error.message, new RegExp(`"${path}"`));
          assert.match(error.message, got);
          return true;
        },
      );
    });

    test(`${path}: ${inspect(value)} is refused by the provider's loader, by name and value`, async () => {
      const [load] = provider.loaders;
      const container = { register: () => assert.fail("something was registered") };
      await assert.rejects(load({ container, options, logger: recordingLogger() }), (error) => {
        assert.ok(medusaError("INVALID_OPTION")(error));
        assert.match(error.message, new RegExp(`"${path}"`));
        assert.match(error.message, got);
        return true;
      });
    });
  }

  // In a process of its own: Medusa leaves a rejected promise behind when a module does not load.
  test("the Locking Module does not load, and says which option is wrong", async (t) => {
    t.after(stopScripts);
    const child = startScript(
      `
      process.on("unhandledRejection", () => {});
      const { MedusaModule } = require("@medusajs/framework/modules-sdk");
      const { Modules } = require("@medusajs/framework/utils");
      const providers = [{ resolve: input.providerEntry, id: "native", options: { lease: "15" } }];
      const options = { moduleKey: Modules.LOCKING, defaultPath: "@medusajs/locking", declaration: { scope: "internal", options: { providers } } };
      await MedusaModule.bootstrap(options).catch((error) => say("refused", error.message.replaceAll("\\n", " ")));
      `,
      { input: { providerEntry } },
    );
    assert.match(await child.line("refused"), /"lease".*"15"/);
    await child.ends();
  });

  test("options that are not an object are refused", () => {
    for (const options of [5, "redis://127.0.0.1", true]) {
      assert.throws(() => new Locks(options), lockError("INVALID_OPTION"));
    }
  });
});

describe("options that say nothing", () => {
  test("no options, undefined and null ones are the defaults", async () => {
    for (const options of [undefined, {}, { redisUrl: undefined, redisOptions: undefined, lease: undefined, waitLockingTimeout: null }]) {
      const locks = new Locks(options);
      await locks.acquire("defaults");
      assert.equal(await locks.release("defaults"), true);
      await locks.close();
    }
  });
});

describe("a redisUrl that is not there", () => {
  test("is warned of: a store that forgot its variable must not take locks of one process for those of a fleet", async () => {
    const { locking, logger, close } = await lockingModule([ours({ redisUrl: undefined, namespace: freshNamespace() })]);
    assert.equal(await locking.execute("k", () => "ran"), "ran");
    const warnings = logger.at("warn");
    assert.equal(warnings.length, 1, inspect(logger.lines));
    assert.match(warnings[0], /redisUrl/);
    await close();
  });
});

describe("options with a Redis server", () => {
  let server, admin;
  const closing = [];
  const load = async (providers, options) => {
    const loaded = await lockingModule(providers, options);
    closing.push(loaded.close);
    return loaded;
  };

  before(async () => {
    server = await redisServer();
    admin = server.connect();
  });
  afterEach(async () => {
    await Promise.all(closing.splice(0).map((close) => close()));
    await stopScripts();
  });
  after(() => server.stop());

  test("unknown and unsupported options are named in one warning", async () => {
    const options = {
      redisUrl: server.url,
      namespace: freshNamespace(),
      nonsense: 1,
      waitLockTimeout: 5,
      redisOptions: { retryStrategy: () => 5, lazyConnect: true, connectTimeout: 5_000 },
    };
    const { logger, locking } = await load([ours(options)]);
    await locking.execute("k", () => {});
    const warnings = logger.at("warn");
    assert.equal(warnings.length, 1, inspect(logger.lines));
    for (const name of ["nonsense", "waitLockTimeout", "retryStrategy", "lazyConnect"]) assert.match(warnings[0], new RegExp(name));
    assert.doesNotMatch(warnings[0], /connectTimeout|redisUrl|namespace/);
  });

  test("known options are not warned of", async () => {
    const options = {
      redisUrl: server.url, namespace: freshNamespace(), waitLockingTimeout: 5, defaultRetryInterval: 20, maximumRetryInterval: 1000,
      backoffFactor: 2, lease: 15, acquireWait: 0, acquireRenew: 0, ownerless: "exclusive", maxStall: 300, shutdownGrace: 5,
      redisOptions: { connectTimeout: 5_000, commandTimeout: 5_000, connectionName: "store", keepAlive: 1_000, family: 4, db: 0 },
    };
    const { logger, locking } = await load([ours(options)]);
    await locking.execute("k", () => {});
    assert.deepEqual(logger.at("warn", "error"), []);
  });

  test("numbers in strings are numbers for the incumbent's timing options, as there", async () => {
    const options = {
      redisUrl: server.url, namespace: freshNamespace(), waitLockingTimeout: "0.3", defaultRetryInterval: "20",
      maximumRetryInterval: "500", backoffFactor: "1.5",
    };
    const { locking, logger } = await load([ours(options)]);
    const held = await holding(locking, "k");
    await settles(assert.rejects(locking.execute("k", () => {}), medusaError("LOCK_TIMEOUT", TIMED_OUT)), "0.3 s", 4_000);
    await held.end();
    assert.deepEqual(logger.at("warn", "error"), []);
  });

  test("namespace: as the incumbent's, and its default is the incumbent's too", async () => {
    const { locking } = await load([ours({ redisUrl: server.url, namespace: "shop_a:" })]);
    await locking.acquire("k", { ownerId: "me" });
    assert.equal(await admin.get("shop_a:k"), "me");
    const plain = await load([ours({ redisUrl: server.url })]);
    await plain.locking.acquire("k", { ownerId: "me" });
    assert.equal(await admin.get("medusa_lock:k"), "me");
    await Promise.all([locking, plain.locking].map((each) => each.release("k", { ownerId: "me" })));
  });

  test("waitLockingTimeout given to the provider is what a call without a timeout waits", async () => {
    const { locking } = await load([ours({ redisUrl: server.url, namespace: freshNamespace(), waitLockingTimeout: 0.3 })]);
    const held = await holding(locking, "k");
    await settles(assert.rejects(locking.execute("k", () => {}), medusaError("LOCK_TIMEOUT", TIMED_OUT)), "0.3 s", 4_000);
    await held.end();
  });

  test("the retry options pace the polling for a lock that nobody here will release", async () => {
    const polls = [];
    const namespace = freshNamespace();
    const monitor = await server.connect().monitor();
    monitor.on("monitor", (_time, words) => {
      if (/^eval/i.test(words[0]) && words.some((word) => word.includes(namespace))) polls.push(words);
    });
    await admin.set(`${namespace}k`, "an old node");
    const slow = new Locks({ redisUrl: server.url, namespace, defaultRetryInterval: 600_000, maximumRetryInterval: 600_000 });
    const fast = new Locks({ redisUrl: server.url, namespace, defaultRetryInterval: 50, maximumRetryInterval: 50, backoffFactor: 1 });
    closing.push(() => slow.close(), () => fast.close());

    const patient = watch(slow.execute("k", () => "served", { timeout: 600 }));
    await until(() => polls.length > 0, "the first attempt");
    await stays(() => polls.length <= 2 && patient.state === "pending", "it does not poll again soon", 700);

    const eager = fast.execute("k", () => "served", { timeout: 60 });
    await until(() => polls.length > 8, "it polls at its interval");
    await admin.del(`${namespace}k`);
    assert.equal(await settles(eager, "the poller finds the lock free"), "served");
    monitor.disconnect();
  });

  test("one poller per key set, however many wait", async () => {
    const namespace = freshNamespace();
    const monitor = await server.connect().monitor();
    let polls = 0;
    monitor.on("monitor", (_time, words) => (polls += /^eval/i.test(words[0]) && words.some((word) => word.includes(namespace)) ? 1 : 0));
    await admin.set(`${namespace}k`, "an old node");
    const locks = new Locks({ redisUrl: server.url, namespace, defaultRetryInterval: 100, maximumRetryInterval: 100, backoffFactor: 1 });
    closing.push(() => locks.close());
    const waiters = Array.from({ length: 100 }, (_, n) => locks.execute("k", () => n, { timeout: 60 }));
    await until(() => polls > 0, "the first poll");
    const before = polls;
    await stays(() => polls - before < 60, "a hundred waiters do not poll a hundred times", 1_000);
    await admin.del(`${namespace}k`);
    assert.equal((await settles(Promise.all(waiters), "all are served")).length, 100);
    monitor.disconnect();
  });

  test("loading four times leaves no connection, and the process exits by itself", async () => {
    const child = startScript(
      `
      const { MedusaModule } = require("@medusajs/framework/modules-sdk");
      const { Modules } = require("@medusajs/framework/utils");
      const provider = { resolve: input.providerEntry, id: "native", is_default: true, options: { redisUrl: input.url } };
      const load = (alias, more) => MedusaModule.bootstrap({
        moduleKey: Modules.LOCKING, defaultPath: "@medusajs/locking",
        declaration: { scope: "internal", alias, options: { providers: [provider] } }, ...more,
      });
      await load("first", { migrationOnly: true });
      await load("second", { migrationOnly: true });
      await load("third");
      await load("fourth");
      const alive = setInterval(() => {}, 1_000);
      process.on("SIGUSR2", () => clearInterval(alive));
      say("loaded");
      `,
      { input: { providerEntry, url: server.url } },
    );
    await child.line("loaded");
    await until(async () => (await foreignConnections(admin)).length === 0, "no connection is left open", 8_000);
    child.kill("SIGUSR2");
    assert.deepEqual(await child.ends(), { code: 0, signal: null, errors: "" });
  });
});

describe("loading while Redis is away", () => {
  test("one clear line, no exception; calls fail as unexpected state, with host and port, within their timeout", async () => {
    const server = await redisServer();
    await server.kill();
    const options = { redisUrl: server.url, redisOptions: { commandTimeout: 1_000, connectTimeout: 1_000 } };
    const { locking, logger, close } = await lockingModule([ours(options)]);
    const place = new RegExp(`127\\.0\\.0\\.1:${server.port}`);
    const began = performance.now();
    await assert.rejects(locking.execute("k", () => assert.fail("ran"), { timeout: 1 }), medusaError("REDIS_UNREACHABLE", place));
    assert.ok(performance.now() - began < 6_000, "the call overran its timeout");
    await settles(assert.rejects(locking.acquire("k"), medusaError("REDIS_UNREACHABLE", place)), "acquire", 6_000);
    await settles(assert.rejects(locking.release("k"), medusaError("REDIS_UNREACHABLE", place)), "release", 6_000);
    await settles(assert.rejects(locking.releaseAll(), medusaError("REDIS_UNREACHABLE", place)), "releaseAll", 6_000);
    const complaints = logger.at("error", "warn");
    assert.equal(complaints.length, 1, inspect(logger.lines));
    assert.match(complaints[0], place);
    await close();
    await server.stop();
  });

  test("the incumbent's options are ours: the same object loads both", async () => {
    const server = await redisServer();
    const options = {
      redisUrl: server.url, redisOptions: { db: 3 }, namespace: "same:", waitLockingTimeout: 1,
      defaultRetryInterval: 5, maximumRetryInterval: 200, backoffFactor: 1.5,
    };
    const { locking, logger, close } = await lockingModule([ours(options), incumbent(options)]);
    await locking.acquire("k", { ownerId: "me" });
    await assert.rejects(locking.acquire("k", { ownerId: "you", provider: "incumbent" }));
    assert.deepEqual(logger.at("warn", "error"), []);
    await close();
    await server.stop();
  });
});
