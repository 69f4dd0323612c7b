// Medusa's real Locking Module with this package as its default provider, as a store's configuration loads it.

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const providerPath = fileURLToPath(new URL("../dist/index.js", import.meta.url));

/** Resolves with the Locking Module's service; `options` are the provider's. */
export async function lockingModule(options) {
  const { MedusaModule } = require("@medusajs/framework/modules-sdk");
  const { Modules } = require("@medusajs/framework/utils");
  const provider = { resolve: providerPath, id: "locking-native", is_default: true, options };
  const modules = await MedusaModule.bootstrap({
    moduleKey: Modules.LOCKING,
    defaultPath: "@medusajs/locking",
    declaration: { scope: "internal", options: { providers: [provider] } },
    injectedDependencies: { logger },
  });
  return modules[Modules.LOCKING];
}

// The demo's output is the sale; of the module's messages only the bad news is shown.
const silent = () => {};
const logger = {
  ...Object.fromEntries(["panic", "activity", "progress", "success", "failure"].map((name) => [name, silent])),
  ...Object.fromEntries(["silly", "debug", "verbose", "http", "info", "log"].map((name) => [name, silent])),
  shouldLog: () => false,
  warn: (message) => console.error(`\nwarning: ${message}`),
  error: (message) => console.error(`\nerror: ${message}`),
};
