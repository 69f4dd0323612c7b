/**
 * How `Locks` speaks to what it is built into: plain Node.js by default, Medusa in this package's provider.
 */

import type { LockError } from "./errors.js";

export interface Embedding {
  /** The error that a caller is shown for `error`. Called once for each; must not throw. */
  present(error: LockError): Error;
  /** A job has lost its lock. Its caller is told as well, by a rejection. */
  lost(error: LockError): void;
  /** A job ended well under its lock, which then could not be given back: it stays until its lease runs out. */
  unreleased(error: LockError): void;
  /** A lock without an owner was to be released after it had lapsed: it may not have been exclusive. `release` answers `false`. */
  outlived(message: string): void;
  /** Options were given that have no effect. */
  ignored(options: readonly string[]): void;
  /** TLS looks at no certificate: whoever is between this process and the server can read and write everything. */
  unverified(): void;
}

/** The sentence for {@link Embedding.ignored}. */
export function ignoredOptions(options: readonly string[]): string {
  return `These locking options are unknown or not supported, and have no effect: ${options.join(", ")}`;
}

/** The sentence for {@link Embedding.unverified}. */
export const UNVERIFIED =
  "The certificate of the Redis server is not verified (rejectUnauthorized: false, or NODE_TLS_REJECT_UNAUTHORIZED=0): " +
  "anybody on the way can read and change what is sent, the password and the locks";

/** The sentence for a `redisUrl` that is there and has no value, as where a variable of the environment is not set. */
export const NO_REDIS_URL = 'The option "redisUrl" has no value: locks hold within this process only';

/** Errors as they are; whatever no caller is told of becomes a warning of the process. */
export const plainEmbedding: Embedding = {
  present: (error) => error,
  lost: () => undefined,
  unreleased: (error) => {
    const message = `A lock could not be released and stays until its lease runs out: ${error.message}`;
    process.emitWarning(message, { type: "LockWarning", code: error.code });
  },
  outlived: (message) => {
    process.emitWarning(message, { type: "LockWarning", code: "LOCK_EXPIRED" });
  },
  ignored: (options) => {
    process.emitWarning(ignoredOptions(options), { type: "LockWarning", code: "INVALID_OPTION" });
  },
  unverified: () => {
    process.emitWarning(UNVERIFIED, { type: "LockWarning", code: "TLS_UNVERIFIED" });
  },
};
