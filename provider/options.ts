/**
 * The options of `Locks` and of the provider: their types, their checks, and what the addon makes of them.
 */

import { SECONDS_MAX } from "./arguments.js";
import type { NativeOptions } from "./addon.js";
import type { SelfWaitDetection } from "./job-context.js";
import { OptionReader, type NumberRange } from "./option-reader.js";
import { readRedisOptions, type Pace, type RedisConnectionOptions } from "./redis-options.js";
import { render } from "./rendering.js";

/** All options, each of them optional. Those up to `backoffFactor` are also options of `@medusajs/locking-redis`. */
export interface LocksOptions {
  /**
   * Where Redis or Valkey is, such as `redis://user:password@host:6379/0`, `rediss://...` for TLS, or a unix socket's
   * path. Default: none; without this and `redisOptions`, locks hold within this process only.
   */
  redisUrl?: string | undefined;
  /** How to connect to Redis. What `redisUrl` says goes before it. Default: none. */
  redisOptions?: RedisConnectionOptions | undefined;
  /** What the names of locks begin with in Redis. In memory, the name of the table. Default: `medusa_lock:`. */
  namespace?: string | undefined;
  /**
   * How long `execute` waits for a lock, in seconds, where the call has no `timeout`. It is there to give up on a lock
   * that one holder keeps: each time the lock changes hands the wait begins anew, see `waitWhileMoving`. A number in a
   * string will do. Default: 5.
   */
  waitLockingTimeout?: number | string | undefined;
  /**
   * Where polls of Redis begin that back off, in milliseconds. A waiter is told when its turn comes; the next one
   * behind a node that does not announce its releases polls first after this times `backoffFactor`. A number in a
   * string will do. Default: 20, or `maximumRetryInterval` if that is less.
   */
  defaultRetryInterval?: number | string | undefined;
  /**
   * How often a waiter asks Redis by itself, in milliseconds, in case it was not told. More than 1000 counts as 1000,
   * but for polls of a server that says that it cannot serve now. A number in a string will do. Default: 1000, or
   * `defaultRetryInterval` if that is more.
   */
  maximumRetryInterval?: number | string | undefined;
  /** By how much the interval of polls that back off grows each time. A number in a string will do. Default: 2. */
  backoffFactor?: number | string | undefined;
  /**
   * The lease of `execute`, in seconds: how long keys stay locked when the process that holds them dies. It is renewed
   * for as long as the job runs. Less than 0.1 counts as 0.1. Default: 15.
   */
  lease?: number | undefined;
  /**
   * How long a plain `acquire`, without `awaitQueue` and `timeout`, queues for a held lock before it is refused, in
   * seconds. A number, also 0, counts for every such call. Default: 2 for the calls that Medusa's own workflows make
   * for carts, orders and payments (no owner, an `expire`, and the property `provider`), so that customers who press a
   * button at the same time are served one after the other; 0 for all others, whose callers want to know at once. Each
   * time the lock changes hands the wait begins anew, see `waitWhileMoving`.
   */
  acquireWait?: number | undefined;
  /**
   * How long `execute` and a plain `acquire` wait in all, in seconds, while the lock changes hands and where the call
   * has no `timeout`. A lock that one holder keeps is given up on after `waitLockingTimeout` or `acquireWait`. 0: a
   * change of hands does not prolong a wait. Default: 30.
   */
  waitWhileMoving?: number | undefined;
  /**
   * How long beyond its `expire` a lock of `acquire` is kept while the process that took it lives and has not released
   * it, in seconds. For stores whose workflows outlast the expiry of their locks. The lock of a process that dies still
   * ends within its `expire`. Default: 0.
   */
  acquireRenew?: number | undefined;
  /**
   * What a lock without an owner means. `exclusive`: it is held, and nobody can take it. `open`: anybody may take it
   * over and release it, as Medusa's guide words it. Default: `exclusive`.
   */
  ownerless?: "exclusive" | "open" | undefined;
  /**
   * How long the event loop may be stuck before leases, and locks with `acquireRenew`, are no longer renewed, in
   * seconds: a process that hangs for ever must not lock for ever. Default: 300.
   */
  maxStall?: number | undefined;
  /**
   * How often the lease of a lock on Redis passes directly from one job of this process to the next that waits for
   * the same keys, before other processes have their turn. 0: never; with 0 everywhere, all processes are served in the
   * order in which their callers asked. Default: 16.
   */
  localHandoffs?: number | undefined;
  /** How long `close` waits for running jobs, in seconds. Default: 5. */
  shutdownGrace?: number | undefined;
  /**
   * Where a job that asks for a lock that it holds itself is refused at once (`LOCK_SELF_WAIT`), instead of waiting in
   * vain. `before-await`: in the calls that it makes before it first awaits, which costs next to nothing. `always`:
   * also after that, which makes promises slower, see README. `never`: nowhere, it waits until its time is over.
   * Default: `always` where NODE_ENV is `development` or `test`, else `before-await`.
   */
  detectSelfWait?: SelfWaitDetection | undefined;
}

/** The options, checked and with their defaults. Times are in milliseconds. */
export interface Settings {
  readonly native: NativeOptions;
  /** Whether a plain `acquire` queues whoever makes it; undefined: only one that Medusa's lock step makes. */
  readonly acquireQueues: boolean | undefined;
  readonly leaseMs: number;
  readonly shutdownGraceMs: number;
  readonly selfWaitDetection: SelfWaitDetection;
}

