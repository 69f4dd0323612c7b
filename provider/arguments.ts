/**
 * The arguments of every call, checked before anything is sent or taken.
 *
 * Callers are JavaScript: anything can come in. Whatever it is, the answer is a LockError `INVALID_ARGUMENT` that names
 * the argument and what it got. Each property of `args` is read once, so a getter cannot change its mind between the
 * check and the use.
 */

import { invalidArgument, isLockError, type LockError } from "./errors.js";
import { render } from "./rendering.js";
import type { AcquireArgs, ExecuteArgs, OwnerArgs } from "./types.js";

/** The longest key or owner id, in bytes of UTF-8. */
export const NAME_BYTES_MAX = 16_384;

/** The most different keys that one call may name. */
export const KEYS_PER_CALL_MAX = 10_000;

/**
 * The most bytes of UTF-8 of all different keys of one call together: they go in one script call, during which the server
 * serves nobody else.
 */
export const KEYS_BYTES_MAX = 4_194_304;

/** The longest array of keys that is looked at, duplicates included. */
const KEYS_GIVEN_MAX = 100_000;

/** The longest time that a caller may ask for: ten years. In seconds. */
export const SECONDS_MAX = 315_360_000;

/** What stands in Redis for "no owner". */
const OWNERLESS = "*";

/** Most bytes of UTF-8 that one UTF-16 unit can need. */
const BYTES_PER_UNIT_MAX = 3;

