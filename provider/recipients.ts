/**
 * Who waits for what, by ticket.
 *
 * Nearly every ticket is told its completion among the next few thousand that are made. So there is a place for each of these
 * in an array, and whoever is still there when another one needs that place, as a job that runs for long, moves to a map.
 */

import type { Recipient } from "./completions.js";

/** How many have a place, a power of two. */
const PLACES = 4096;

/** The place of a ticket. Bits are taken of numbers of any size, and faster than the remainder of a division is. */
function placeOf(ticket: number): number {
  return ticket & (PLACES - 1);
}

/** See the head of this file. */
export class Recipients {
  readonly #young: (Recipient | undefined)[] = new Array<Recipient | undefined>(PLACES).fill(undefined);
  /** Whose place it is, and was last. */
  readonly #tickets = new Float64Array(PLACES);
  readonly #old = new Map<number, Recipient>();

  get(ticket: number): Recipient | undefined {
    const place = placeOf(ticket);
    return this.#tickets[place] === ticket ? this.#young[place] : this.#old.get(ticket);
  }

  /** From now on `recipient` is the one of `ticket`, which has had none before. */
  set(ticket: number, recipient: Recipient): void {
    const place = placeOf(ticket);
    const before = this.#young[place];
    if (before !== undefined) {
      this.#old.set(this.#tickets[place] as number, before);
    }
    this.#young[place] = recipient;
    this.#tickets[place] = ticket;
  }

  delete(ticket: number): void {
    const place = placeOf(ticket);
    if (this.#tickets[place] === ticket) {
      this.#young[place] = undefined;
    } else {
      this.#old.delete(ticket);
    }
  }

  /** All there are now, in no order. */
  all(): [ticket: number, recipient: Recipient][] {
    const found = [...this.#old];
    this.#young.forEach((recipient, place) => {
      if (recipient !== undefined) {
        found.push([this.#tickets[place] as number, recipient]);
      }
    });
    return found;
  }
}
