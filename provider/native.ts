/**
 * `medusa-locking-native/native`: the locks without Medusa. Nothing that is required from here requires Medusa.
 */

export { LockError, LockErrorCode } from "./errors.js";
export { Locks } from "./locks.js";
export type { LocksOptions } from "./options.js";
export type { RedisConnectionOptions, RedisTlsOptions } from "./redis-options.js";
export type { AcquireArgs, ExecuteArgs, HeldLock, Job, LockInfo, LockStats, OwnerArgs } from "./types.js";