const DEFAULT_NAMESPACE = "medusa_lock:";

/** What the names of all our bookkeeping in Redis begin with. */
const RESERVED_PREFIX = "locking-native:";

/** The longest namespace, in UTF-16 units. */
const NAMESPACE_MAX = 256;

/** For how long an `acquire` of Medusa's lock step queues, in seconds. */
const LOCK_STEP_WAIT = 2;

const SECONDS = { of: "seconds", min: 0, max: SECONDS_MAX } as const;
const INTERVAL = { of: "milliseconds", min: 0, above: true, max: 3_600_000, orText: true } as const;
const FACTOR = { of: "", min: 1, max: 1000, orText: true } as const;

const HANDOFFS = { of: "", min: 0, max: 1000, integer: true } as const;

const DEFAULT_INTERVAL_MS = 20;
const DEFAULT_INTERVAL_MAX_MS = 1000;

/**
 * Checks options and fills in what is left out. `ignored` are the names of those that have no effect.
 *
 * @throws LockError `INVALID_OPTION`: names the option and what it got, but never a secret
 */
export function readOptions(options: unknown): { settings: Settings; ignored: readonly string[] } {
  const reader = new OptionReader("options", options);
  const redisUrl = reader.text("redisUrl");
  const redisOptions = reader.take("redisOptions");
  const redis =
    redisUrl === undefined && redisOptions === undefined ? undefined : readRedisOptions(redisUrl, redisOptions);
  const leaseMs = milliseconds(reader, "lease", 15, { ...SECONDS, above: true });
  const acquireWait = reader.number("acquireWait", SECONDS);
  const native: NativeOptions = {
    namespace: readNamespace(reader, redis?.keyPrefix ?? ""),
    ownerlessOpen: reader.oneOf("ownerless", ["exclusive", "open"]) === "open",
    leaseMs,
    waitMs: milliseconds(reader, "waitLockingTimeout", 5, { ...SECONDS, orText: true }),
    acquireWaitMs: Math.ceil((acquireWait ?? LOCK_STEP_WAIT) * 1000),
    waitWhileMovingMs: milliseconds(reader, "waitWhileMoving", 30, SECONDS),
    maxStallMs: milliseconds(reader, "maxStall", 300, { ...SECONDS, above: true }),
    acquireRenewMs: milliseconds(reader, "acquireRenew", 0, SECONDS),
  };
  const pace = readPace(reader);
  const settings = {
    native: redis === undefined ? native : { ...native, redis: { ...redis.connection, ...pace } },
    acquireQueues: acquireWait === undefined ? undefined : acquireWait > 0,
    leaseMs,
    shutdownGraceMs: milliseconds(reader, "shutdownGrace", 5, SECONDS),
    selfWaitDetection: readSelfWaitDetection(reader),
  };
  return { settings, ignored: [...reader.unknown(), ...(redis?.ignored ?? [])] };
}

function readNamespace(reader: OptionReader, keyPrefix: string): string {
  const namespace = keyPrefix + (reader.text("namespace") ?? DEFAULT_NAMESPACE);
  if (namespace.length > NAMESPACE_MAX || !namespace.isWellFormed()) {
    throw reader.refusal("namespace", `well-formed text of at most ${NAMESPACE_MAX} characters`, render(namespace));
  }
  if (namespace.startsWith(RESERVED_PREFIX) || RESERVED_PREFIX.startsWith(namespace)) {
    throw reader.refusal("namespace", `one apart from "${RESERVED_PREFIX}"`, render(namespace));
  }
  return namespace;
}

/** By default, whoever writes the code is told wherever it waits for itself; in production the cost is saved. */
function readSelfWaitDetection(reader: OptionReader): SelfWaitDetection {
  const { NODE_ENV: environment } = process.env;
  const byDefault = environment === "development" || environment === "test" ? "always" : "before-await";
  return reader.oneOf("detectSelfWait", ["always", "before-await", "never"]) ?? byDefault;
}

function readPace(reader: OptionReader): Pace {
  const first = reader.number("defaultRetryInterval", INTERVAL);
  const most = reader.number("maximumRetryInterval", INTERVAL);
  if (first !== undefined && most !== undefined && most < first) {
    throw reader.refusal("maximumRetryInterval", `at least defaultRetryInterval, which is ${first}`, `${most}`);
  }
  return {
    retryMs: first ?? Math.min(DEFAULT_INTERVAL_MS, most ?? DEFAULT_INTERVAL_MS),
    retryMaxMs: most ?? Math.max(DEFAULT_INTERVAL_MAX_MS, first ?? DEFAULT_INTERVAL_MAX_MS),
    retryFactor: reader.number("backoffFactor", FACTOR) ?? 2,
    localHandoffs: reader.number("localHandoffs", HANDOFFS) ?? 16,
  };
}

/** An option in seconds as whole milliseconds, rounded up: a fraction of one must not become 0. */
function milliseconds(reader: OptionReader, name: string, defaultSeconds: number, range: NumberRange): number {
  return Math.ceil((reader.number(name, range) ?? defaultSeconds) * 1000);
}
