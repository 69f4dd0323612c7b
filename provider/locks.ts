/**
 * The class that users of this package call, with or without Medusa.
 */

import { checkJob, hasAborted, packKeys, readAcquireArgs, readExecuteArgs, readKeys, readOwnerArgs } from "./arguments.js";
import { abortReason } from "./abort.js";
import { Client } from "./client.js";
import { isBlocked, Outcome, type Reader } from "./completions.js";
import { plainEmbedding, type Embedding } from "./embedding.js";
import { closed, lockHeld, lockLostByClosing, lockSelfWait, lockTimedOut, type LockError } from "./errors.js";
import { closeAtExit, closedAlready } from "./exit.js";
import { Lease } from "./lease.js";
import { readOptions, type LocksOptions, type Settings } from "./options.js";
import type { AcquireArgs, ExecuteArgs, Job, LockInfo, LockStats, OwnerArgs } from "./types.js";

/** The addon's `waitMs` for a wait without end. */
const FOREVER = -1;

/** The addon's `waitMs` for what the options say, prolonged while the lock changes hands. */
const DEFAULT_WAIT = -2;

/**
 * Locks on sets of keys: within this process, or, with `redisUrl`, across all processes that use the same Redis.
 *
 * Keys are non-empty strings of at most 16 KiB of UTF-8, at most 10,000 different ones and 4 MiB in a call. A set is taken as a
 * whole or not at all. Whoever waits is served in the order of arrival. Every method rejects with a {@link LockError},
 * `execute` also with whatever its job or the caller's signal says.
 */
export class Locks {
  readonly #client: Client;
  readonly #settings: Settings;
  /** What completions come to. Made once: a call that waits needs no more than its promise. */
  readonly #readAcquired: Reader<void>;
  readonly #readAcquiredInQueue: Reader<void>;
  readonly #readReleased: Reader<boolean>;
  #closing: Promise<void> | undefined;

  /** @throws LockError `INVALID_OPTION`; `INTERNAL` where no binary of the addon loads on this machine */
  constructor(options?: LocksOptions);
  /** @internal */
  constructor(options: LocksOptions | undefined, embedding: Embedding);
  constructor(options?: LocksOptions, embedding: Embedding = plainEmbedding) {
    const { settings, ignored } = readOptions(options);
    this.#settings = settings;
    this.#client = new Client(settings.native, settings.selfWaitDetection, embedding);
    this.#readAcquired = acquiredBy(this.#client, lockHeld);
    this.#readAcquiredInQueue = acquiredBy(this.#client, lockTimedOut);
    this.#readReleased = (outcome, value, detail) => {
      if (outcome === Outcome.Outlived) {
        this.#client.outlived(detail);
        return false;
      }
      this.#client.check(outcome, Outcome.Released, detail);
      return value === 1;
    };
    closeAtExit(this.#client.native);
    const parameters = this.#client.native.ignoredParameters.map((name) => `redisUrl?${name}`);
    if (ignored.length + parameters.length > 0) {
      embedding.ignored([...ignored, ...parameters]);
    }
    if (this.#client.native.trustsAnyServer) {
      embedding.unverified();
    }
  }

  /** Where Redis is, as `host:port` or a socket's path; undefined: locks hold within this process. */
  get endpoint(): string | undefined {
    return this.#client.native.endpoint ?? undefined;
  }

  /**
   * Runs `job` while holding `keys`, and resolves or rejects as it does.
   *
   * @throws LockError `LOCK_TIMEOUT`: the lock was not to be had in time; the job did not run.
   * @throws LockError `LOCK_SELF_WAIT`: it would have waited for a job that it was called in, as far as the option
   *   `detectSelfWait` says; the job did not run.
   * @throws LockError `LOCK_LOST`: the lock was lost before the job had ended, so its work was not exclusive. `cause`
   *   is what the job threw, if it did.
   * @throws the reason of `args.signal`: it aborted before the job started.
   */
  execute<T>(keys: string | string[], job: Job<T>, args?: ExecuteArgs | null): Promise<T> {
    let lease: Lease;
    try {
      const names = readKeys(keys);
      checkJob(job);
      const { timeoutMs, expireMs, signal } = readExecuteArgs(args);
      if (signal !== undefined && hasAborted(signal)) {
        return Promise.reject(abortReason(signal));
      }
      if (names.length === 0) {
        return this.#executeUnlocked(job, signal);
      }
      const client = this.#client;
      const { native, leaseMs } = this.#settings;
      const waitMs = timeoutMs ?? (native.waitMs === 0 ? 0 : DEFAULT_WAIT);
      const around = client.contextOfCaller();
      const ownKey = waitMs === 0 ? undefined : around?.heldKey(client.place, names);
      const answer = client.answered(
        client.calls.execute(packKeys(names), ownKey === undefined ? waitMs : 0, expireMs || leaseMs),
      );
      if (answer === 0) {
        return this.#refuse(ownKey === undefined ? lockTimedOut(client.native.refusedKey()) : lockSelfWait(ownKey));
      }
      lease = new Lease(client, names, answer, signal, around);
      if (ownKey !== undefined) {
        lease.asksItsOwnJob(ownKey);
      }
    } catch (thrown) {
      return this.#refuse(thrown);
    }
    return lease.run(job);
  }

