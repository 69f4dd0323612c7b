// What the peers are given beyond their own defaults.

/** Lease of a peer's lock in ms: as long as ours. Their own pauses between attempts stay as they are. */
export const leaseMs = 15_000;

/** The locks that `acquire` took in this process, by key, for a peer whose `release` wants the object back. */
export class HeldLocks {
  #byKey = new Map();

  put(key, lock) {
    this.#byKey.set(key, lock);
  }

  take(key) {
    const lock = this.#byKey.get(key);
    this.#byKey.delete(key);
    return lock;
  }
}
