/**
 * What can go wrong, as callers see it: one class of errors, and one list of stable codes.
 */

import { shownKey } from "./rendering.js";

/** Every code that a {@link LockError} can have. Programs should match on these; the messages are for people. */
export const LockErrorCode = {
  /** `acquire` found a key held by somebody else, and did not wait, or waited for `acquireWait` in vain. */
  LOCK_HELD: "LOCK_HELD",
  /** The time to wait for the lock passed. */
  LOCK_TIMEOUT: "LOCK_TIMEOUT",
  /** A job asked for a lock that it holds itself, or a job around it, and would have waited for its own end. */
  LOCK_SELF_WAIT: "LOCK_SELF_WAIT",
  /** The lock of an `execute` was lost while its job was running: somebody else may have held it meanwhile. */
  LOCK_LOST: "LOCK_LOST",
  /** An argument of a call is not what it must be. Nothing was sent or taken. */
  INVALID_ARGUMENT: "INVALID_ARGUMENT",
  /** An option is not what it must be. */
  INVALID_OPTION: "INVALID_OPTION",
  /** A bound was reached, such as the number of requests that may wait. */
  LIMIT_EXCEEDED: "LIMIT_EXCEEDED",
  /** Redis could not be reached, or did not answer in time. */
  REDIS_UNREACHABLE: "REDIS_UNREACHABLE",
  /** Redis answered with an error. */
  REDIS_ERROR: "REDIS_ERROR",
  /** The provider has been closed, or was closed while the call was waiting. */
  CLOSED: "CLOSED",
  /** A fault of this package, or a build of it that does not fit. Please report it. */
  INTERNAL: "INTERNAL",
} as const;

/** One of the codes that {@link LockErrorCode} lists. */
export type LockErrorCode = (typeof LockErrorCode)[keyof typeof LockErrorCode];

/** The parts of a {@link LockError} that not every one has. */
export interface LockErrorDetails {
  /** The key concerned. */
  readonly key?: string | undefined;
  /** What led to the error. */
  readonly cause?: unknown;
}

/** The error of everything that this package refuses or fails to do. */
export class LockError extends Error {
  /** What kind of error it is; stable, unlike the message. */
  readonly code: LockErrorCode;

  /** The key concerned, where it is one and known. */
  declare readonly key?: string;

  static {
    // On the prototype, as the built-in errors have it: an own property would show up in every log line.
    Object.defineProperty(this.prototype, "name", { value: "LockError", configurable: true, writable: true });
  }

  constructor(code: LockErrorCode, message: string, details: LockErrorDetails = {}) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    if (details.key !== undefined) {
      this.key = details.key;
    }
  }
}

/** The refusal of an `acquire`. Medusa's callers match on the text. */
export function lockHeld(key: string | undefined): LockError {
  return new LockError("LOCK_HELD", `Failed to acquire lock for key "${shownKey(key)}"`, { key });
}

/** The end of a wait. Medusa's callers match on the text. */
export function lockTimedOut(key: string | undefined): LockError {
  return new LockError("LOCK_TIMEOUT", "Timed-out acquiring lock.", { key });
}

/** The refusal of a wait that could end in nothing but its time-out: the caller's own job holds the key. */
export function lockSelfWait(key: string): LockError {
  const todo = "do this work without asking for the lock again, for the job has it, or start it after the job has ended";
  const what = `Would wait in vain for the lock for key "${shownKey(key)}": it is held by the job that this call is made in`;
  return new LockError("LOCK_SELF_WAIT", `${what}; ${todo}`, { key });
}

/** The loss of a lock that was noticed when it was to be released. */
export function lockLost(keys: readonly string[]): LockError {
  const [key] = keys;
  const names = `key "${shownKey(key)}"${keys.length > 1 ? ` and ${keys.length - 1} more` : ""}`;
  const noticed = "it was no longer held when it was to be released";
  return new LockError("LOCK_LOST", `Lost the lock for ${names} while the job was running: ${noticed}`, { key });
}

/** The loss of the locks whose jobs went on after the grace period of `close`. */
export function lockLostByClosing(): LockError {
  return new LockError("LOCK_LOST", "Lost the lock while the job was running: the locking provider was closed");
}

/** A call after `close`. */
export function closed(): LockError {
  return new LockError("CLOSED", "The locking provider is closed");
}

/** An argument that is not what it must be; `got` describes it, safely rendered. */
export function invalidArgument(name: string, expected: string, got: string, details?: LockErrorDetails): LockError {
  return new LockError("INVALID_ARGUMENT", `Invalid argument "${name}": expected ${expected}, got ${got}`, details);
}

/** An option that is not what it must be; `got` describes it, safely rendered and without secrets. */
export function invalidOption(name: string, expected: string, got: string, details?: LockErrorDetails): LockError {
  return new LockError("INVALID_OPTION", `Invalid option "${name}": expected ${expected}, got ${got}`, details);
}

/** A fault of ours. */
export function internal(message: string, cause?: unknown): LockError {
  return new LockError("INTERNAL", message, cause === undefined ? {} : { cause });
}

/** What the addon says went wrong: a thrown error's properties, or the words that go with a completion. */
export interface NativeFailure {
  readonly code: string;
  readonly message: string;
  readonly key?: string | undefined;
}

/** The error for a failure that the addon reported. */
export function fromNative(failure: NativeFailure): LockError {
  if (isLockErrorCode(failure.code)) {
    return new LockError(failure.code, failure.message, { key: failure.key });
  }
  return internal(`The locking addon failed with the unknown code "${failure.code}": ${failure.message}`);
}

/** Whether anything that was thrown is one of ours. Unlike `instanceof`, it does not throw where that is a proxy that does. */
export function isLockError(thrown: unknown): thrown is LockError {
  try {
    return thrown instanceof LockError;
  } catch {
    return false;
  }
}

/** Anything that was thrown, as the error that callers see. What is one already stays the same object. Never throws. */
export function toLockError(thrown: unknown): LockError {
  try {
    return readAsLockError(thrown);
  } catch {
    return internal("The locking addon failed: what was thrown cannot be read", thrown);
  }
}

function readAsLockError(thrown: unknown): LockError {
  if (thrown instanceof LockError) {
    return thrown;
  }
  if (thrown instanceof Error && "code" in thrown && isLockErrorCode(thrown.code)) {
    return new LockError(thrown.code, thrown.message);
  }
  return internal(`The locking addon failed: ${thrown instanceof Error ? thrown.message : typeof thrown}`, thrown);
}

function isLockErrorCode(code: unknown): code is LockErrorCode {
  return typeof code === "string" && Object.hasOwn(LockErrorCode, code);
}
