/** Waiting for conditions, and promises that a test settles by hand. Times are milliseconds. */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** The machine may be slow and shared: what ought to happen soon is given this long before a test fails. */
export const PATIENCE_MS = 15_000;

const POLL_MS = 10;

/**
 * Resolves with the first truthy answer of `condition`, which may be asynchronous; fails with `what` after `withinMs`.
 */
export async function until(condition, what, withinMs = PATIENCE_MS) {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (performance.now() > deadline) assert.fail(`not within ${withinMs} ms: ${what}`);
    await sleep(POLL_MS);
  }
}

/** Fails as soon as `condition` is falsy during the next `ms`: for "this stays so", where there is nothing to wait for. */
export async function stays(condition, what, ms) {
  const end = performance.now() + ms;
  do {
    assert.ok(await condition(), `did not stay so: ${what}`);
    await sleep(POLL_MS);
  } while (performance.now() < end);
}

/** A promise with its `resolve` and `reject`, and `settled` to look at without waiting. */
export function deferred() {
  const pending = {};
  pending.promise = new Promise((resolve, reject) => Object.assign(pending, { resolve, reject }));
  return pending;
}

/** Fails unless `promise` settles within `withinMs`; passes its outcome on. */
export async function settles(promise, what, withinMs = PATIENCE_MS) {
  const timer = new AbortController();
  const late = sleep(withinMs, undefined, { signal: timer.signal }).then(
    () => assert.fail(`no answer within ${withinMs} ms: ${what}`),
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

/** `{ state: "pending" | "fulfilled" | "rejected", value, reason }`, kept up to date: a look at a promise in passing. */
export function watch(promise) {
  const seen = { state: "pending", promise };
  promise.then(
    (value) => Object.assign(seen, { state: "fulfilled", value }),
    (reason) => Object.assign(seen, { state: "rejected", reason }),
  );
  return seen;
}
