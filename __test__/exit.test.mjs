/** Processes that end while they hold locks in Redis: what their jobs held comes free at once, what `acquire` took stays. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { holding } from "./support/held.mjs";
import { Locks, providerEntry } from "./support/product.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { settles, until } from "./support/waiting.mjs";

let server, admin;
const closing = [];

before(async () => {
  server = await redisServer();
  admin = server.connect();
});
afterEach(async () => {
  server.thaw();
  await stopScripts();
  await Promise.all(closing.splice(0).map((locks) => locks.close()));
});
after(() => server.stop());

/** A namespace with a `Locks` of ours to look at it, and a child that holds "job" and "job2" by execute, "kept" by acquire. */
async function holdingChild(ending, { lease = 600 } = {}) {
  const namespace = freshNamespace();
  const options = { redisUrl: server.url, namespace };
  const locks = new Locks(options);
  closing.push(locks);
  const child = startScript(
    `
    const locks = new Locks(input.options);
    await locks.acquire("kept", { ownerId: "me" });
    const never = new Promise((resolve) => setTimeout(resolve, 1e6));
    locks.execute("job", () => never);
    locks.execute(["job2", "job3"], () => locks.execute("nested", () => (say("holds"), never)));
    ${ending}
    `,
    { input: { options: { ...options, lease } } },
  );
  await child.line("holds");
  const keys = async () => (await locks.inspect()).map(({ key }) => key).sort();
  assert.deepEqual(await keys(), ["job", "job2", "job3", "kept", "nested"]);
  return { child, locks, namespace, keys };
}

/** What must be true once the child has ended, whatever its way: long before the lease of ten minutes lapses. */
async function givenBack({ keys }) {
  await until(async () => (await keys()).join() === "kept", "the jobs' locks are free, the acquired one stays", 5_000);
}

test("process.exit(): the jobs' locks come free, the acquired one stays", async () => {
  const all = await holdingChild(`process.on("SIGUSR2", () => process.exit(3));`);
  all.child.kill("SIGUSR2");
  assert.equal((await all.child.ends()).code, 3);
  await givenBack(all);
  await nothingLeftOfJobs(all);
});

test("process.exit(0) from a SIGTERM handler, as Medusa does it", async () => {
  const all = await holdingChild(`process.on("SIGTERM", () => process.exit(0));`);
  all.child.kill("SIGTERM");
  assert.deepEqual(await all.child.ends(), { code: 0, signal: null, errors: "" });
  await givenBack(all);
});

test("an uncaught exception", async () => {
  const all = await holdingChild(`process.on("SIGUSR2", () => { throw new Error("a bug in the store"); });`);
  all.child.kill("SIGUSR2");
  const { code, errors } = await all.child.ends();
  assert.equal(code, 1);
  assert.match(errors, /a bug in the store/);
  await givenBack(all);
});

test("a waiter elsewhere gets the lock of a process that has exited", async () => {
  const all = await holdingChild(`process.on("SIGUSR2", () => process.exit(0));`);
  const waiter = all.locks.execute(["job", "job2"], () => "took over", { timeout: 60 });
  all.child.kill("SIGUSR2");
  await all.child.ends();
  assert.equal(await settles(waiter, "the waiter", 8_000), "took over");
});

test("a process that exits while it waits leaves no lock and no place in a queue", async () => {
  const namespace = freshNamespace();
  const options = { redisUrl: server.url, namespace };
  const locks = new Locks(options);
  closing.push(locks);
  const held = await holding(locks, "k");
  const child = startScript(
    `
    const locks = new Locks(input.options);
    for (let n = 0; n < 10; n += 1) locks.execute(["k", "l" + n], () => say("granted"), { timeout: 600 });
    await locks.execute("free", () => {});
    process.on("SIGUSR2", () => process.exit(0));
    say("waits");
    `,
    { input: { options } },
  );
  await child.line("waits");
  child.kill("SIGUSR2");
  assert.equal((await child.ends()).code, 0);
  await held.end();
  assert.equal(await settles(locks.execute(["k", "l3"], () => "free", { timeout: 30 }), "the keys are free"), "free");
  await nothingLeft(admin, namespace);
});

test("process.exit() while Redis hangs is not held up", async () => {
  const { child } = await holdingChild(`process.on("SIGUSR2", () => process.exit(0));`);
  server.freeze();
  child.kill("SIGUSR2");
  assert.equal((await child.ends(6_000)).code, 0);
});

test("process.exit() right after a call, before its answer", async () => {
  const namespace = freshNamespace();
  const options = { redisUrl: server.url, namespace };
  for (const call of ["execute('k', () => new Promise(() => {}))", "execute(['k', 'l'], () => {})", "releaseAll()", "close()"]) {
    const child = startScript(`const locks = new Locks(input.options); locks.${call}; process.exit(0);`, { input: { options } });
    assert.deepEqual(await child.ends(), { code: 0, signal: null, errors: "" });
  }
  await until(async () => (await admin.exists(`${namespace}k`, `${namespace}l`)) === 0, "nothing stays locked", 5_000);
});

test("SIGKILL: the lease is all that is left, and it lapses", async () => {
  const all = await holdingChild("", { lease: 1.5 });
  all.child.kill("SIGKILL");
  await all.child.exited;
  assert.equal(await settles(all.locks.execute(["job", "job2"], () => "took over", { timeout: 60 }), "the lease lapses"), "took over");
});

test("a Medusa process that ends by SIGTERM: the provider's jobs give their locks back", async () => {
  const namespace = freshNamespace();
  const options = { redisUrl: server.url, namespace, lease: 600 };
  const child = startScript(
    `
    const { MedusaModule } = require("@medusajs/framework/modules-sdk");
    const { Modules } = require("@medusajs/framework/utils");
    const providers = [{ resolve: input.providerEntry, id: "native", is_default: true, options: input.options }];
    const { [Modules.LOCKING]: locking } = await MedusaModule.bootstrap({
      moduleKey: Modules.LOCKING, defaultPath: "@medusajs/locking", declaration: { scope: "internal", options: { providers } },
    });
    process.on("SIGTERM", () => process.exit(0));
    locking.execute(["a", "b"], () => (say("holds"), new Promise((resolve) => setTimeout(resolve, 1e6))));
    `,
    { input: { providerEntry, options } },
  );
  await child.line("holds");
  assert.match(await admin.get(`${namespace}a`), /^execute:/);
  child.kill("SIGTERM");
  assert.equal((await child.ends()).code, 0);
  await until(async () => (await admin.exists(`${namespace}a`, `${namespace}b`)) === 0, "the locks are free", 5_000);
});

/** Of our bookkeeping, only what belongs to the lock that stays may be left. */
async function nothingLeftOfJobs({ locks, namespace }) {
  await locks.release("kept", { ownerId: "me" });
  await nothingLeft(admin, namespace);
}
