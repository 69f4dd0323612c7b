/** Providers that a store makes of our class, through the real Locking Module: each has its own options, or is refused. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { medusaError } from "./support/errors.mjs";
import { lockingModule, ours } from "./support/medusa.mjs";
import { providerEntry } from "./support/product.mjs";
import { redisServer } from "./support/redis.mjs";

const require = createRequire(import.meta.url);
const medusaEntry = require.resolve("@medusajs/framework/utils");
const { NativeLockingProvider } = require(providerEntry);

let folder, server, admin;
const closing = [];

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "locking-native-extended-"));
  server = await redisServer();
  admin = server.connect();
});
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
});
after(async () => {
  rmSync(folder, { recursive: true, force: true });
  await server.stop();
});

/** A file as a store has it: `body` is that of a class that extends ours. Gives an entry of the Locking Module's options. */
function extended(name, { body = "", loader = false } = {}) {
  const file = join(folder, `${name}.js`);
  writeFileSync(
    file,
    `
    const { ModuleProvider, Modules } = require(${JSON.stringify(medusaEntry)});
    const { lockingNativeLoader, NativeLockingProvider } = require(${JSON.stringify(providerEntry)});
    class ${name} extends NativeLockingProvider { static identifier = "${name}"; ${body} }
    exports.default = ModuleProvider(Modules.LOCKING, { services: [${name}], ${loader ? "loaders: [lockingNativeLoader]" : ""} });
    `,
  );
  return (id, options) => ({ resolve: file, id, options });
}

async function load(...providers) {
  const loaded = await lockingModule(providers);
  closing.push(() => loaded.close().catch(() => {}));
  return loaded;
}

/** Where the lock of an acquire through `id` stands in Redis. */
async function takenBy(locking, id, namespace) {
  await locking.acquire("k", { ownerId: id, provider: id });
  return admin.get(`${namespace}k`);
}

