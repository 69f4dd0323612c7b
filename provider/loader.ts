/**
 * What happens when Medusa loads the provider: the options are checked and registered, and Redis is looked for once.
 *
 * Medusa loads providers up to four times in one process (`db:migrate`) and uses one of them at most, so nothing of
 * what is opened here outlives the loading. Redis being away is no reason not to start: it may be back by the time of
 * the first lock.
 */

import { setTimeout } from "node:timers";

import type { Logger, MedusaContainer } from "@medusajs/framework/types";

import { loadAddon } from "./addon.js";
import { ignoredOptions, NO_REDIS_URL, plainEmbedding, UNVERIFIED, type Embedding } from "./embedding.js";
import { LockError, toLockError } from "./errors.js";
import { Locks } from "./locks.js";
import { toMedusaError } from "./medusa-errors.js";
import { readOptions, type LocksOptions, type Settings } from "./options.js";
import { areTheModules } from "./own-options.js";
import { OPTIONS_REGISTRATION } from "./registration.js";

/** What Medusa passes. */
export interface LoaderArguments {
  readonly container: MedusaContainer;
  /** The provider's options; where it has none, the Locking Module's. */
  readonly options?: Record<string, unknown> | undefined;
  /** The Locking Module's options; absent where the provider has none. */
  readonly moduleOptions?: Record<string, unknown> | undefined;
  readonly logger?: Logger | undefined;
}

type Log = Pick<Logger, "info" | "warn" | "error">;

const PROVIDER = '"locking-native" provider';

/** How long Redis may take to answer, in milliseconds, before the store starts without having heard of it. */
const PROBE_MS = 1500;

/** What the client may take beyond that to say why, in milliseconds. */
const PROBE_SLACK_MS = 300;

/** How long the probe may take to let go of its connection, in milliseconds. */
const PROBE_CLOSE_MS = 500;

/** The key that the probe looks up. */
const PROBE_KEY = "locking-native-probe";

/** @throws MedusaError `invalid_data`: an option is bad; `unexpected_state`: no binary loads on this machine */
export async function lockingNativeLoader(args: LoaderArguments): Promise<void> {
  const options = providerOptions(args);
  const { settings, ignored } = check(options);
  const log: Log | undefined = args.logger;
  // Reads the rest of the options too: nothing is registered that cannot be used.
  const locks = settings.native.redis === undefined ? undefined : open(impatient(options), log);
  // What awilix's `asValue` makes. Medusa exports that from 2.11 on only, and a store need not have awilix itself.
  args.container.register({ [OPTIONS_REGISTRATION]: { resolve: () => options } });
  if (locks !== undefined) {
    await probe(locks, log);
    return;
  }
  warnOfIgnored(ignored, log);
  if ("redisUrl" in options) {
    log?.warn(`${NO_REDIS_URL} (${PROVIDER})`);
  }
}

function providerOptions({ options = {}, moduleOptions }: LoaderArguments): LocksOptions {
  return moduleOptions === undefined && areTheModules(options) ? {} : options;
}

function check(options: LocksOptions): { settings: Settings; ignored: readonly string[] } {
  try {
    loadAddon();
    return readOptions(options);
  } catch (thrown) {
    throw toMedusaError(toLockError(thrown));
  }
}

function warnOfIgnored(ignored: readonly string[], log: Log | undefined): void {
  if (ignored.length > 0) {
    log?.warn(`${ignoredOptions(ignored)} (${PROVIDER})`);
  }
}

async function probe(locks: Locks, log: Log | undefined): Promise<void> {
  const server = locks.endpoint;
  try {
    await within(PROBE_MS + PROBE_SLACK_MS, locks.inspect(PROBE_KEY));
    log?.info(`Connection to Redis in ${PROVIDER} established (${server})`);
  } catch (thrown) {
    const place = `Redis at ${server}`;
    const reason = toLockError(thrown).message.replace(`${place}: `, "");
    log?.error(
      `${place} cannot be reached by the ${PROVIDER} yet: ${reason}. ` +
        "It keeps trying; calls that need a lock fail meanwhile",
    );
  }
  try {
    await within(PROBE_CLOSE_MS, locks.close());
  } catch (thrown) {
    log?.warn(`The ${PROVIDER} could not close its first connection to Redis: ${toLockError(thrown).message}`);
  }
}

/** The same options, but as impatient with a command as the probe: the client itself then says what is wrong. */
function impatient(options: LocksOptions): LocksOptions {
  const { redisOptions } = options;
  const commandTimeout = Math.min(PROBE_MS, redisOptions?.commandTimeout ?? PROBE_MS);
  return { ...options, redisOptions: { ...redisOptions, commandTimeout } };
}

function open(options: LocksOptions, log: Log | undefined): Locks {
  const embedding: Embedding = {
    ...plainEmbedding,
    ignored: (names) => warnOfIgnored(names, log),
    unverified: () => log?.warn(`${UNVERIFIED} (${PROVIDER})`),
  };
  try {
    return new Locks(options, embedding);
  } catch (thrown) {
    throw toMedusaError(toLockError(thrown));
  }
}

/** What `promise` comes to, or an error when that takes longer. */
async function within<T>(limitMs: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    const late = new LockError("REDIS_UNREACHABLE", `no answer within ${limitMs} ms`);
    timer = setTimeout(() => reject(late), limitMs);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
