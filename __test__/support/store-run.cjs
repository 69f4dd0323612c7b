/**
 * A store in small: Medusa's Locking Module, of the version beside this file, with our provider and one that extends it.
 * Runs in a process of its own, in a folder that holds nothing but the two. It prints one line of JSON, and ends by itself.
 */
const { MedusaModule } = require("@medusajs/framework/modules-sdk");
const { MedusaError, Modules } = require("@medusajs/framework/utils");

const { entry, extended, options } = JSON.parse(process.argv[2]);

const logged = [];
const at = (level) => (...words) => void logged.push([level, words.map(String).join(" ")]);
const logger = Object.fromEntries(["log", "info", "warn", "error", "debug"].map((level) => [level, at(level)]));

/** Before 2.7, the Locking Module knows a provider by the identifier of its class only: the ids are the same. */
const providers = [
  { resolve: entry, id: "locking-native", is_default: true, options },
  { resolve: extended, id: "extended", options: { ...options, namespace: `${options.namespace}extended:` } },
];

async function main() {
  const loaded = await MedusaModule.bootstrap({
    moduleKey: Modules.LOCKING,
    defaultPath: "@medusajs/locking",
    injectedDependencies: { logger },
    declaration: { scope: "internal", options: { providers } },
  });
  const locking = loaded[Modules.LOCKING];
  const error = (promise) =>
    promise.then(
      () => "it did not fail",
      (thrown) => ({ medusa: thrown instanceof MedusaError, type: thrown.type, code: thrown.code, message: thrown.message }),
    );

  const result = {};
  result.executed = await locking.execute(["b", "a"], (signal, lock) => [signal?.aborted, lock?.keys, lock?.fencingToken > 0]);
  await locking.acquire("k", { ownerId: "me", expire: 60 });
  result.held = await error(locking.acquire("k", { ownerId: "you" }));
  result.timedOut = await error(locking.execute("k", () => "ran", { timeout: 0.1 }));
  result.notYours = await locking.release("k", { ownerId: "you" });
  const waiting = locking.execute("k", () => "served", { timeout: 60 });
  result.released = await locking.release("k", { ownerId: "me" });
  result.waited = await waiting;
  await locking.acquire(["x", "y"], { ownerId: "me" });
  await locking.releaseAll({ ownerId: "me" });
  result.free = await locking.execute(["x", "y"], () => "ran", { timeout: 0 });

  await locking.acquire("mark", { ownerId: "plain", expire: 60 });
  await locking.acquire("mark", { ownerId: "extended", expire: 60, provider: "extended" });

  // As 2.22 ends its providers: the module calls `shutdown` of each. Nothing may keep the process alive after it.
  for (const { id } of providers) await locking.providerService_.retrieveProviderRegistration(id).shutdown?.();
  result.closed = await error(locking.acquire("k"));
  result.trouble = logged.filter(([level]) => level === "warn" || level === "error");
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

main().catch((thrown) => {
  console.error(thrown, logged);
  process.exitCode = 1;
});
