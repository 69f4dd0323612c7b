/**
 * The locks as a provider of Medusa's Locking Module.
 *
 * Only an adapter: errors become MedusaErrors, warnings go to Medusa's logger, and the locks are opened at the first
 * call, for Medusa makes providers that it never uses.
 */

import type { Context, ILockingProvider, Logger } from "@medusajs/framework/types";

import { ignoredOptions, NO_REDIS_URL, UNVERIFIED, type Embedding } from "./embedding.js";
import { closed, toLockError } from "./errors.js";
import { Locks } from "./locks.js";
import { toMedusaError } from "./medusa-errors.js";
import { readOptions, type LocksOptions } from "./options.js";
import { areTheModules, noteValidated, ownOptions } from "./own-options.js";
import { OPTIONS_REGISTRATION, registered } from "./registration.js";
import type { AcquireArgs, ExecuteArgs, Job, LockInfo, LockStats, OwnerArgs } from "./types.js";

export class NativeLockingProvider implements ILockingProvider {
  static identifier = "locking-native";

  /**
   * Medusa's call before it registers the provider. A class that has its own calls this one from it:
   * `super.validateOptions(options)`.
   *
   * @throws MedusaError `invalid_data`: an option is bad
   */
  static validateOptions(options?: unknown): void {
    noteValidated(this, options);
    try {
      readOptions(options);
    } catch (thrown) {
      throw toMedusaError(toLockError(thrown));
    }
  }

  /** How Medusa's modules are told of the end of the application; later revisions call `shutdown` itself. */
  readonly __hooks = {
    // Not on prepare: what is in flight then, such as an HTTP request, still needs its locks.
    onApplicationShutdown: (): Promise<void> => this.shutdown(),
  };

  readonly #options: LocksOptions;
  /** The loader has warned of options that do not do what they seem to do, once for all that are made of them. */
  readonly #warned: boolean;
  readonly #warn: (text: string) => void;
  #locks: Locks | undefined;
  #shutdown: Promise<void> | undefined;

  /**
   * `options` are the Locking Module's when Medusa calls this: the provider's own are in the container, put there by
   * the loader, or else found among the module's. Whoever makes a provider by hand passes them here.
   *
   * @throws MedusaError `invalid_data`: there is no loader, and the provider's options cannot be told
   */
  constructor(cradle: object, options?: LocksOptions | Record<string, unknown>) {
    const loaded = registered(cradle, OPTIONS_REGISTRATION) as LocksOptions | undefined;
    this.#warned = loaded !== undefined;
    this.#warn = warnerOf(registered(cradle, "logger") as Logger | undefined);
    try {
      const isByHand = options !== undefined && !areTheModules(options);
      this.#options = loaded ?? (isByHand ? options : ownOptions(new.target, options));
    } catch (thrown) {
      throw toMedusaError(toLockError(thrown));
    }
  }

  /** See `Locks.execute`. The reason of the job's signal is a MedusaError as well. */
  async execute<T>(
    keys: string | string[],
    job: Job<T>,
    args?: ExecuteArgs | null,
    _sharedContext?: Context,
  ): Promise<T> {
    return this.#open().execute(keys, job, args);
  }

  /** See `Locks.acquire`. */
  async acquire(keys: string | string[], args?: AcquireArgs | null, _sharedContext?: Context): Promise<void> {
    return this.#open().acquire(keys, args);
  }

  /** See `Locks.release`. */
  async release(keys: string | string[], args?: OwnerArgs | null, _sharedContext?: Context): Promise<boolean> {
    return this.#open().release(keys, args);
  }

  /** See `Locks.releaseAll`. */
  async releaseAll(args?: OwnerArgs | null, _sharedContext?: Context): Promise<void> {
    return this.#open().releaseAll(args);
  }

  /** See `Locks.inspect`. */
  async inspect(keys?: string | string[] | null): Promise<LockInfo[]> {
    return this.#open().inspect(keys);
  }

  /** See `Locks.stats`. */
  stats(): LockStats {
    return this.#open().stats();
  }

  /** See `Locks.close`. */
  shutdown(): Promise<void> {
    this.#shutdown ??= this.#locks?.close() ?? Promise.resolve();
    return this.#shutdown;
  }

  #open(): Locks {
    if (this.#locks !== undefined) {
      return this.#locks;
    }
    if (this.#shutdown !== undefined) {
      throw toMedusaError(closed());
    }
    try {
      this.#locks = new Locks(this.#options, medusaEmbedding(this.#warn, this.#warned));
    } catch (thrown) {
      throw toMedusaError(toLockError(thrown));
    }
    if (!this.#warned && this.#locks.endpoint === undefined && "redisUrl" in this.#options) {
      this.#warn(NO_REDIS_URL);
    }
    return this.#locks;
  }
}

/** Called from where nobody could catch it: a logger that is broken must not end the store. */
function warnerOf(logger: Logger | undefined): (text: string) => void {
  const log: Pick<Logger, "warn"> = logger ?? console;
  return (text) => {
    try {
      log.warn(text);
    } catch {
      process.emitWarning(text, { type: "LockWarning" });
    }
  };
}

/** `warned`: the loader has told of the options that have no effect, and of a server that is not verified. */
function medusaEmbedding(warn: (text: string) => void, warned: boolean): Embedding {
  const stays = "A lock could not be released and stays until its lease runs out";
  return {
    present: toMedusaError,
    lost: (error) => warn(error.message),
    unreleased: (error) => warn(`${stays}: ${error.message}`),
    outlived: warn,
    ignored: (options) => {
      if (!warned) {
        warn(ignoredOptions(options));
      }
    },
    unverified: () => {
      if (!warned) {
        warn(UNVERIFIED);
      }
    },
  };
}
