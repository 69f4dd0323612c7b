/**
 * The steps of a lock's life at which somebody waits for the server: how to get there, and what to do then. They run in a test,
 * and in a thread that is ended in the middle of one.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { holding } from "./held.mjs";

/** The lease of jobs, and the timeout of callers. */
export const LEASE_MS = 1_500;
export const TIMEOUT_MS = 2_000;
const args = { expire: LEASE_MS / 1_000, timeout: TIMEOUT_MS / 1_000 };

/** For how long a job goes on that needs its lease renewed, unless it is told that this is lost. */
const RENEWED_MS = LEASE_MS * 1.3;

/**
 * `prepare` gets to the step, `act` takes it; both are given the `Locks` and a signal, `act` also what `prepare` answered.
 * `behind`: somebody else holds the lock. `queued`: it waits behind that one when it is prepared, and the step is taken when that
 * one releases.
 */
export const STEPS = {
  acquire: { act: (locks, signal) => locks.acquire("k", { ownerId: "me", expire: 600, signal }) },
  execute: { act: (locks, signal) => locks.execute("k", () => "ran", { ...args, signal }) },
  wait: { behind: true, act: (locks, signal) => locks.execute("k", () => "ran", { ...args, signal }) },
  claim: {
    behind: true,
    queued: true,
    prepare: (locks, signal) => settling(locks.execute("k", () => "ran", { ...args, signal })),
    act: (_locks, _signal, { promise }) => promise,
  },
  renew: {
    prepare: (locks) => holding(locks, "k", args),
    async act(_locks, _signal, held) {
      const isLost = new Promise((resolve) => held.signal.addEventListener("abort", resolve));
      await Promise.race([sleep(RENEWED_MS), isLost]);
      return held.end("ran");
    },
  },
  finish: { prepare: (locks) => holding(locks, "k", args), act: (_locks, _signal, held) => held.end("ran") },
  release: {
    prepare: (locks) => locks.acquire("k", { ownerId: "me" }),
    act: (locks) => locks.release("k", { ownerId: "me" }),
  },
  cancel: {
    behind: true,
    queued: true,
    prepare(locks) {
      const caller = new AbortController();
      return { caller, ...settling(locks.execute("k", () => "ran", { ...args, signal: caller.signal })) };
    },
    act(_locks, _signal, { caller, promise }) {
      caller.abort();
      return promise;
    },
  },
  close: { prepare: (locks) => holding(locks, "k", args), act: (locks) => locks.close() },
};

/** Not the promise itself, which would be waited for; and nobody minds if it is rejected before anybody looks. */
function settling(promise) {
  promise.catch(() => {});
  return { promise };
}
