// Property: nobody loses a lock without a cause, whoever was told so does not succeed, and nobody frees what is another's.
// A cause is that the lease could not be renewed in time, or that the server lost its data.

import { touching } from "./spans.mjs";

/** How close to its expiry a lock counts as expired. */
const EXPIRY_MS = 50;

/** A job is told this much before its lease ends, in parts of the lease and in ms: clocks may differ, and times are rounded. */
const [EARLY_PART, EARLY_MS] = [0.02, 10];

/** @returns {{ violations: object[], counts: object }} */
export function checkLosses(history, knows) {
  const violations = [];
  const counts = { lost: 0, "releases that freed": 0, "releases refused to others": 0 };
  const byId = new Map(history.calls.map((call) => [call.id, call]));
  for (const call of history.calls) {
    if (call.op === "execute" && (call.abort !== undefined || call.code === "LOCK_LOST")) {
      counts.lost += 1;
      const told = call.abort ?? call.ans;
      if (!hasCause(history, knows, call, told)) violations.push(violation(call, told, "lost its lock without a cause"));
      if (call.ok) violations.push(violation(call, told, "was told that its lock is lost, and succeeded all the same"));
    }
    if (call.op === "foreign" && call.ans !== undefined) {
      counts["releases refused to others"] += 1;
      // A release whose first answer was lost is repeated, and counts as done where it finds nothing to release.
      if (call.value && !knows.wasCutOff(call, call.ask, call.ans)) violations.push(violation(call, call.ans, "released a lock that is not its own"));
    }
    if (call.op === "release" && call.ok) {
      if (call.value) counts["releases that freed"] += 1;
      // Without an owner a release is of the process's first grant of the key, which may have been another one that had lapsed.
      else if (byId.get(call.of).op !== "step") checkRelease(history, call, byId.get(call.of), violations);
    }
  }
  return { violations, counts };
}

function hasCause(history, knows, call, told) {
  return knows.mayHaveLapsed(call, told + call.expire * EARLY_PART + EARLY_MS) || lossesDuring(history, knows.grantedSince(call), told).length > 0;
}

function checkRelease(history, call, acquire, violations) {
  const inTime = call.ans < acquire.ask + acquire.expire - EXPIRY_MS;
  if (inTime && lossesDuring(history, acquire.ask, call.ans).length === 0) {
    violations.push(violation(call, call.ans, `found the lock of ${acquire.id} gone before it expired`));
  }
}

const lossesDuring = ({ server }, from, to) => touching(server.losses.map((loss) => [loss.from, loss.to]), from, to);

const violation = (call, at, message) => ({
  property: "losses",
  at,
  ids: [call.id, ...(call.of ? [call.of] : [])],
  key: call.keys[0],
  message: `${call.id} (${call.keys}) ${message}${call.why ? `: ${call.why}` : ""}`,
});
