/**
 * What happens to open `Locks` when the process ends.
 *
 * Medusa 2.21.2 tells providers nothing when it stops: it calls `process.exit`, which leaves the synchronous `exit`
 * event. Without it, every key of a running job would stay locked until its lease lapsed.
 */

import { performance } from "node:perf_hooks";

import type { NativeLocks } from "./addon.js";

/** How long the end of the process may be held up by all open locks together. */
const EXIT_BUDGET_MS = 500;

/** Weak: `Locks` that are dropped without `close` must not be kept by this list. */
const open = new Set<WeakRef<NativeLocks>>();
const references = new WeakMap<NativeLocks, WeakRef<NativeLocks>>();
const dropped = new FinalizationRegistry<WeakRef<NativeLocks>>((reference) => remove(reference));

/** Has the `exit` event close `locks`, unless they are closed before. */
export function closeAtExit(locks: NativeLocks): void {
  const reference = new WeakRef(locks);
  references.set(locks, reference);
  dropped.register(locks, reference, reference);
  open.add(reference);
  if (open.size === 1) {
    process.on("exit", closeAll);
  }
}

/** `locks` have been closed. */
export function closedAlready(locks: NativeLocks): void {
  const reference = references.get(locks);
  if (reference !== undefined) {
    dropped.unregister(reference);
    remove(reference);
  }
}

function remove(reference: WeakRef<NativeLocks>): void {
  if (open.delete(reference) && open.size === 0) {
    process.off("exit", closeAll);
  }
}

function closeAll(): void {
  const deadline = performance.now() + EXIT_BUDGET_MS;
  for (const reference of open) {
    try {
      // Also with nothing left of the budget: what needs no time is still given back.
      reference.deref()?.closeNow(Math.max(0, deadline - performance.now()));
    } catch (error) {
      // Nobody is left to throw to, and the exit code is not ours to change.
      process.stderr.write(`medusa-locking-native: closing at exit failed: ${String(error)}\n`);
    }
  }
  open.clear();
}