/** `execute`'s arguments, read. Times are in whole milliseconds; absent: not given. */
export interface ReadExecuteArgs {
  readonly timeoutMs: number | undefined;
  readonly expireMs: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** `acquire`'s arguments, read. */
export interface ReadAcquireArgs extends ReadExecuteArgs {
  readonly ownerId: string | null;
  readonly awaitQueue: boolean;
  /** As Medusa's `acquireLockStep` calls: without an owner, with an expiry, and with `provider`, which may be undefined. */
  readonly isLockStep: boolean;
}

const NO_EXECUTE_ARGS: ReadExecuteArgs = { timeoutMs: undefined, expireMs: undefined, signal: undefined };

/** Made once: spreading the one above into a new object for each call took as long as the rest of an `acquire` in memory. */
const NO_ACQUIRE_ARGS: ReadAcquireArgs = {
  ownerId: null,
  timeoutMs: undefined,
  expireMs: undefined,
  awaitQueue: false,
  signal: undefined,
  isLockStep: false,
};

/**
 * The keys of a call: one as it is, several sorted and each once, none as an empty array.
 *
 * @throws LockError `INVALID_ARGUMENT`
 */
export function readKeys(keys: unknown): string | string[] {
  if (typeof keys === "string") {
    checkKey(keys);
    return keys;
  }
  const names = copyOfKeys(keys);
  if (names.length < 2) {
    return names[0] ?? names;
  }
  const unique = sortedUnique(names);
  if (unique.length > KEYS_PER_CALL_MAX) {
    throw invalidArgument("keys", `at most ${KEYS_PER_CALL_MAX} different keys in a call`, `${unique.length}`);
  }
  checkTotal(unique);
  return unique.length === 1 ? (unique[0] as string) : unique;
}

function checkTotal(names: readonly string[]): void {
  // So few cannot be too long together, and of most others the length says so.
  if (names.length * NAME_BYTES_MAX <= KEYS_BYTES_MAX) {
    return;
  }
  const units = names.reduce((sum, name) => sum + name.length, 0);
  if (units * BYTES_PER_UNIT_MAX <= KEYS_BYTES_MAX) {
    return;
  }
  const bytes = names.reduce((sum, name) => sum + Buffer.byteLength(name, "utf8"), 0);
  if (bytes > KEYS_BYTES_MAX) {
    throw invalidArgument("keys", `at most ${KEYS_BYTES_MAX} bytes of different keys in a call`, `${bytes}`);
  }
}

function copyOfKeys(keys: unknown): string[] {
  const expected = "a string or an array of strings";
  try {
    if (!Array.isArray(keys)) {
      throw invalidArgument("keys", expected, render(keys));
    }
    const given: readonly unknown[] = keys;
    const count = given.length;
    // Of a proxy it can be anything, and as "not even one" it would let a job run without a lock.
    if (!Number.isSafeInteger(count) || count < 0) {
      throw invalidArgument("keys", expected, `an array of length ${render(count)}`);
    }
    if (count > KEYS_GIVEN_MAX) {
      throw invalidArgument("keys", `at most ${KEYS_PER_CALL_MAX} different keys in a call`, `an array of ${count}`);
    }
    const names: string[] = [];
    for (let index = 0; index < count; index += 1) {
      const key = given[index];
      if (typeof key !== "string") {
        throw invalidArgument("keys", expected, `${render(key)} at index ${index}`);
      }
      checkKey(key, index);
      names.push(key);
    }
    return names;
  } catch (thrown) {
    throw refusal("keys", expected, thrown);
  }
}

function checkKey(key: string, index?: number): void {
  checkName("keys", "non-empty keys", "keys", key, index);
}

/** What stands between packed keys, and before the first. */
const SEPARATOR = "\n";

/**
 * Keys as they cross into the addon: several as one text, for each string that crosses costs as much as a lock. A key that
 * holds the separator, or begins with it, crosses as it is, in an array.
 */
export function packKeys(names: string | string[]): string | string[] {
  if (typeof names === "string") {
    return names.startsWith(SEPARATOR) ? [names] : names;
  }
  return names.some((name) => name.includes(SEPARATOR)) ? names : SEPARATOR + names.join(SEPARATOR);
}

/** Sorts in place where that is due: most callers' keys are in order already, and each once. */
function sortedUnique(names: string[]): string[] {
  if (names.every((name, index) => index === 0 || (names[index - 1] as string) < name)) {
    return names;
  }
  names.sort();
  return names.filter((name, index) => index === 0 || name !== names[index - 1]);
}

/** Keys and owner ids alike: not empty, not too long, and the same text after the way through UTF-8. */
function checkName(argument: string, nonEmpty: string, plural: string, name: string, index?: number): void {
  if (name === "") {
    throw invalidArgument(argument, nonEmpty, `an empty string${placeOf(index)}`);
  }
  // Length first: the other test walks the text, which may be megabytes long.
  if (name.length * BYTES_PER_UNIT_MAX > NAME_BYTES_MAX && isTooLong(name)) {
    // Of a text that is far too long the bytes are not counted.
    const got = name.length > NAME_BYTES_MAX ? `${name.length} characters` : `${Buffer.byteLength(name, "utf8")} bytes`;
    throw invalidArgument(argument, `${plural} of at most ${NAME_BYTES_MAX} bytes`, `${got}: ${render(name)}${placeOf(index)}`);
  }
  if (!name.isWellFormed()) {
    throw invalidArgument(argument, "well-formed text", `a lone surrogate in ${render(name)}${placeOf(index)}`);
  }
}

function placeOf(index: number | undefined): string {
  return index === undefined ? "" : ` at index ${index}`;
}

function isTooLong(name: string): boolean {
  return name.length > NAME_BYTES_MAX || Buffer.byteLength(name, "utf8") > NAME_BYTES_MAX;
}

/** @throws LockError `INVALID_ARGUMENT`: `job` is not a function. */
export function checkJob(job: unknown): void {
  if (typeof job !== "function") {
    throw invalidArgument("job", "a function", render(job));
  }
}

/** @throws LockError `INVALID_ARGUMENT` */
export function readExecuteArgs(args: ExecuteArgs | null | undefined): ReadExecuteArgs {
  if (args === undefined || args === null) {
    return NO_EXECUTE_ARGS;
  }
  checkArgs(args);
  return {
    timeoutMs: readMilliseconds("timeout", property(args, "timeout", timeoutOf)),
    expireMs: readMilliseconds("expire", property(args, "expire", expireOf)),
    signal: readSignal(property(args, "signal", signalOf)),
  };
}

/** @throws LockError `INVALID_ARGUMENT` */
export function readAcquireArgs(args: AcquireArgs | null | undefined): ReadAcquireArgs {
  if (args === undefined || args === null) {
    return NO_ACQUIRE_ARGS;
  }
  checkArgs(args);
  const ownerId = readOwnerId(property(args, "ownerId", ownerIdOf));
  const expireMs = readMilliseconds("expire", property(args, "expire", expireOf));
  return {
    ownerId,
    expireMs,
    isLockStep: ownerId === null && expireMs !== undefined && expireMs > 0 && namesProvider(args),
    timeoutMs: readMilliseconds("timeout", property(args, "timeout", timeoutOf)),
    awaitQueue: readFlag("awaitQueue", property(args, "awaitQueue", awaitQueueOf)),
    signal: readSignal(property(args, "signal", signalOf)),
  };
}

/**
 * The owner that a `release` or `releaseAll` names; null: none.
 *
 * @throws LockError `INVALID_ARGUMENT`
 */
export function readOwnerArgs(args: OwnerArgs | null | undefined): string | null {
  if (args === undefined || args === null) {
    return null;
  }
  checkArgs(args);
  return readOwnerId(property(args, "ownerId", ownerIdOf));
}

/** Only Medusa's lock step does: it hands its own input on, in which `provider` stands also where it is undefined. */
function namesProvider(args: object): boolean {
  try {
    return "provider" in args;
  } catch (thrown) {
    throw refusal("provider", "a readable property", thrown);
  }
}

function checkArgs(args: unknown): void {
  if (typeof args !== "object") {
    throw invalidArgument("args", "an object", render(args));
  }
}

// One for each: a property that is read by its name, whatever that is, is looked up anew each time.
const ownerIdOf = (args: OwnerArgs): unknown => args.ownerId;
const timeoutOf = (args: ExecuteArgs): unknown => args.timeout;
const expireOf = (args: ExecuteArgs): unknown => args.expire;
const awaitQueueOf = (args: AcquireArgs): unknown => args.awaitQueue;
const signalOf = (args: ExecuteArgs): unknown => args.signal;

function property<A extends object>(args: A, name: string & keyof A, read: (args: A) => unknown): unknown {
  try {
    return read(args);
  } catch (thrown) {
    throw refusal(name, "a readable property", thrown);
  }
}

function readOwnerId(ownerId: unknown): string | null {
  if (ownerId === undefined || ownerId === null || ownerId === OWNERLESS) {
    return null;
  }
  if (typeof ownerId !== "string") {
    throw invalidArgument("ownerId", "a string or null", render(ownerId));
  }
  checkName("ownerId", "a non-empty string or null", "an owner id", ownerId);
  return ownerId;
}

function readMilliseconds(name: string, seconds: unknown): number | undefined {
  if (seconds === undefined || seconds === null) {
    return undefined;
  }
  // NaN fails both comparisons.
  if (typeof seconds !== "number" || !(seconds >= 0 && seconds <= SECONDS_MAX)) {
    throw invalidArgument(name, `a number of seconds from 0 to ${SECONDS_MAX}`, render(seconds));
  }
  // Rounded up: a fraction of a millisecond must not become "not at all".
  return Math.ceil(seconds * 1000);
}

function readFlag(name: string, flag: unknown): boolean {
  if (flag === undefined || flag === null) {
    return false;
  }
  if (typeof flag !== "boolean") {
    throw invalidArgument(name, "true or false", render(flag));
  }
  return flag;
}

/** An AbortSignal by its looks: it may come from another realm or from a polyfill, so `instanceof` would not do. */
function readSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal === null) {
    return undefined;
  }
  if (!looksLikeSignal(signal)) {
    throw invalidArgument("signal", "an AbortSignal", render(signal));
  }
  return signal;
}

/** Whether a caller's signal has aborted. One that throws when it is asked is no signal. */
export function hasAborted(signal: AbortSignal): boolean {
  try {
    return signal.aborted;
  } catch (thrown) {
    throw refusal("signal", "an AbortSignal", thrown);
  }
}

function looksLikeSignal(value: unknown): value is AbortSignal {
  if (typeof value !== "object" || value === null) {
    return false;
  }
  try {
    const { aborted, addEventListener, removeEventListener } = value as Partial<AbortSignal>;
    return (
      typeof aborted === "boolean" &&
      typeof addEventListener === "function" &&
      typeof removeEventListener === "function"
    );
  } catch (thrown) {
    throw refusal("signal", "an AbortSignal", thrown);
  }
}

/** The error for something that was thrown while an argument was read: ours as it is, the argument's own as cause. */
function refusal(name: string, expected: string, thrown: unknown): LockError {
  return isLockError(thrown)
    ? thrown
    : invalidArgument(name, expected, "a value that throws when it is read", { cause: thrown });
}
