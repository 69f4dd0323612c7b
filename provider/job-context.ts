/**
 * Which jobs a call is made in: what a job that would wait for itself is told by.
 *
 * A job's context is what is called within it, also after an `await` or in a timer. Following that (`always`) takes an
 * `AsyncLocalStorage`, which makes every promise of the process slower on Node.js 20 and 22, and a job on all versions.
 * Until a job first awaits, a variable says as much, and costs next to nothing (`before-await`).
 *
 * A context says what a call was made in, not who waits for it, and knows nothing of other threads. So a call that its job
 * does not wait for is taken for one that it does, as long as the job holds its keys; when it has ended, its context says
 * nothing any more.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { isDeepStrictEqual } from "node:util";

import type { NativeOptions } from "./addon.js";
import type { HeldLock, Job } from "./types.js";

/** How far a job is followed. */
export type SelfWaitDetection = "always" | "before-await" | "never";

/** What runs a job: makes its context only once somebody asks for it. */
export interface JobRunner {
  readonly context: JobContext;
}

/** Where the locks of a call are: which table, or which server and namespace. */
export type Place = Pick<NativeOptions, "namespace" | "redis">;

const storage = new AsyncLocalStorage<JobContext>();

/** Whose job is being called, until it returns or first awaits. */
let calling: JobRunner | undefined;

/** Whether the storage has been used: asking it costs something also where it never was. */
let isStorageUsed = false;

/** The innermost job that the caller is in, as far as that is followed. */
export function contextOfCaller(): JobContext | undefined {
  if (calling !== undefined) {
    return calling.context;
  }
  return isStorageUsed ? storage.getStore() : undefined;
}

/** Calls `job` in the context of its runner. Without `signal` and `lock` where it cannot see them. */
export function callJob<T>(
  runner: JobRunner,
  job: Job<T>,
  signal: AbortSignal | undefined,
  lock: HeldLock | undefined,
  detection: SelfWaitDetection,
): Promise<T> | T {
  const visible = job as (signal: AbortSignal | undefined, lock: HeldLock | undefined) => Promise<T> | T;
  if (detection === "always") {
    isStorageUsed = true;
    return storage.run(runner.context, visible, signal, lock);
  }
  calling = detection === "never" ? undefined : runner;
  try {
    return visible(signal, lock);
  } finally {
    // No job is called while another one is: each begins in a turn of its own.
    calling = undefined;
  }
}

/** A job and those around it, as far as they hold keys. It outlives the job with whatever the job has left behind. */
export class JobContext {
  readonly #place: Place;
  /** Undefined: it has given them back. */
  #keys: readonly string[] | undefined;
  /** Somebody else may hold them. */
  #mayBeLost = false;
  readonly #around: JobContext | undefined;

  constructor(place: Place, keys: readonly string[], around: JobContext | undefined) {
    this.#place = place;
    this.#keys = keys;
    // Those that have ended are left out: jobs that start one another without end must not be kept in a chain.
    let holding = around;
    while (holding !== undefined && holding.#keys === undefined) {
      holding = holding.#around;
    }
    this.#around = holding;
  }

  /** The first of `keys`, which are sorted, that this job or one around it holds. */
  heldKey(place: Place, keys: string | readonly string[]): string | undefined {
    const wanted = typeof keys === "string" ? [keys] : keys;
    for (let job: JobContext | undefined = this; job !== undefined; job = job.#around) {
      if (job.#keys !== undefined && job.#keeps(place)) {
        const common = firstCommon(job.#keys, wanted);
        if (common !== undefined) {
          return common;
        }
      }
    }
    return undefined;
  }

  /** The keys are given back: whoever asks for them now waits like anybody else. */
  ends(): void {
    this.#keys = undefined;
  }

  /** The keys are lost or released, or may be. */
  mayBeLost(): void {
    this.#mayBeLost = true;
  }

  /**
   * Whether a call for its keys waits until it ends. On Redis one of the same `Locks` does so also when they are lost: in
   * its process the keys stay with the job as long as it runs, whoever has them on the server.
   */
  #keeps(place: Place): boolean {
    return this.#mayBeLost ? place === this.#place && place.redis !== undefined : isSamePlace(this.#place, place);
  }
}

/**
 * Whether the same key is the same lock there. On Redis only where the connection is described by the same options: two names
 * of one server are not seen to be one, and never are two servers taken for one.
 */
function isSamePlace(one: Place, other: Place): boolean {
  return one === other || (one.namespace === other.namespace && isDeepStrictEqual(one.redis, other.redis));
}

/** Of two sorted lists. */
function firstCommon(ours: readonly string[], theirs: readonly string[]): string | undefined {
  let [left, right] = [0, 0];
  while (left < ours.length && right < theirs.length) {
    const [one, other] = [ours[left] as string, theirs[right] as string];
    if (one === other) {
      return one;
    }
    if (one < other) {
      left += 1;
    } else {
      right += 1;
    }
  }
  return undefined;
}
