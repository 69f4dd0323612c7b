/**
 * What goes into the calls of `Locks`, and what comes out. All times are in seconds; fractions count.
 */

/** A lock that `execute` holds, as its job sees it. */
export interface HeldLock {
  /** The keys, sorted by their UTF-16 units, each once. */
  readonly keys: string[];
  /**
   * This job's own name: naming it in `release` of the same `Locks` ends this job's lock and no other. It is what
   * stands in Redis, unless another job of this process passed its lease on, whose name then stays there. Empty where
   * there are no keys.
   */
  readonly ownerId: string;
  /**
   * Rises with every grant of a key, whoever gets it. Have the storage that the job writes to refuse a write with a
   * lower token than it has seen: that stops a job that has lost its lock without knowing it yet. 0 where there are no
   * keys.
   */
  readonly fencingToken: number;
}

/**
 * The work that `execute` does under the lock.
 *
 * `signal` aborts when the lock is lost, with a `LOCK_LOST` error as its reason: stop writing then, somebody else may
 * hold the lock. It also aborts when the caller's own signal does, with that one's reason.
 */
export type Job<T> = (signal: AbortSignal, lock: HeldLock) => Promise<T> | T;

/** Arguments of `execute`. */
export interface ExecuteArgs {
  /**
   * How long to wait for the lock, in seconds. 0: try once. Default: as the options `waitLockingTimeout` and
   * `waitWhileMoving` say.
   */
  timeout?: number | null | undefined;
  /**
   * The lease, in seconds: how long the keys stay locked when this process dies. It is renewed for as long as the job
   * runs. Less than 0.1 counts as 0.1. Default, also for 0: the option `lease`.
   */
  expire?: number | null | undefined;
  /** Gives up waiting when it aborts, and aborts the job's signal once the job runs. */
  signal?: AbortSignal | null | undefined;
}

/** Arguments of `acquire`. */
export interface AcquireArgs {
  /** Who may release the lock, and take it again to set a new expiry. Default, also for null and `*`: nobody. */
  ownerId?: string | null | undefined;
  /** After how many seconds the lock ends by itself. Default, also for 0: never. */
  expire?: number | null | undefined;
  /** Whether to queue for a held lock until it is free, for as long as `timeout` says. Default: false. */
  awaitQueue?: boolean | null | undefined;
  /**
   * How long to queue, in seconds. Default: for ever with `awaitQueue`, else as the options `acquireWait` and
   * `waitWhileMoving` say.
   */
  timeout?: number | null | undefined;
  /** Gives up waiting when it aborts. It has no meaning once the lock is taken. */
  signal?: AbortSignal | null | undefined;
}

/** Arguments of `release` and `releaseAll`. */
export interface OwnerArgs {
  /** Whose locks. Default, also for null and `*`: locks without an owner; in `releaseAll`: every lock. */
  ownerId?: string | null | undefined;
}

/** One held lock, as `inspect` shows it. */
export interface LockInfo {
  /** The key, without the namespace. */
  readonly key: string;
  /** Null: taken without an owner. */
  readonly ownerId: string | null;
  /** Null where it is not known, as for a lock that another provider took. */
  readonly fencingToken: number | null;
  /** In how many seconds it ends unless it is renewed. Null: it does not. */
  readonly expiresIn: number | null;
  /** How many requests wait for it: in memory all of them, on Redis those of this `Locks`. */
  readonly waiting: number;
}

/** How much there is of what. */
export interface LockStats {
  /** Where the locks live. */
  readonly backend: "memory" | "redis";
  /** Keys held or waited for: in memory in the whole namespace, on Redis by this client's `execute` calls. */
  readonly keys: number;
  /** Requests that wait. */
  readonly waiting: number;
}
