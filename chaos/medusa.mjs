// Medusa's real Locking Module with the provider that is put to the test.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { STORE_NAME } from "./server.mjs";

const require = createRequire(import.meta.url);

/** How long the provider may wait for an answer of the server, in ms. */
export const COMMAND_TIMEOUT_MS = 2_000;

const PROVIDERS = {
  native: () => ({ resolve: fileURLToPath(new URL("../dist/index.js", import.meta.url)), redisOptions: { commandTimeout: COMMAND_TIMEOUT_MS } }),
  "locking-redis": () => ({ resolve: require.resolve("@medusajs/locking-redis"), redisOptions: {} }),
};

/** The names that `--provider` takes. */
export const PROVIDER_NAMES = Object.keys(PROVIDERS);

/** What both ways to the locks of a store are opened with. */
function optionsOf({ provider, redisUrl, namespace, slot }) {
  const { redisOptions } = PROVIDERS[provider]();
  return { redisUrl, namespace, redisOptions: { ...redisOptions, connectionName: `${STORE_NAME}${slot}` } };
}

/** Another way to the same locks, to `inspect` them, which the Locking Module does not pass on. None for the other provider. */
export function lookingOn(setup) {
  if (setup.provider !== "native") return undefined;
  const { Locks } = require("../dist/native.js");
  return new Locks(optionsOf(setup));
}

/** Resolves with the Locking Module's service. */
export const lockingModule = (setup) => moduleWith(setup.provider, optionsOf(setup));

/** The same, with a provider that has these options. */
export async function moduleWith(provider, options) {
  const { MedusaModule } = require("@medusajs/framework/modules-sdk");
  const { Modules } = require("@medusajs/framework/utils");
  const { resolve } = PROVIDERS[provider]();
  const modules = await MedusaModule.bootstrap({
    moduleKey: Modules.LOCKING,
    defaultPath: "@medusajs/locking",
    declaration: { scope: "internal", options: { providers: [{ resolve, id: provider, is_default: true, options }] } },
    injectedDependencies: { logger: silentLogger() },
  });
  return modules[Modules.LOCKING];
}

// That locks are lost and the server is away is what the run is about: it is in the journal.
function silentLogger() {
  const levels = ["log", "info", "warn", "error", "debug", "verbose", "silly", "http", "panic", "failure", "success", "activity", "progress"];
  return { ...Object.fromEntries(levels.map((level) => [level, () => {}])), shouldLog: () => false };
}
