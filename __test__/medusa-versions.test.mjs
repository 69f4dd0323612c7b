/**
 * The provider in the oldest Medusa that it works with and in the newest that it is tested with: package.json's peer range.
 *
 * `medusa-oldest` has a lock file of its own, for the two trees do not go together in one. It is installed on first use.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { installPackages } from "../scripts/setup.mjs";
import { refusal, TIMED_OUT } from "./support/errors.mjs";
import { projectRoot } from "./support/product.mjs";
import { redisServer } from "./support/redis.mjs";

const oldest = join(projectRoot, "__test__", "medusa-oldest");
const readJson = (...path) => JSON.parse(readFileSync(join(...path), "utf8"));
const versionIn = (tree) => readJson(tree, "node_modules", "@medusajs", "framework", "package.json").version;

const CLOSED = "The locking provider is closed";
const failure = (type, code, message) => ({ medusa: true, type, code, message });

const EXPECTED = {
  executed: [false, ["a", "b"], true],
  held: failure("conflict", "LOCK_HELD", refusal("k")),
  timedOut: failure("conflict", "LOCK_TIMEOUT", TIMED_OUT),
  notYours: false,
  released: true,
  waited: "served",
  free: "ran",
  closed: failure("unexpected_state", "CLOSED", CLOSED),
  trouble: [],
};

/** A folder with our package, copied, and Medusa's of `tree`: what stands there requires that Medusa and no other. */
function storeWith(tree) {
  const store = realpathSync(mkdtempSync(join(tmpdir(), "locking-native-versions-")));
  const ours = join(store, "node_modules", "medusa-locking-native");
  mkdirSync(ours, { recursive: true });
  const addons = readdirSync(projectRoot).filter((name) => name.endsWith(".node"));
  for (const name of ["package.json", "index.js", "dist", ...addons]) cpSync(join(projectRoot, name), join(ours, name), { recursive: true });
  symlinkSync(join(tree, "node_modules", "@medusajs"), join(store, "node_modules", "@medusajs"), "junction");
  cpSync(join(projectRoot, "__test__", "support", "store-run.cjs"), join(store, "run.cjs"));
  writeFileSync(
    join(store, "extended.cjs"),
    `
    const { ModuleProvider, Modules } = require("@medusajs/framework/utils");
    const { NativeLockingProvider } = require("medusa-locking-native");
    class Extended extends NativeLockingProvider { static identifier = "extended"; }
    exports.default = ModuleProvider(Modules.LOCKING, { services: [Extended] });
    `,
  );
  return store;
}

const NAMES = { oldest, newest: projectRoot };

for (const [name, tree] of Object.entries(NAMES)) {
  describe(`the ${name} Medusa`, () => {
    let store, server;
    before(async () => {
      await installPackages({ folder: tree, label: `installing the ${name} Medusa` });
      store = storeWith(tree);
      server = await redisServer();
    });
    after(async () => {
      rmSync(store, { recursive: true, force: true });
      await server.stop();
    });

    async function run(options) {
      const entry = join(store, "node_modules", "medusa-locking-native", "dist", "index.js");
      const input = JSON.stringify({ entry, extended: join(store, "extended.cjs"), options });
      const { stdout } = await promisify(execFile)(process.execPath, ["run.cjs", input], { cwd: store, timeout: 60_000 });
      return JSON.parse(stdout.trim().split("\n").at(-1));
    }

    test("locks in memory", async () => assert.deepEqual(await run({ namespace: "store:" }), EXPECTED));

    test("locks on Redis, and the class that extends ours under the namespace of its own options", async () => {
      const namespace = `test-${randomUUID()}:`;
      assert.deepEqual(await run({ namespace, redisUrl: server.url }), EXPECTED);
      const admin = server.connect();
      assert.equal(await admin.get(`${namespace}mark`), "plain");
      assert.equal(await admin.get(`${namespace}extended:mark`), "extended");
    });
  });
}

test("the peer range begins with the oldest, and the newest is the one of the dev dependencies", () => {
  const manifest = readJson(projectRoot, "package.json");
  assert.equal(manifest.peerDependencies["@medusajs/framework"], `^${versionIn(oldest)}`);
  assert.equal(manifest.devDependencies["@medusajs/framework"], versionIn(projectRoot));
  assert.equal(readJson(oldest, "package.json").dependencies["@medusajs/framework"], versionIn(oldest));
});
