// What the holds of one key in one or more processes say, as the workload `crowd` reports them.

/**
 * @typedef {object} Hold times in ns, on the clock that all processes share
 * @property {number} asked when the caller asked for the key
 * @property {number} entered when its job began
 * @property {number} ended when its job ended
 */

/** @returns {Hold[]} */
export function holdsOf(numbers) {
  return Array.from({ length: numbers.length / 3 }, (_, n) => ({
    asked: numbers[3 * n],
    entered: numbers[3 * n + 1],
    ended: numbers[3 * n + 2],
  }));
}

/** In ms. */
export function waitOf({ asked, entered }) {
  return toMs(entered - asked);
}

/** How often a job began while another still ran: 0 for a lock. */
export function overlapsIn(holds) {
  const inOrder = holds.toSorted((a, b) => a.entered - b.entered);
  return inOrder.filter((hold, n) => n > 0 && hold.entered < inOrder[n - 1].ended).length;
}

export function firstOf(holds, field) {
  return holds.reduce((first, hold) => Math.min(first, hold[field]), Infinity);
}

export function lastOf(holds, field) {
  return holds.reduce((last, hold) => Math.max(last, hold[field]), -Infinity);
}

export function toMs(ns) {
  return ns / 1e6;
}
