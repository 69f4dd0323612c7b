/**
 * The options of a provider whose class extends ours and which comes without our loader.
 *
 * Medusa gives a provider's constructor the options of the Locking Module. They list every provider with its options,
 * but do not say which of them is being made. Before that, Medusa calls the class's static `validateOptions` with the
 * very object that stands in that list, and that tells which entries are of this class. Where this leaves a doubt, the
 * provider is refused: with other options its locks would exclude nobody, and without `redisUrl` no other process.
 */

import { isDeepStrictEqual } from "node:util";

import { LockError } from "./errors.js";
import type { LocksOptions } from "./options.js";

/** A provider's class: all that matters of it is which one it is. */
type ProviderClass = new (...args: never[]) => object;

/** For an `options` object of Medusa's configuration, the classes that were asked to validate it. */
const validatedBy = new WeakMap<object, WeakSet<ProviderClass>>();

/** The classes of which a provider was configured without options. */
const withoutOptions = new WeakSet<ProviderClass>();

/** The classes of which a provider was configured with options. */
const withOptions = new WeakSet<ProviderClass>();

/** Medusa has asked `providerClass` to validate `options`. */
export function noteValidated(providerClass: ProviderClass, options: unknown): void {
  if (typeof options !== "object" || options === null) {
    withoutOptions.add(providerClass);
    return;
  }
  withOptions.add(providerClass);
  const classes = validatedBy.get(options) ?? new WeakSet();
  validatedBy.set(options, classes.add(providerClass));
}

/** Whether `options`, as a constructor was given them, are those of the Locking Module. */
export function areTheModules(options: object): options is { providers: unknown } {
  return "providers" in options;
}

/**
 * The options of the provider that is being made of `providerClass`, from the Locking Module's.
 *
 * @throws LockError `INVALID_OPTION`: the module has several of this class with different options, or the class has a
 *   constructor or a `validateOptions` of its own that does not hand on what it was given
 */
export function ownOptions(providerClass: ProviderClass, moduleOptions: { providers: unknown } | undefined): LocksOptions {
  if (moduleOptions === undefined && withOptions.has(providerClass)) {
    throw unknownOptions(providerClass, "its constructor does not pass on its second argument");
  }
  const entries: readonly unknown[] = Array.isArray(moduleOptions?.providers) ? moduleOptions.providers : [];
  const given = entries.map(optionsOf);
  const own = given.filter((options) => options !== undefined && validatedBy.get(options)?.has(providerClass) === true);
  if (withoutOptions.has(providerClass) && given.includes(undefined)) {
    own.push({});
  }
  const [first, ...others] = own;
  if (first === undefined) {
    if (given.every((options) => options === undefined)) {
      return {};
    }
    throw unknownOptions(providerClass, "its validateOptions does not call that of NativeLockingProvider");
  }
  if (!others.every((options) => isDeepStrictEqual(options, first))) {
    throw unknownOptions(providerClass, `the Locking Module has ${own.length} providers of it, with different options`);
  }
  return first;
}

/** The options of an entry of the module's `providers`; undefined: it has none. */
function optionsOf(entry: unknown): object | undefined {
  const options = typeof entry === "object" && entry !== null && "options" in entry ? entry.options : undefined;
  return typeof options === "object" && options !== null ? options : undefined;
}

function unknownOptions(providerClass: ProviderClass, reason: string): LockError {
  const name = providerClass.name || "NativeLockingProvider";
  return new LockError(
    "INVALID_OPTION",
    `The options of the locking provider "${name}" cannot be told: ${reason}, and Medusa gives options to loaders only. ` +
      'Add the loader: import { lockingNativeLoader } from "medusa-locking-native"; ' +
      `ModuleProvider(Modules.LOCKING, { services: [${name}], loaders: [lockingNativeLoader] })`,
  );
}
