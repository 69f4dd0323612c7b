/**
 * What one `Locks` and its leases share: the addon's client, the pump, and the words to speak in.
 */

import { setTimeout } from "node:timers";

import { loadAddon, type NativeCalls, type NativeLocks, type NativeOptions } from "./addon.js";
import { abortReason, AbortWatch } from "./abort.js";
import { sharedCompletions, type Completions, type Reader } from "./completions.js";
import type { Embedding } from "./embedding.js";
import { fromNative, internal, invalidArgument, toLockError, type NativeFailure } from "./errors.js";
import { contextOfCaller, type JobContext, type Place, type SelfWaitDetection } from "./job-context.js";

export class Client {
  readonly native: NativeLocks;
  /** The calls of `native` that are made for every lock. Each answer goes through {@link answered}. */
  readonly calls: NativeCalls;
  readonly completions: Completions = sharedCompletions();
  readonly embedding: Embedding;
  /** How far jobs are followed, to tell them when they wait for themselves. */
  readonly selfWaitDetection: SelfWaitDetection;
  /** Where the locks are. */
  readonly place: Place;
  /** How the owner id of every job of this process begins. */
  readonly ownerPrefix: string;
  /** Calls of `execute` that have not ended. */
  #jobs = 0;
  #onIdle: (() => void) | undefined;

  /** @throws LockError `INVALID_OPTION`, or `INTERNAL` where the addon does not load */
  constructor(options: NativeOptions, selfWaitDetection: SelfWaitDetection, embedding: Embedding) {
    this.selfWaitDetection = selfWaitDetection;
    this.place = options;
    this.embedding = embedding;
    const { NativeLocks } = loadAddon();
    try {
      this.native = new NativeLocks(this.completions.mailbox, options);
    } catch (thrown) {
      throw toLockError(thrown);
    }
    this.calls = this.native.calls();
    this.ownerPrefix = this.native.ownerPrefix;
  }

  /**
   * The answer of one of {@link calls}, which is not a number where the call failed.
   *
   * @throws what was wrong
   */
  answered(answer: number): number {
    if (Number.isNaN(answer)) {
      this.native.takeFailure();
    }
    return answer;
  }

  /** What a caller is shown for anything thrown on its way into the addon. */
  present(thrown: unknown): Error {
    return this.embedding.present(toLockError(thrown));
  }

  /** @throws what {@link failure} makes of any other outcome than `wanted` */
  check(outcome: number, wanted: number, detail: NativeFailure | null): void {
    if (outcome !== wanted) {
      throw this.failure(outcome, detail);
    }
  }

  /** What a caller is shown for a completion other than the one it hoped for. */
  failure(outcome: number, detail: NativeFailure | null): Error {
    const unexplained = `The locking addon answered with the unexpected outcome ${outcome}`;
    return this.embedding.present(detail === null ? internal(unexplained) : fromNative(detail));
  }

  /** The addon's answer to giving something back at once: whether it was held until now. Passes on whom that served. */
  settle(answer: number): boolean {
    if ((answer & 2) !== 0) {
      this.completions.drain();
    }
    if ((answer & 4) !== 0) {
      this.outlived(this.native.takeOutlived() ?? null);
    }
    return (answer & 1) !== 0;
  }

  /** A holder came to release after its lock had lapsed: its `release` answers `false`, and a warning says why. */
  outlived(detail: NativeFailure | null): void {
    if (detail !== null) {
      this.embedding.outlived(detail.message);
    }
  }

  /** As {@link Completions.wait}. Rejects with the signal's reason once the request has been taken back for it. */
  async waitUnlessAborted<T>(ticket: number, signal: AbortSignal, read: Reader<T>): Promise<T> {
    const result = this.completions.wait(ticket, read);
    const watch = this.watchSignal(signal, (reason) => this.withdraw(ticket, reason));
    try {
      return await result;
    } catch (thrown) {
      // Both may have come at once: what the caller did is what it is told.
      throw signal.aborted ? abortReason(signal) : thrown;
    } finally {
      watch?.stop();
    }
  }

  /** Watches a caller's signal. One that cannot be listened to counts as aborted, by the error that says so. */
  watchSignal(signal: AbortSignal, onAbort: (reason: unknown) => void): AbortWatch | undefined {
    try {
      return new AbortWatch(signal, onAbort);
    } catch (cause) {
      onAbort(this.present(invalidArgument("signal", "an AbortSignal", "one that cannot be listened to", { cause })));
      return undefined;
    }
  }

  /**
   * Takes back the request of `ticket`, if it waits, and rejects its promise. A request that has its answer already
   * goes on: that answer is on its way, and may be a grant.
   */
  withdraw(ticket: number, reason: unknown): void {
    if (!this.completions.isAwaited(ticket)) {
      return;
    }
    try {
      if (this.native.cancel(ticket)) {
        this.completions.withdraw(ticket, reason);
      }
    } catch (thrown) {
      this.completions.withdraw(ticket, reason);
      // The caller has its answer; that a grant may come to nobody is for whoever watches over the process.
      this.embedding.unreleased(toLockError(thrown));
    }
  }

  /** The innermost job that a call is made in, where jobs are followed. */
  contextOfCaller(): JobContext | undefined {
    return this.selfWaitDetection === "never" ? undefined : contextOfCaller();
  }

  /** Locks of `ownerId` are being released: it may be one of our jobs. */
  releasing(ownerId: string): void {
    if (ownerId.startsWith(this.ownerPrefix)) {
      this.completions.releasing(this, Number.parseInt(ownerId.slice(this.ownerPrefix.length), 10));
    }
  }

  jobBegins(): void {
    this.#jobs += 1;
  }

  jobEnds(): void {
    this.#jobs -= 1;
    if (this.#jobs === 0) {
      this.#onIdle?.();
    }
  }

  /** Resolves when no `execute` is under way, or after `graceMs`. Keeps the process alive until then. */
  idle(graceMs: number): Promise<void> {
    if (this.#jobs === 0) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, graceMs);
      this.#onIdle = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
