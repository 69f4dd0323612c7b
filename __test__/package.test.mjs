/** The package as npm delivers it: packed, installed into an empty project, and used from there and not from this tree. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { projectRoot } from "./support/product.mjs";

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const npmCli = process.env.npm_execpath?.endsWith(".js") ? [process.execPath, process.env.npm_execpath] : ["npm"];
const npm = (cwd, ...args) => run(npmCli[0], [...npmCli.slice(1), ...args], { cwd });

/** The packages that a store has beside ours; taken from this tree, so that no registry is needed. */
const BESIDE = ["@medusajs", "typescript", "@types", "awilix"];

/** What the README shows to those who extend the provider. */
const extendingExample = /^```ts\n([^`]*extends NativeLockingProvider[^`]*)^```/m.exec(readFileSync(join(projectRoot, "README.md"), "utf8"))[1];

let store, packed, installed;

before(async () => {
  store = realpathSync(mkdtempSync(join(tmpdir(), "locking-native-store-")));
  writeFileSync(join(store, "package.json"), JSON.stringify({ name: "store", version: "1.0.0", private: true }));
  const { stdout } = await npm(projectRoot, "pack", "--json", "--ignore-scripts", "--pack-destination", store);
  [packed] = JSON.parse(stdout);
  await npm(store, "install", "--offline", "--no-audit", "--no-fund", "--omit=optional", join(store, packed.filename));
  // Before the rest is put beside it: what npm brings along with it.
  installed = readdirSync(join(store, "node_modules")).filter((name) => !name.startsWith("."));
  for (const name of BESIDE) {
    const target = join(projectRoot, "node_modules", name);
    mkdirSync(join(store, "node_modules"), { recursive: true });
    symlinkSync(target, join(store, "node_modules", name), "junction");
  }
});
after(() => rmSync(store, { recursive: true, force: true }));

/** Runs CommonJS `source` in the store and gives what it prints. */
const inStore = async (source) => (await run(process.execPath, ["--eval", source], { cwd: store })).stdout.trim();

describe("the packed package", () => {
  test("holds the compiled provider, the addon and its words, and no sources or tests", () => {
    const files = packed.files.map(({ path }) => path);
    const entries = ["dist/index.js", "dist/index.d.ts", "dist/native.js", "dist/native.d.ts", "index.js", "index.d.ts"];
    for (const wanted of ["package.json", "README.md", "LICENSE", "CHANGELOG.md", ...entries]) {
      assert.ok(files.includes(wanted), `${wanted} is missing from the package`);
    }
    assert.ok(files.some((path) => path.endsWith(".node")), "the addon is missing");
    assert.deepEqual(files.filter((path) => /^(src|provider|__test__|tests|benchmark|scripts|target|node_modules)\//.test(path)), []);
    const folders = new Set(files.filter((path) => path.startsWith("dist/")).map((path) => path.split("/")[1]));
    for (const read of ["services", "models", "repositories", "migrations"]) {
      assert.ok(!folders.has(read), `Medusa would load everything in dist/${read}`);
    }
  });

  test("it is installed from the tarball, and not a link into this tree", () => {
    const folder = join(store, "node_modules", "medusa-locking-native");
    assert.equal(realpathSync(folder), folder);
    assert.ok(readdirSync(folder).includes("package.json"));
  });

  test("it brings nothing along: Medusa is for those who have it", () => assert.deepEqual(installed, ["medusa-locking-native"]));

  test("./native locks, required and imported", async () => {
    assert.equal(
      await inStore(`
        const { Locks, LockError } = require("medusa-locking-native/native");
        const locks = new Locks();
        locks.execute(["a", "b"], async (signal, lock) => {
          const refused = await locks.acquire("a").catch((error) => error instanceof LockError && error.code);
          console.log(refused, lock.keys.join());
        });
      `),
      "LOCK_HELD a,b",
    );
    assert.equal(
      await inStore(`import("medusa-locking-native/native").then(async ({ Locks }) => console.log(await new Locks().execute("k", () => "ran")))`),
      "ran",
    );
  });

  test("the main entry is a module provider with an identifier, and Medusa's Locking Module locks through it by name", async () => {
    assert.equal(
      await inStore(`
        const provider = require("medusa-locking-native").default;
        console.log(provider.services.length, provider.services[0].identifier, provider.module);
      `),
      "1 locking-native locking",
    );
    assert.equal(
      await inStore(`
        const { MedusaModule } = require("@medusajs/framework/modules-sdk");
        const logger = { log() {}, info() {}, debug() {}, warn: console.log, error: console.log };
        const providers = [{ resolve: "medusa-locking-native", id: "native", is_default: true }];
        MedusaModule.bootstrap({
          moduleKey: "locking", defaultPath: "@medusajs/locking", injectedDependencies: { logger },
          declaration: { scope: "internal", options: { providers } },
        }).then(async ({ locking }) => {
          await locking.acquire("k", { ownerId: "me" });
          await locking.acquire("k", { ownerId: "you" }).catch((error) => console.log(error.type, error.message));
        });
      `),
      'conflict Failed to acquire lock for key "k"',
    );
  });

  test("package.json resolves, other deep paths do not", async () => {
    assert.equal(await inStore(`console.log(require("medusa-locking-native/package.json").name)`), "medusa-locking-native");
    for (const path of ["dist/index.js", "dist/native.js", "index.js", "native.js", "provider/index.ts"]) {
      const code = await inStore(`try { require.resolve("medusa-locking-native/${path}") } catch (error) { console.log(error.code) }`);
      assert.equal(code, "ERR_PACKAGE_PATH_NOT_EXPORTED", path);
    }
  });

  test("its manifest says what Medusa and npm look for", () => {
    const manifest = require(join(store, "node_modules", "medusa-locking-native", "package.json"));
    assert.deepEqual(Object.keys(manifest.peerDependencies), ["@medusajs/framework"]);
    assert.deepEqual(manifest.peerDependenciesMeta, { "@medusajs/framework": { optional: true } });
    assert.equal(manifest.dependencies, undefined);
    for (const keyword of ["medusa-v2", "medusa-providers", "medusa-providers-locking"]) assert.ok(manifest.keywords.includes(keyword));
    for (const script of ["preinstall", "install", "postinstall", "prepare"]) assert.equal(manifest.scripts?.[script], undefined);
  });

  for (const [moduleResolution, module] of [["node16", "node16"], ["bundler", "esnext"]]) {
    test(`the types are found and hold, with moduleResolution ${moduleResolution}`, async () => {
      writeFileSync(
        join(store, "store.ts"),
        `
        import provider from "medusa-locking-native";
        import { Locks, LockError, type HeldLock, type LocksOptions } from "medusa-locking-native/native";
        const options: LocksOptions = { namespace: "shop:", lease: 15, redisOptions: { port: 6379 } };
        const result: Promise<number> = new Locks(options).execute(["a"], async (signal: AbortSignal, lock: HeldLock) => lock.fencingToken);
        const released: Promise<boolean> = new Locks().release("a", { ownerId: null });
        // @ts-expect-error: a key is a string
        void new Locks().acquire(42);
        // @ts-expect-error: no such option
        void new Locks({ namespce: "shop:" });
        export { provider, result, released, LockError };
        ${extendingExample}
        `,
      );
      const compilerOptions = { strict: true, noEmit: true, target: "es2022", module, moduleResolution, skipLibCheck: true, types: ["node"] };
      writeFileSync(join(store, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["store.ts"] }));
      const tsc = join(projectRoot, "node_modules", "typescript", "bin", "tsc");
      await run(process.execPath, [tsc, "-p", store], { cwd: store }).catch(({ stdout }) => assert.fail(stdout));
    });
  }

  test("where no binary fits, the first use says what to install", async () => {
    const said = await inStore(`
      Object.defineProperty(process, "arch", { value: "mips" });
      const { Locks } = require("medusa-locking-native/native");
      try { new Locks() } catch (error) { console.log(error.message) }
    `);
    assert.match(said, /medusa-locking-native/);
    assert.match(said, /install/i);
    assert.match(said, /mips/);
  });
});
