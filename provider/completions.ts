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
import { Recipients } from "./recipients.js";

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
  /** Released less than all: the holder came after its lock had lapsed. */
  Outlived: 10,
} as const;

/** Whether a request holds nothing because somebody else holds a key. */
export function isBlocked(outcome: number): boolean {
  return outcome === Outcome.Refused || outcome === Outcome.TimedOut;
}

/**
 * Who is told what becomes of a ticket. Its methods must neither throw nor run a caller's code at once.
 *
 * A recipient that awaits has told so ({@link Completions.awaits}), and is told one completion or that it was withdrawn.
 */
export interface Recipient {
  /** Whose ticket it is. */
  readonly client: object | undefined;
  /** A completion is awaited. */
  readonly isAwaiting: boolean;
  /** The awaited completion. True: there is nothing more to tell. */
  completed(outcome: number, value: number, detail: NativeFailure | null, found: readonly InspectedLock[] | null): boolean;
  /** Nothing is awaited any more. True: there is nothing more to tell. */
  withdrawn(reason: unknown): boolean;
  /** The lock is gone. */
  lose(how: NativeFailure): void;
  /** The lock is being released, or may be among those that are. */
  releasing(): void;
}

/**
 * What a completion comes to for whoever waits for it. Throws what that wait is to be rejected with.
 *
 * `detail` goes with `Refused`, `TimedOut`, `Failed` and `Outlived`, `found` with `Inspected`.
 */
export type Reader<T> = (
  outcome: number,
  value: number,
  detail: NativeFailure | null,
  found: readonly InspectedLock[] | null,
) => T;

/** One completion, as a promise. */
class Waiter<T> implements Recipient {
  readonly client = undefined;
  readonly isAwaiting = true;
  readonly #read: Reader<T>;
  readonly #resolve: (result: T) => void;
  readonly #reject: (reason: unknown) => void;

  constructor(read: Reader<T>, resolve: (result: T) => void, reject: (reason: unknown) => void) {
    this.#read = read;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  completed(
    outcome: number,
    value: number,
    detail: NativeFailure | null,
    found: readonly InspectedLock[] | null,
  ): boolean {
    try {
      this.#resolve(this.#read(outcome, value, detail, found));
    } catch (thrown) {
      this.#reject(thrown);
    }
    return true;
  }

  withdrawn(reason: unknown): boolean {
    this.#reject(reason);
    return true;
  }

  lose(): void {
    // Only jobs lose locks.
  }

  releasing(): void {
    // The same.
  }
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
  readonly #recipients = new Recipients();
  readonly #records = new Float64Array(BATCH * FIELDS);
  readonly #fetch: (records: Float64Array) => number;
  /** How many recipients await. */
  #awaiting = 0;
  #anchor: NodeJS.Timeout | undefined;
  #draining = false;
  /** Somebody asked to drain while that was under way. */
  #drainAgain = false;

  constructor() {
    const { Mailbox } = loadAddon();
    this.mailbox = new Mailbox(() => this.drain());
    this.#fetch = this.mailbox.drainer();
  }