  /**
   * Takes `keys` until they are released or their `expire` passes. A named owner can take its own keys again, which
   * sets their expiry anew.
   *
   * @throws LockError `LOCK_HELD`: somebody else holds a key.
   * @throws LockError `LOCK_SELF_WAIT`: it would have waited for a job that it was called in, as in `execute`.
   * @throws LockError `LOCK_TIMEOUT`: with `awaitQueue`, the lock was not to be had within `timeout`.
   * @throws the reason of `args.signal`: it aborted before the lock was taken. Where both happen at once, the lock may
   *   be taken: then this resolves.
   */
  acquire(keys: string | string[], args?: AcquireArgs | null): Promise<void> {
    try {
      const names = readKeys(keys);
      const { ownerId, timeoutMs, expireMs, awaitQueue, isLockStep, signal } = readAcquireArgs(args);
      if (signal !== undefined && hasAborted(signal)) {
        return Promise.reject(abortReason(signal));
      }
      if (names.length === 0) {
        return this.#ifOpen(undefined);
      }
      const patienceMs = timeoutMs ?? (awaitQueue ? FOREVER : this.#waitOfPlain(isLockStep));
      const { native, calls, place } = this.#client;
      const ownKey = patienceMs === 0 ? undefined : this.#client.contextOfCaller()?.heldKey(place, names);
      const waitMs = ownKey === undefined ? patienceMs : 0;
      const packed = packKeys(names);
      const expire = expireMs ?? 0;
      const answer = this.#client.answered(
        ownerId === null ? calls.acquire(packed, expire, waitMs) : calls.acquire(packed, expire, waitMs, ownerId),
      );
      if (answer > 0) {
        return Promise.resolve();
      }
      if (answer === 0) {
        return this.#refuse(blocked(awaitQueue, ownKey)(native.refusedKey()));
      }
      const read = this.#reader(awaitQueue, ownKey);
      return signal === undefined
        ? this.#client.completions.wait(-answer, read)
        : this.#client.waitUnlessAborted(-answer, signal, read);
    } catch (thrown) {
      return this.#refuse(thrown);
    }
  }

  /**
   * Releases the locks of an owner, or without one those of nobody, on `keys`. Resolves to whether all of them were
   * there to be released; those that were are free now. Without an owner, a lock that was acquired here and has lapsed since
   * is not there: whoever holds its key by now keeps it, and a warning says how late the release was.
   */
  release(keys: string | string[], args?: OwnerArgs | null): Promise<boolean> {
    try {
      const names = readKeys(keys);
      const ownerId = readOwnerArgs(args);
      if (names.length === 0) {
        return this.#ifOpen(true);
      }
      if (ownerId !== null) {
        this.#client.releasing(ownerId);
      }
      const { calls } = this.#client;
      const packed = packKeys(names);
      const answer = this.#client.answered(
        ownerId === null ? calls.release(packed) : calls.release(packed, ownerId),
      );
      return answer < 0
        ? this.#client.completions.wait(-answer, this.#readReleased)
        : Promise.resolve(this.#client.settle(answer));
    } catch (thrown) {
      return this.#refuse(thrown);
    }
  }

