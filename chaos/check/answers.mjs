// Property: every caller got an answer, within the time that it was ready to wait and a margin, and one that fits what
// became of its job. Time during which its process could not run does not count.

import { covered } from "./spans.mjs";

/** What an answer may be late. */
const MARGIN_MS = 750;

/** @returns {{ violations: object[], counts: object }} `commandTimeout`: of calls that do not wait for a lock, in ms */
export function checkAnswers(history, knows, { commandTimeout }) {
  const violations = [];
  const counts = { answered: 0, "of killed processes": 0 };
  for (const call of history.calls) {
    const untrue = contradiction(call);
    if (untrue) violations.push(violation(call, untrue));
    const { killedAt } = history.processes[call.process];
    if (call.ans === undefined && killedAt === undefined) {
      violations.push(violation(call, `${call.op} was never answered`));
      continue;
    }
    counts[call.ans === undefined ? "of killed processes" : "answered"] += 1;
    // Who was killed must not have been overdue.
    for (const { from, to, limit, what } of waits({ ...call, ans: call.ans ?? killedAt }, commandTimeout)) {
      const took = to - from - covered(knows.halted(call), from, to);
      if (took > limit + MARGIN_MS) violations.push(violation(call, `${what} took ${Math.round(took)} ms, and may take ${limit}`));
    }
  }
  return { violations, counts };
}

/** What an execute's answer says of its job that is not so, or undefined. */
function contradiction({ op, ok, code, starts = 0, out, ans }) {
  if (op !== "execute") return undefined;
  if (starts > 1) return `the job ran ${starts} times`;
  if (ans === undefined) return undefined;
  if (ok && out === undefined) return "it succeeded, and its job had not ended";
  if (starts > 0 && /^(LOCK_TIMEOUT|LOCK_HELD|Timed-out|Failed to acquire)/.test(code)) return `its job ran, and it was refused: ${code}`;
  return out > ans ? "its job went on behind its answer" : undefined;
}

/** The times that the call waited, with their limits. */
function waits(call, commandTimeout) {
  const { op, ask, ans, out, timeout } = call;
  if (op === "execute") {
    const giveBack = Math.max(commandTimeout, call.expire);
    if (call.in === undefined) {
      // It may have been granted, and been lost before its job began.
      const limit = timeout + (call.code === "LOCK_LOST" ? giveBack : 0);
      return [{ from: ask, to: ans, limit, what: "the refusal of an execute" }];
    }
    const waiting = { from: ask, to: call.in, limit: timeout, what: "the grant of an execute" };
    if (out === undefined) return [waiting];
    return [waiting, { from: out, to: ans, limit: giveBack, what: "the end of an execute" }];
  }
  if (op === "queue" || op === "step") return timeout === undefined ? [] : [{ from: ask, to: ans, limit: timeout, what: `a ${op === "queue" ? "queued acquire" : "lock step"}` }];
  return [{ from: ask, to: ans, limit: commandTimeout, what: `the answer to ${op === "acquire" ? "an acquire" : "a release"}` }];
}

const violation = (call, message) => ({
  property: "answers",
  at: call.ans ?? call.ask,
  ids: [call.id],
  key: call.keys[0],
  message: `${call.id} (${call.keys}): ${message}`,
});