  /**
   * What `read` makes of the completion of `ticket`. To be called in the same turn as the call into the addon that made the
   * ticket.
   */
  wait<T>(ticket: number, read: Reader<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#recipients.set(ticket, new Waiter(read, resolve, reject));
      this.awaits();
    });
  }

  /** From now on `recipient` is told what becomes of `ticket`, until {@link unwatch} or until it says that that is all. */
  watch(ticket: number, recipient: Recipient): void {
    this.#recipients.set(ticket, recipient);
  }

  unwatch(ticket: number): void {
    this.#recipients.delete(ticket);
  }

  /** A recipient begins to await. To be called in the same turn as the call into the addon that it awaits the end of. */
  awaits(): void {
    this.#awaiting += 1;
    if (this.#awaiting === 1) {
      this.#holdProcess();
    }
  }

  /** Whether the completion of `ticket` is awaited. */
  isAwaited(ticket: number): boolean {
    return this.#recipients.get(ticket)?.isAwaiting === true;
  }

  /** Ends the wait for `ticket`, for this reason. */
  withdraw(ticket: number, reason: unknown): void {
    const recipient = this.#recipients.get(ticket);
    if (recipient?.isAwaiting === true) {
      this.#endWait(ticket, recipient.withdrawn(reason));
    }
  }

  /** Tells every recipient of `client` that its lock is lost. */
  loseAll(client: object, how: NativeFailure): void {
    for (const [, recipient] of this.#recipients.all()) {
      if (recipient.client === client) {
        recipient.lose(how);
      }
    }
  }

  /** Tells the recipient of `ticket`, or every one of `client`, that its lock is being released. */
  releasing(client: object, ticket?: number): void {
    const found = ticket === undefined ? this.#recipients.all().map(([, each]) => each) : [this.#recipients.get(ticket)];
    for (const recipient of found) {
      if (recipient?.client === client) {
        recipient.releasing();
      }
    }
  }

  /** Deals with everything that has gathered. Never throws. */
  drain(): void {
    if (this.#draining) {
      // Its records must not be overwritten. It may have seen the mailbox empty already, so it looks once more.
      this.#drainAgain = true;
      return;
    }
    this.#draining = true;
    try {
      do {
        this.#drainAgain = false;
        this.#drainAll();
      } while (this.#drainAgain);
    } catch (thrown) {
      this.#failAll(thrown);
    } finally {
      this.#draining = false;
    }
  }

  /** A batch that is not full is the last one: for whatever comes after it the addon calls back. */
  #drainAll(): void {
    let count: number;
    do {
      count = this.#fetch(this.#records);
      for (let at = 0; at < count * FIELDS; at += FIELDS) {
        this.#dispatch(this.#record(at), this.#record(at + 1), this.#record(at + 2));
      }
    } while (count === BATCH);
  }

  #record(at: number): number {
    return this.#records[at] as number;
  }

  #dispatch(ticket: number, outcome: number, value: number): void {
    try {
      const detail = hasDetail(outcome) ? this.mailbox.takeDetail(ticket) : null;
      const found = outcome === Outcome.Inspected ? this.mailbox.takeInspection(ticket) : null;
      if (outcome === Outcome.Lost) {
        this.#recipients.get(ticket)?.lose(detail ?? unexplained("A lock was lost"));
      } else {
        this.#complete(ticket, outcome, value, detail, found);
      }
    } catch (thrown) {
      this.#fail(ticket, unexplained("A completion could not be read", thrown));
    }
  }

  /** Also comes for requests that nobody waits for any more: the addon has taken back what those were granted. */
  #complete(
    ticket: number,
    outcome: number,
    value: number,
    detail: NativeFailure | null,
    found: readonly InspectedLock[] | null,
  ): void {
    const recipient = this.#recipients.get(ticket);
    if (recipient?.isAwaiting === true) {
      this.#endWait(ticket, recipient.completed(outcome, value, detail, found));
    }
  }

  #endWait(ticket: number, isAll: boolean): void {
    if (isAll) {
      this.#recipients.delete(ticket);
    }
    this.#awaiting -= 1;
    if (this.#awaiting === 0) {
      this.#anchor?.unref();
    }
  }

  /** The safe reading of a completion that cannot be read: the wait has failed, the lock is lost. */
  #fail(ticket: number, how: NativeFailure): void {
    this.#recipients.get(ticket)?.lose(how);
    this.#complete(ticket, Outcome.Failed, 0, how, null);
  }

  /** The mailbox itself failed: nothing that is waited for will ever come, and losses would go unheard. */
  #failAll(thrown: unknown): void {
    const how = unexplained("The mailbox of the locking addon failed", thrown);
    for (const [ticket] of this.#recipients.all()) {
      this.#fail(ticket, how);
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
    outcome === Outcome.Failed ||
    outcome === Outcome.Outlived
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
