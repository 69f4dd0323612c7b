/**
 * Listening to the AbortSignals of callers.
 *
 * Many calls often share one signal, such as the one of a store's shutdown. A signal's listeners are a list that is
 * walked for each one added or removed, so all calls share one listener, which is there exactly while any call watches.
 */

/** Why a signal aborted: what its `reason` says, or an AbortError where that says nothing, as with old polyfills. */
export function abortReason(signal: AbortSignal): unknown {
  const reason = reasonOf(signal);
  return reason === undefined ? new DOMException("This operation was aborted", "AbortError") : reason;
}

function reasonOf(signal: AbortSignal): unknown {
  try {
    return signal.reason;
  } catch (thrown) {
    return thrown;
  }
}

/** Calls back once when a signal aborts, until stopped. */
export class AbortWatch {
  readonly #onAbort: (reason: unknown) => void;
  /** Absent where the signal had aborted already. */
  readonly #listener: Listener | undefined;

  /** Calls back at once if `signal` has aborted already. Throws what the signal does when it is listened to. */
  constructor(signal: AbortSignal, onAbort: (reason: unknown) => void) {
    this.#onAbort = onAbort;
    if (!signal.aborted) {
      this.#listener = listenerOf(signal);
      this.#listener.watches.add(this);
    }
    // Asked again: one that is no real signal may abort while it is listened to.
    if (signal.aborted) {
      this.stop();
      onAbort(abortReason(signal));
    }
  }

  /** Never throws: whatever it stops for has an end of its own to reach. */
  stop(): void {
    const listener = this.#listener;
    if (listener?.watches.delete(this) === true && listener.watches.size === 0) {
      listener.remove();
    }
  }

  fire(reason: unknown): void {
    this.#onAbort(reason);
  }
}

interface Listener {
  readonly watches: Set<AbortWatch>;
  remove(): void;
}

const listeners = new WeakMap<AbortSignal, Listener>();

function listenerOf(signal: AbortSignal): Listener {
  const existing = listeners.get(signal);
  if (existing !== undefined) {
    return existing;
  }
  const watches = new Set<AbortWatch>();
  const onAbort = (): void => {
    const reason = abortReason(signal);
    // A watch that is stopped by what an earlier one does is not called any more.
    for (const watch of watches) {
      watch.fire(reason);
    }
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const remove = (): void => {
    listeners.delete(signal);
    try {
      signal.removeEventListener("abort", onAbort);
    } catch {
      // Not a real signal, or revoked. It keeps a listener that has nobody left to call.
    }
  };
  const listener = { watches, remove };
  listeners.set(signal, listener);
  return listener;
}
