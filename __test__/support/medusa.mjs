/** Medusa's real Locking Module, bootstrapped as an application does it, with the providers that a test names. */
import { createRequire } from "node:module";
import { MedusaModule } from "@medusajs/framework/modules-sdk";
import { Modules } from "@medusajs/framework/utils";
import { providerEntry } from "./product.mjs";

const require = createRequire(import.meta.url);
const incumbentEntry = require.resolve("@medusajs/locking-redis");

let modules = 0;

/** Records what a provider logs, as `[level, text]`. */
export function recordingLogger() {
  const lines = [];
  const record = (level) => (...words) => void lines.push([level, words.map(String).join(" ")]);
  const levels = ["log", "info", "warn", "error", "debug", "verbose", "silly", "http", "panic", "failure", "success"];
  const logger = Object.fromEntries(levels.map((level) => [level, record(level)]));
  return {
    ...logger,
    lines,
    at: (...wanted) => lines.filter(([level]) => wanted.includes(level)).map(([, text]) => text),
    text: () => lines.map(([, text]) => text).join("\n"),
  };
}

/** Our provider's entry in the Locking Module's options. */
export const ours = (options, id = "native") => ({ resolve: providerEntry, id, is_default: true, options });

/** The same for `@medusajs/locking-redis`. */
export const incumbent = (options, id = "incumbent") => ({ resolve: incumbentEntry, id, options });

/**
 * Resolves with the module's service, the `logger` it was given and `provider(id)`, the instance behind it.
 * `close()` shuts the providers down.
 */
export async function lockingModule(providers, { logger = recordingLogger() } = {}) {
  modules += 1;
  const loaded = await MedusaModule.bootstrap({
    moduleKey: Modules.LOCKING,
    defaultPath: "@medusajs/locking",
    // Medusa hands out the module it has where the declaration is the same: each test wants its own.
    declaration: { scope: "internal", alias: `locking-${process.pid}-${modules}`, options: { providers } },
    injectedDependencies: logger ? { logger } : {},
  });
  const locking = loaded[Modules.LOCKING];
  const provider = (id) => locking.providerService_.retrieveProviderRegistration(id);
  const close = async () => {
    for (const { id } of providers) {
      const instance = provider(id);
      await instance.shutdown?.();
      // The incumbent has no way to be shut down.
      instance.redisClient?.disconnect();
    }
  };
  return { locking, logger, provider, close };
}
