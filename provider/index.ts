/**
 * `medusa-locking-native`: what `resolve` in Medusa's configuration names.
 */

import type { ModuleProviderExports } from "@medusajs/framework/types";
import { ModuleProvider, Modules } from "@medusajs/framework/utils";

import { lockingNativeLoader } from "./loader.js";
import { NativeLockingProvider } from "./service.js";

export { lockingNativeLoader, NativeLockingProvider };
export type { LoaderArguments } from "./loader.js";
export type { LocksOptions } from "./options.js";
export type { RedisConnectionOptions, RedisTlsOptions } from "./redis-options.js";
export type { AcquireArgs, ExecuteArgs, HeldLock, Job, LockInfo, LockStats, OwnerArgs } from "./types.js";

const provider: ModuleProviderExports<NativeLockingProvider> = ModuleProvider(Modules.LOCKING, {
  services: [NativeLockingProvider],
  loaders: [lockingNativeLoader],
});

export default provider;
