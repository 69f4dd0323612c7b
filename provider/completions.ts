/**
 * The pump between the addon's mailbox and the promises that wait for it.
 *
 * One per module instance, shared by all `Locks`. The addon calls back once when completions gather; everything that
 * waits is then drained in one go. Invariants:
 *
 * - No caller's code runs while the mailbox is drained: promises are settled, whose continuations run later, and lost
 *   leases are marked, whose signals abort later. So a whole batch is seen before anything acts on a part of it.
 * - One completion that cannot be dealt with fails whoever waits for it, and nobody else.
 * - The process stays alive exactly while a promise waits here. A running job does not count: it keeps the process
 *   alive by what it does, or not at all.
 */

import { setInterval } from "node:timers";

import { loadAddon, type InspectedLock, type Mailbox } from "./addon.js";
import type { NativeFailure } from "./errors.js";

/** What became of a request; the numbers are the addon's (`src/node/mailbox.rs`). */
export const Outcome = {
  /** Holds its keys; the value is the fencing token. */
  Granted: 1,
  /** Holds nothing: somebody else holds a key. */
  Refused: 2,
  /** Holds nothing: the time to wait passed. */
  TimedOut: 3,
  /** A job's keys are no longer its own. */
  Lost: 4,
  /** Released; the value is 1 where all keys were. */
  Released: 5,
  /** Could not be carried out. */
  Failed: 6,
  /** A job's keys were given back; the value is 1 where they were its own until then. */
  Finished: 7,
  /** The locks that were asked for. */
  Inspected: 8,
  /** Carried out; there is nothing to tell. */
  Done: 9,
} as const;

/** The answer to a request that was not answered at once. */
export interface Completion {
  readonly outcome: number;
  readonly value: number;
  /** The words that go with `Refused`, `TimedOut` and `Failed`. */
  readonly detail: NativeFailure | null;
  /** The locks that go with `Inspected`. */
  readonly inspection: readonly InspectedLock[] | null;
}

/** Whether a request holds nothing because somebody else holds a key. */
export function isBlocked({ outcome }: Completion): boolean {
  return outcome === Outcome.Refused || outcome === Outcome.TimedOut;
}

/** Who is to be told when a job's lock is lost. Must neither throw nor run a caller's code at once. */
export interface LossListener {
  /** Whose lock it is. */
  readonly client: object;
  lose(how: NativeFailure): void;
}

interface Waiter {
  resolve(completion: Completion): void;
  reject(reason: unknown): void;
}

/** How many completions one crossing brings. */
const BATCH = 256;

/** Ticket, outcome and value. */
const FIELDS = 3;

/** The longest interval that Node.js knows: the timer is there to be referenced, not to fire. */
const LONGEST_MS = 2 ** 31 - 1;

/** See the head of this file. */
export class Completions {
  readonly mailbox: Mailbox;
  readonly #waiting = new Map<number, Waiter>();
  readonly #leases = new Map<number, LossListener>();
  readonly #records = new Float64Array(BATCH * FIELDS);
  #anchor: NodeJS.Timeout | undefined;
  #draining = false;

  constructor() {
    const { Mailbox } = loadAddon();
    this.mailbox = new Mailbox(() => this.drain());
  }

  /** The completion of `ticket`. To be called in the same turn as the call into the addon that made the ticket. */
  wait(ticket: number): Promise<Completion> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(ticket, { resolve, reject });
      if (this.#waiting.size === 1) {
        this.#holdProcess();
      }
    });
  }

  /** Whether a promise waits for `ticket`. */
  isAwaited(ticket: number): boolean {
    return this.#waiting.has(ticket);
  }

  /** Rejects the promise that waits for `ticket`. */
  withdraw(ticket: number, reason: unknown): void {
    const waiter = this.#waiting.get(ticket);
    if (waiter !== undefined) {
      this.#forget(ticket);
      waiter.reject(reason);
    }
  }

  /** Tells `listener` when the lock of the job of `ticket` is lost. */
  watch(ticket: number, listener: LossListener): void {
    this.#leases.set(ticket, listener);
  }

  unwatch(ticket: number): void {
    this.#leases.delete(ticket);
  }

  /** Tells every listener of `client` that its lock is lost. */
  loseAll(client: object, how: NativeFailure): void {
    for (const lease of this.#leases.values()) {
      if (lease.client === client) {
        lease.lose(how);
      }
    }
  }

  /** Deals with everything that has gathered. Never throws. */
  drain(): void {
    if (this.#draining) {
      // The drain that is under way goes on until the mailbox is empty, and its records must not be overwritten.
      return;
    }
    this.#draining = true;
    try {
      for (let count = this.#fetch(); count > 0; count = this.#fetch()) {
        for (let at = 0; at < count * FIELDS; at += FIELDS) {
          this.#dispatch(this.#record(at), this.#record(at + 1), this.#record(at + 2));
        }
      }
    } catch (thrown) {
      this.#failAll(thrown);
    } finally {
      this.#draining = false;
    }
  }

  #fetch(): number {
    return this.mailbox.drain(this.#records);
  }

  #record(at: number): number {
    return this.#records[at] as number;
  }

  #dispatch(ticket: number, outcome: number, value: number): void {
    try {
      const detail = hasDetail(outcome) ? this.mailbox.takeDetail(ticket) : null;
      const inspection = outcome === Outcome.Inspected ? this.mailbox.takeInspection(ticket) : null;
      if (outcome === Outcome.Lost) {
        this.#leases.get(ticket)?.lose(detail ?? unexplained("A lock was lost"));
      } else {
        this.#resolve(ticket, { outcome, value, detail, inspection });
      }
    } catch (thrown) {
      this.#fail(ticket, unexplained("A completion could not be read", thrown));
    }
  }

  /** Also comes for requests that nobody waits for any more: the addon has taken back what those were granted. */
  #resolve(ticket: number, completion: Completion): void {
    const waiter = this.#waiting.get(ticket);
    if (waiter !== undefined) {
      this.#forget(ticket);
      waiter.resolve(completion);
    }
  }

  /** The safe reading of a completion that cannot be read: the wait has failed, the lock is lost. */
  #fail(ticket: number, how: NativeFailure): void {
    this.#leases.get(ticket)?.lose(how);
    this.#resolve(ticket, { outcome: Outcome.Failed, value: 0, detail: how, inspection: null });
  }

  /** The mailbox itself failed: nothing that is waited for will ever come, and losses would go unheard. */
  #failAll(thrown: unknown): void {
    const how = unexplained("The mailbox of the locking addon failed", thrown);
    for (const ticket of [...this.#waiting.keys(), ...this.#leases.keys()]) {
      this.#fail(ticket, how);
    }
  }

  #forget(ticket: number): void {
    this.#waiting.delete(ticket);
    if (this.#waiting.size === 0) {
      this.#anchor?.unref();
    }
  }

  #holdProcess(): void {
    // Imported, not global: a test runner's fake timers would let the process go.
    this.#anchor ??= setInterval(() => undefined, LONGEST_MS);
    this.#anchor.ref();
  }
}

function hasDetail(outcome: number): boolean {
  return (
    outcome === Outcome.Refused ||
    outcome === Outcome.TimedOut ||
    outcome === Outcome.Lost ||
    outcome === Outcome.Failed
  );
}

function unexplained(what: string, thrown?: unknown): NativeFailure {
  return { code: "INTERNAL", message: thrown instanceof Error ? `${what}: ${thrown.message}` : what };
}

let shared: Completions | undefined;

/** The pump of this module instance, made on first use. */
export function sharedCompletions(): Completions {
  shared ??= new Completions();
  return shared;
}