describe("a provider whose class extends ours", () => {
  for (const loader of [false, true]) {
    test(`gets its options ${loader ? "from our loader" : "without our loader"}`, async () => {
      const namespace = freshNamespace();
      const entry = extended(`Alone${loader ? "Loaded" : ""}`, { loader });
      const { locking, logger } = await load(entry("alone", { redisUrl: server.url, namespace }));
      assert.equal(await takenBy(locking, "alone", namespace), "alone");
      assert.deepEqual(logger.at("warn", "error"), []);
    });
  }

  test("a plain one, two extended ones and one of an extended class again keep their own options side by side", async () => {
    const namespaces = { plain: freshNamespace(), first: freshNamespace(), second: freshNamespace(), third: freshNamespace() };
    const First = extended("First");
    const Second = extended("Second", { loader: true });
    const Third = extended("Third");
    const options = (id) => ({ redisUrl: server.url, namespace: namespaces[id] });
    const { locking } = await load(
      First("first", options("first")),
      ours(options("plain"), "plain"),
      Second("second", options("second")),
      Third("third", options("third")),
    );
    // The last that was loaded is the first that is made: order must not matter.
    for (const id of ["third", "plain", "first", "second"]) assert.equal(await takenBy(locking, id, namespaces[id]), id, id);
  });

  test("loading the same class again with other options, as a migration does, gives each module its own", async () => {
    const entry = extended("Again");
    const namespaces = [freshNamespace(), freshNamespace(), freshNamespace(), freshNamespace()];
    const modules = [];
    for (const namespace of namespaces) modules.push(await load(entry("again", { redisUrl: server.url, namespace })));
    for (const [at, { locking }] of modules.entries()) assert.equal(await takenBy(locking, "again", namespaces[at]), "again");
  });

  test("two of one class with different options are refused without our loader, in words that show it", async () => {
    const entry = extended("Twin");
    const { locking } = await load(entry("a", { redisUrl: server.url, namespace: "a:" }), entry("b", { namespace: "b:" }));
    for (const provider of ["a", "b"]) {
      await assert.rejects(locking.execute("k", () => assert.fail("ran"), { provider }), (error) => {
        assert.match(error.message, /"Twin".*2 providers of it, with different options/);
        assert.match(error.message, /import \{ lockingNativeLoader \} from "medusa-locking-native"/);
        assert.match(error.message, /ModuleProvider\(Modules\.LOCKING, \{ services: \[Twin\], loaders: \[lockingNativeLoader\] \}\)/);
        return true;
      });
    }
  });

  test("one with options and one without are different options too", async () => {
    const entry = extended("Half");
    const { locking } = await load(entry("a", { redisUrl: server.url }), entry("b", undefined));
    for (const provider of ["a", "b"]) {
      await assert.rejects(locking.execute("k", () => assert.fail("ran"), { provider }), /2 providers of it, with different options/);
    }
  });

  test("two of one class with our loader, and two whose options are alike, each get theirs", async () => {
    const namespaces = { a: freshNamespace(), b: freshNamespace(), alike: freshNamespace() };
    const Pair = extended("Pair", { loader: true });
    const Alike = extended("Alike");
    const options = (id) => ({ redisUrl: server.url, namespace: namespaces[id] });
    const { locking } = await load(Pair("a", options("a")), Pair("b", options("b")), Alike("c", options("alike")), Alike("d", options("alike")));
    assert.equal(await takenBy(locking, "b", namespaces.b), "b");
    assert.equal(await takenBy(locking, "a", namespaces.a), "a");
    assert.equal(await takenBy(locking, "c", namespaces.alike), "c");
    await assert.rejects(locking.acquire("k", { ownerId: "d", provider: "d" }), /Failed to acquire lock for key "k"/);
  });

  test("an own validateOptions that calls ours is as good as none, one that does not is refused", async () => {
    const namespace = freshNamespace();
    const Calls = extended("Calls", { body: "static validateOptions(options) { super.validateOptions(options); }" });
    const Hides = extended("Hides", { body: "static validateOptions() {}" });
    const { locking } = await load(Calls("calls", { redisUrl: server.url, namespace }), Hides("hides", { redisUrl: server.url, namespace }));
    assert.equal(await takenBy(locking, "calls", namespace), "calls");
    await assert.rejects(locking.acquire("k", { provider: "hides" }), /"Hides".*validateOptions does not call/);
  });

  test("an own constructor that drops its second argument is refused", async () => {
    const Drops = extended("Drops", { body: "constructor(cradle) { super(cradle); }" });
    const { locking } = await load(Drops("drops", { redisUrl: server.url }));
    await assert.rejects(locking.acquire("k", { provider: "drops" }), /"Drops".*constructor does not pass on its second argument/);
  });

  test("without options it locks within the process, as ours does", async () => {
    const { locking, logger } = await load(extended("Bare")("bare", undefined));
    assert.equal(await locking.execute("k", () => "ran"), "ran");
    assert.deepEqual(logger.at("warn", "error"), []);
  });

  test("a redisUrl without a value, and options without effect, are warned of once, also without our loader", async () => {
    const { locking, logger } = await load(extended("Unset")("unset", { redisUrl: undefined, nonsense: 1 }));
    await locking.execute("k", () => {});
    await locking.execute("k", () => {});
    const warnings = logger.at("warn");
    assert.equal(warnings.length, 2, JSON.stringify(warnings));
    assert.match(warnings.join("\n"), /no effect: nonsense/);
    assert.match(warnings.join("\n"), /"redisUrl" has no value: locks hold within this process only/);
  });

  test("bad options are refused when Medusa has them validated", () => {
    const { default: made } = require(extended("Bad")("bad").resolve);
    assert.throws(() => made.services[0].validateOptions({ lease: -1 }), medusaError("INVALID_OPTION", /"lease"/));
  });

  test("made by hand, it takes what it is given", async () => {
    class ByHand extends NativeLockingProvider {}
    const namespace = freshNamespace();
    const service = new ByHand({}, { redisUrl: server.url, namespace });
    closing.push(() => service.shutdown());
    await service.acquire("k", { ownerId: "me" });
    assert.equal(await admin.get(`${namespace}k`), "me");
  });
});
