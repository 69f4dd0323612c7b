/**
 * One `execute`, from the addon's first answer until its keys are given back.
 *
 * Invariants: the job starts only under a grant, and never before `execute` has returned; whatever was granted is
 * finished exactly once, however the job ends; nothing of it stays in the pump, and no listener on the caller's signal.
 *
 * It waits twice for the addon, for the grant and for the end, and is the recipient of both itself: each promise, closure
 * and map entry less for an `execute` is one less for the garbage collector to carry while many wait.
 */

import type { AbortWatch } from "./abort.js";
import type { Client } from "./client.js";
import { isBlocked, Outcome, type Recipient } from "./completions.js";
import { fromNative, lockLost, LockError, lockSelfWait, lockTimedOut, toLockError, type NativeFailure } from "./errors.js";
import { seesItsArguments } from "./job.js";
import { callJob, JobContext, type JobRunner } from "./job-context.js";
import type { HeldLock, Job } from "./types.js";

/** The keys of {@link Lease.asksItsOwnJob}. Beside the leases: hardly one has any, and each field costs every one. */
const ownKeys = new WeakMap<Lease, string>();

export class Lease implements Recipient, JobRunner {
  readonly client: Client;
  readonly #keys: string[];
  readonly #ticket: number;
  readonly #signal: AbortSignal | undefined;
  /** The fencing token; 0 until granted. */
  #token: number;
  /** The innermost job that `execute` was called in, where it is known. */
  readonly #around: JobContext | undefined;
  /** Made when somebody asks for it. */
  #context: JobContext | undefined;
  #watch: AbortWatch | undefined;
  #started = false;
  /** Its keys are being given back, or were. */
  #finishing = false;
  /** Continues {@link run} where it awaits the addon. */
  #continue: (() => void) | undefined;
  /** What was awaited, where it is not simply a grant or the end. */
  #failed: { readonly outcome: number; readonly detail: NativeFailure | null } | undefined;
  /** The job's; absent until it starts, and where it cannot see it. */
  #controller: AbortController | undefined;
  /** The caller gave up before the job started. */
  #abandoned: { readonly reason: unknown } | undefined;
  /** The lock was lost: what happened, and how the caller is shown it. */
  #loss: { readonly error: LockError; readonly shown: Error } | undefined;

  /** `answer` is the addon's to `execute`: granted above 0, pending below. `around`: the job that this was called in. */
  constructor(
    client: Client,
    keys: string | string[],
    answer: number,
    signal: AbortSignal | undefined,
    around: JobContext | undefined,
  ) {
    this.client = client;
    this.#keys = typeof keys === "string" ? [keys] : keys;
    this.#ticket = Math.abs(answer);
    this.#token = answer > 0 ? answer : 0;
    this.#signal = signal;
    this.#around = around;
    client.jobBegins();
    client.completions.watch(this.#ticket, this);
  }

  /** A job around it holds `key`, so it has asked without waiting, and if it is refused, it is told why. */
  asksItsOwnJob(key: string): void {
    ownKeys.set(this, key);
  }

  /**
   * Waits for the grant, runs `job`, gives back. To be called in the same turn as the constructor.
   *
   * One function, for each asynchronous one costs as much as the addon's whole part of an uncontended `execute`.
   */
  async run<T>(job: Job<T>): Promise<T> {
    try {
      // Also where the grant came at once: the caller must have its promise before its job runs.
      await this.#asked();
      this.#checkGranted();
      if (this.#abandoned !== undefined || this.#loss !== undefined) {
        return await this.#giveBackUnused();
      }
      let result: T | undefined;
      let failure: { readonly thrown: unknown } | undefined;
      this.#started = true;
      try {
        // A job that sees nothing of what it is called with needs nothing.
        const sees = seesItsArguments(job);
        const signal = sees ? this.#signalOfJob() : undefined;
        const lock = sees ? this.#held() : undefined;
        result = await callJob(this, job, signal, lock, this.client.selfWaitDetection);
      } catch (thrown) {
        failure = { thrown };
      }
      if (this.#finish()) {
        await this.#answered();
        this.#checkFinished();
      }
      this.#throwLoss(failure);
      if (failure !== undefined) {
        throw failure.thrown;
      }
      return result as T;
    } finally {
      this.#watch?.stop();
      this.client.completions.unwatch(this.#ticket);
      this.client.jobEnds();
    }
  }

  get isAwaiting(): boolean {
    return this.#continue !== undefined;
  }

  completed(outcome: number, value: number, detail: NativeFailure | null): boolean {
    if (outcome === Outcome.Granted) {
      this.#token = value;
    } else if (outcome === Outcome.Finished) {
      if (value === 0) {
        this.#markLost(lockLost(this.#keys));
      }
    } else {
      this.#failed = { outcome, detail };
    }
    return this.#resume();
  }

  withdrawn(): boolean {
    return this.#resume();
  }

  #resume(): boolean {
    const resume = this.#continue;
    this.#continue = undefined;
    resume?.();
    return false;
  }

  /** The lock is gone. Once its keys are being given back, it is the answer to that which tells. */
  lose(how: NativeFailure): void {
    if (!this.#finishing) {
      this.#markLost(how);
    }
  }

  /** What calls within the job are made in. */
  get context(): JobContext {
    this.#context ??= new JobContext(this.client.place, this.#keys, this.#around);
    return this.#context;
  }

  /** On Redis the job is told only at its next renewal. */
  releasing(): void {
    this.context.mayBeLost();
  }

  /** Only marks it: the signal aborts in a microtask, after the whole batch has been seen. */
  #markLost({ message, key }: NativeFailure): void {
    if (this.#loss !== undefined) {
      return;
    }
    this.context.mayBeLost();
    const error = new LockError("LOCK_LOST", message, { key });
    const shown = this.client.embedding.present(error);
    this.#loss = { error, shown };
    queueMicrotask(() => {
      this.#controller?.abort(shown);
      this.client.embedding.lost(error);
    });
  }