  /** Releases every lock of an owner, or without one every lock of the namespace, whoever holds it. */
  async releaseAll(args?: OwnerArgs | null): Promise<void> {
    let answer: number;
    try {
      const ownerId = readOwnerArgs(args);
      this.#client.completions.releasing(this.#client);
      answer = this.#client.native.releaseAll(ownerId);
    } catch (thrown) {
      throw this.#client.present(thrown);
    }
    if (answer < 0) {
      await this.#client.completions.wait(-answer, (outcome, _value, detail) =>
        this.#client.check(outcome, Outcome.Done, detail),
      );
    } else {
      this.#client.settle(answer);
    }
  }

  /** The locks that are held on `keys`, or all of the namespace, by key. */
  async inspect(keys?: string | string[] | null): Promise<LockInfo[]> {
    let answer: number;
    try {
      answer = this.#client.native.inspect(keys === undefined || keys === null ? null : [readKeys(keys)].flat());
    } catch (thrown) {
      throw this.#client.present(thrown);
    }
    const held = await this.#client.completions.wait(-answer, (outcome, _value, detail, found) => {
      this.#client.check(outcome, Outcome.Inspected, detail);
      return found ?? [];
    });
    return held.map(({ key, ownerId, fencingToken, expiresInMs, waiting }) => ({
      key,
      ownerId: ownerId ?? null,
      fencingToken: fencingToken ?? null,
      expiresIn: expiresInMs === undefined ? null : expiresInMs / 1000,
      waiting,
    }));
  }

  /** Counts, as they are at the moment. Also after `close`. */
  stats(): LockStats {
    const { backend, keys, waiting } = this.#client.native.stats();
    return { backend: backend as LockStats["backend"], keys, waiting };
  }

  /**
   * Takes no more requests, rejects those that wait with `CLOSED`, and gives running jobs the time of the option
   * `shutdownGrace` to end. Those that have not by then lose their locks (`LOCK_LOST`). Locks that `acquire` took stay.
   * Resolves when nothing is left, and always to the same.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const client = this.#client;
    try {
      client.native.stop();
      await client.idle(this.#settings.shutdownGraceMs);
      client.completions.loseAll(client, lockLostByClosing());
      // The signals of those jobs abort in microtasks: let them, before anybody else can have the locks.
      await undefined;
      await client.completions.wait(-client.native.close(), (outcome, _value, detail) =>
        client.check(outcome, Outcome.Done, detail),
      );
    } catch (thrown) {
      throw client.present(thrown);
    }
    closedAlready(client.native);
  }

  /** What the completion of an `acquire` comes to. */
  #reader(awaitQueue: boolean, ownKey: string | undefined): Reader<void> {
    if (ownKey !== undefined) {
      return acquiredBy(this.#client, blocked(awaitQueue, ownKey));
    }
    return awaitQueue ? this.#readAcquiredInQueue : this.#readAcquired;
  }

  /** The job of an `execute` that has nothing to lock. */
  async #executeUnlocked<T>(job: Job<T>, outer: AbortSignal | undefined): Promise<T> {
    await this.#ifOpen(undefined);
    const controller = new AbortController();
    const watch = outer && this.#client.watchSignal(outer, (reason) => controller.abort(reason));
    try {
      return await job(controller.signal, { keys: [], ownerId: "", fencingToken: 0 });
    } finally {
      watch?.stop();
    }
  }

  /** `value`, unless this is closed: a call for no keys never gets as far as the addon. */
  #ifOpen<T>(value: T): Promise<T> {
    return this.#closing === undefined ? Promise.resolve(value) : this.#refuse(closed());
  }

  /** How long a plain `acquire` queues that does not say so itself. */
  #waitOfPlain(isLockStep: boolean): number {
    return (this.#settings.acquireQueues ?? isLockStep) ? DEFAULT_WAIT : 0;
  }

  #refuse(thrown: unknown): Promise<never> {
    return Promise.reject(this.#client.present(thrown));
  }
}

/** The error for an `acquire` that was refused for a key. */
type Refusal = (key: string | undefined) => LockError;

/** The completion of an `acquire`. */
function acquiredBy(client: Client, refusal: Refusal): Reader<void> {
  return (outcome, _value, detail) => {
    if (outcome !== Outcome.Granted) {
      throw isBlocked(outcome)
        ? client.present(refusal(detail?.key))
        : client.failure(outcome, detail);
    }
  };
}

/**
 * The refusal of an `acquire`: how it is worded depends on what the caller asked for, not on how long it waited. Having
 * queued for `acquireWait` does not change the words for a plain one: its callers look for them. Only one that would have
 * waited for its own job, which holds `ownKey`, is told so.
 */
function blocked(awaitQueue: boolean, ownKey: string | undefined): Refusal {
  if (ownKey !== undefined) {
    return () => lockSelfWait(ownKey);
  }
  return awaitQueue ? lockTimedOut : lockHeld;
}
