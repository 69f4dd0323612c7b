// Property: no two are inside for a key at once, unless the earlier one's lease was lost before the later one was granted.

import { TELL_MS } from "./knowledge.mjs";
import { touching } from "./spans.mjs";

/** An abort this much behind a lapse is in time: the scheduler of a busy machine takes so long to run a thread. */
const JITTER_MS = 60;
/** By how much the server's clock, by which a lock expires, may run faster than the judge's: what README assumes. */
const CLOCK_RATE = 0.02;
/** The calls that take a lock which is not a job's. */
export const ACQUIRES = ["acquire", "queue", "step"];
/** What an answer may have been under way to a caller that waited for its lock. */
const REPLY_MS = 250;

/**
 * Every hold of every key: `{ key, call, from, to }`. A job is inside from its first statement until its last, its
 * abort, or the kill of its process; who acquired, from the answer until it asks to release or the lock expires.
 */
export function holds(history) {
  const all = [];
  const releases = new Map(history.calls.filter(({ of }) => of).map((call) => [call.of, call]));
  for (const call of history.calls) {
    const hold = call.op === "execute" ? holdOfJob(call) : holdOfAcquire(call, releases.get(call.id), history.processes);
    if (!hold) continue;
    const to = Math.min(hold.to, history.processes[call.process].killedAt ?? Infinity);
    if (to > hold.from) all.push(...call.keys.map((key) => ({ key, call, from: hold.from, to })));
  }
  return all;
}

function holdOfJob(call) {
  if (call.in === undefined) return undefined;
  return { from: call.in, to: Math.min(call.out ?? Infinity, call.abort ?? Infinity) };
}

// Its expiry runs from the grant, which is later than the asking; for one that waited, it is only known to be shortly
// before the answer, if its process was running.
function holdOfAcquire(call, release, processes) {
  if (!ACQUIRES.includes(call.op) || !call.ok) return undefined;
  const { stops, halts } = processes[call.process];
  const waited = call.op !== "acquire" && touching([...stops, ...halts], call.ans - REPLY_MS, call.ans).length === 0;
  const grantedBy = waited ? Math.max(call.ask, call.ans - REPLY_MS) : call.ask;
  return { from: call.ans, to: Math.min(release?.ask ?? Infinity, grantedBy + call.expire * (1 - CLOCK_RATE)) };
}

/** @returns {{ violations: object[], counts: object }} */
export function checkExclusion(history, knows) {
  const violations = [];
  const counts = { holds: 0, pairs: 0, "after a lapse": 0, "after lost data": 0, "late by scheduling": 0 };
  for (const [key, list] of groupByKey(holds(history))) {
    counts.holds += list.length;
    list.sort((a, b) => a.from - b.from);
    let inside = [];
    for (const next of list) {
      inside = inside.filter((hold) => hold.to > next.from);
      for (const before of inside) {
        counts.pairs += 1;
        const [older, newer] = inOrder(before, next);
        const excuse = excuseOf(older, newer, knows);
        if (excuse) counts[excuse] += 1;
        else violations.push(violation(key, older, newer, knows));
      }
      inside.push(next);
    }
  }
  return { violations, counts };
}

function groupByKey(list) {
  const groups = new Map();
  for (const hold of list) {
    if (!groups.has(hold.key)) groups.set(hold.key, []);
    groups.get(hold.key).push(hold);
  }
  return groups;
}

/** Who was granted first has the lower token; a job may have begun long after its grant. Without tokens: who began first. */
function inOrder(a, b) {
  return a.call.token > b.call.token ? [b, a] : [a, b];
}

/** Why both may be inside, or undefined. */
function excuseOf(older, newer, knows) {
  const overlap = Math.max(older.from, newer.from);
  const overlapEnds = Math.min(older.to, newer.to);
  const losses = knows.lossesBefore(older.call, newer.from);
  if (losses.some((loss) => older.call.op !== "execute" || overlapEnds <= knows.toldOf(loss, older.call))) return "after lost data";
  // Who acquired is never told; its expiry does not move, so nothing else excuses an overlap.
  if (older.call.op !== "execute" || !knows.mayHaveLapsed(older.call, newer.from)) return undefined;
  // It ended behind the newer one's grant, so it ended without its lock: its caller must not be told that all went well.
  if (older.call.ok) return undefined;
  if (older.to - overlap <= JITTER_MS) return "late by scheduling";
  // Its process could not run, and so not be told, and was told as soon as it could.
  const halts = touching(knows.halted(older.call), overlap - TELL_MS, overlap);
  return halts.some(([, to]) => older.to <= to + TELL_MS) ? "after a lapse" : undefined;
}

function violation(key, older, newer, knows) {
  const ms = (Math.min(older.to, newer.to) - Math.max(older.from, newer.from)).toFixed(1);
  const lapsed = knows.mayHaveLapsed(older.call, newer.from);
  const late = older.call.ok ? "whose caller was told that all went well" : "though its process could run, or had been told in time";
  const why = lapsed ? late : "whose lease cannot have lapsed";
  const tokens = older.call.token ? ` (tokens ${older.call.token} and ${newer.call.token})` : "";
  return {
    property: "exclusion",
    at: Math.max(older.from, newer.from),
    ids: [older.call.id, newer.call.id],
    key,
    message: `"${key}": ${newer.call.id} was inside for ${ms} ms together with ${older.call.id}, ${why}${tokens}`,
  };
}