  /** The grant, if it did not come at once. The caller's signal is watched meanwhile. */
  #asked(): Promise<void> | undefined {
    const granted = this.#token === 0 ? this.#answered() : undefined;
    if (this.#signal !== undefined) {
      this.#watch = this.client.watchSignal(this.#signal, (reason) => this.#abort(reason));
    }
    return granted;
  }

  /** What the addon has to say next under this ticket. */
  #answered(): Promise<void> {
    this.client.completions.awaits();
    return new Promise((resolve) => {
      this.#continue = resolve;
    });
  }

  /** @throws what kept it from its keys */
  #checkGranted(): void {
    if (this.#token !== 0) {
      return;
    }
    if (this.#abandoned !== undefined) {
      throw this.#abandoned.reason;
    }
    const { outcome, detail } = this.#failed ?? { outcome: 0, detail: null };
    if (!isBlocked(outcome)) {
      throw this.client.failure(outcome, detail);
    }
    // Also where it was refused at once, for want of time to wait.
    const ownKey = ownKeys.get(this);
    throw this.client.present(ownKey === undefined ? lockTimedOut(detail?.key) : lockSelfWait(ownKey));
  }

  #signalOfJob(): AbortSignal {
    this.#controller = new AbortController();
    return this.#controller.signal;
  }

  #held(): HeldLock {
    // A plain object: an accessor that makes the id only when it is read costs three times as much as the id, and a
    // prototype's accessor would be missing from `{...lock}`.
    const ownerId = `${this.client.ownerPrefix}${this.#ticket}#${this.#token}`;
    // A copy: whatever the job does to it, what it holds stays known.
    return { keys: [...this.#keys], ownerId, fencingToken: this.#token };
  }

  async #giveBackUnused(): Promise<never> {
    if (this.#finish()) {
      await this.#answered();
      this.#checkFinished();
    }
    throw this.#abandoned === undefined ? this.#loss?.shown : this.#abandoned.reason;
  }

  /** Gives the keys back, and marks the loss if they were no longer held. True: the addon will tell. */
  #finish(): boolean {
    this.#finishing = true;
    this.#context?.ends();
    this.#watch?.stop();
    try {
      const answer = this.client.answered(this.client.calls.finish(this.#ticket));
      if (answer < 0) {
        return true;
      }
      if (!this.client.settle(answer)) {
        this.#markLost(lockLost(this.#keys));
      }
    } catch (thrown) {
      this.#finishFailed(toLockError(thrown));
    }
    return false;
  }

  #checkFinished(): void {
    if (this.#failed !== undefined) {
      const { outcome, detail } = this.#failed;
      this.#finishFailed(fromNative(detail ?? { code: "INTERNAL", message: `Unexpected outcome ${outcome}` }));
    }
  }

  /** The keys could not be given back. The job's result stands, unless its lock was gone before it ended. */
  #finishFailed(error: LockError): void {
    if (error.code === "LOCK_LOST" || error.code === "CLOSED") {
      this.#markLost(error);
    } else {
      this.client.embedding.unreleased(error);
    }
  }

  /** The caller's signal aborted. Once the job runs, it is the job that decides what to make of that. */
  #abort(reason: unknown): void {
    if (this.#started) {
      this.#controller?.abort(reason);
      return;
    }
    this.#abandoned = { reason };
    this.client.withdraw(this.#ticket, reason);
  }

  #throwLoss(failure: { readonly thrown: unknown } | undefined): void {
    if (this.#loss === undefined) {
      return;
    }
    const { error, shown } = this.#loss;
    if (failure === undefined || failure.thrown === shown) {
      throw shown;
    }
    // A new error: the job's own often leads back to the signal's reason by its `cause`, and must not in a circle.
    const { code, message, key } = error;
    throw this.client.embedding.present(new LockError(code, message, { key, cause: failure.thrown }));
  }
}
