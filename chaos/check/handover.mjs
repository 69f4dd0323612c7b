// Property: locks do not stand free while somebody waits for them.
//
// Who waits for a lock that it shares with others who wait, directly or through further ones, may have to let these go
// first. But if nobody holds any lock that any of these wants, one of them must get what it wants, and soon. This looks at
// times when nothing was disturbed only: a fault may keep a lock for a lease and a claim.

import { holds } from "./exclusion.mjs";
import { widened } from "./spans.mjs";

/** A hand-over takes a few ms, and up to 30 where a lock has been passed on for a second; the rest is for a busy machine. */
const LIMIT_MS = 500;
/** For so long after it a fault may keep a lock: the longest lease, a claim, and the time to come back. */
const DISTURBED_MS = 5_000;
/** How much later than known a lock may expire that was acquired. */
const EXPIRY_LATE_MS = 300;
/** A process that could not run for a while, for no fault, is late by that; less than so much is nothing. */
const SHORT_HALT_MS = 100;
const AFTER_HALT_MS = 500;

/** @returns {{ violations: object[], counts: object }} */
export function checkHandover(history) {
  const violations = [];
  const counts = { "looked at": 0, "longest, ms": 0 };
  // Where waiters poll there is no such bound.
  if (history.provider !== "native") return { violations, counts };
  const disturbed = disturbances(history);
  const [held, waiting] = [new Map(), new Set()];
  /** Since when nobody holds what any of those wants that the call competes with. */
  const freeSince = new Map();

  for (const { at, change, call } of changes(history)) {
    const since = freeSince.get(call);
    change(held, waiting);
    if (since !== undefined && !waiting.has(call)) {
      freeSince.delete(call);
      if (!disturbed.some(([from, to]) => from <= at && to >= since)) {
        counts["looked at"] += 1;
        counts["longest, ms"] = Math.max(counts["longest, ms"], Math.round(at - since));
        if (at - since > LIMIT_MS) violations.push(violation(call, at, since));
      }
    }
    for (const competitors of groups(waiting)) {
      const blocked = competitors.some(({ keys }) => keys.some((key) => held.get(key) > 0));
      const began = Math.min(at, ...competitors.map((one) => freeSince.get(one) ?? Infinity));
      for (const one of competitors) blocked ? freeSince.delete(one) : freeSince.set(one, began);
    }
  }
  return { violations, counts };
}

/** In order of time: who begins or ends to wait, or to hold. What is being given back is held. */
function changes(history) {
  const list = [];
  const held = (call, from, to) => {
    const count = (by) => (holding) => call.keys.forEach((key) => holding.set(key, (holding.get(key) ?? 0) + by));
    list.push({ at: from, change: count(1), call }, { at: to, change: count(-1), call });
  };
  // Who was killed waits no more, and holds until its lease ends.
  const killedAt = (call) => history.processes[call.process].killedAt ?? Infinity;
  // First: at one and the same time, who is served stops waiting before it holds.
  for (const call of history.calls) {
    if (call.op !== "execute" && call.op !== "queue" && call.op !== "step") continue;
    const ends = call.in ?? call.ans ?? Math.min(killedAt(call), history.end);
    list.push({ at: call.ask, change: (_, waiting) => waiting.add(call), call });
    list.push({ at: ends, change: (_, waiting) => waiting.delete(call), call });
  }
  const releases = new Map(history.calls.filter(({ of }) => of).map((call) => [call.of, call]));
  for (const call of new Set(holds(history).map((hold) => hold.call))) {
    const lapses = killedAt(call) + call.expire + EXPIRY_LATE_MS;
    if (call.op === "execute") held(call, call.in, call.ans ?? Math.min(lapses, history.end));
    else held(call, call.ans, releases.get(call.id)?.ans ?? call.ans + call.expire + EXPIRY_LATE_MS);
  }
  return list.sort((a, b) => a.at - b.at);
}

/** Those who wait, apart where they have no key in common, through others neither. */
function groups(waiting) {
  const left = new Set(waiting);
  const found = [];
  for (const first of left) {
    left.delete(first);
    const group = [first];
    for (const one of group) {
      for (const other of left) {
        if (!other.keys.some((key) => one.keys.includes(key))) continue;
        left.delete(other);
        group.push(other);
      }
    }
    found.push(group);
  }
  return found;
}

function disturbances({ processes, server }) {
  const spans = [...server.outages, ...server.losses.map(({ from, to }) => [from, to])];
  const halted = [];
  for (const { stops, blocks, cuts, halts, killedAt } of Object.values(processes)) {
    spans.push(...stops, ...blocks, ...cuts);
    if (killedAt !== undefined) spans.push([killedAt, killedAt]);
    halted.push(...halts.filter(([from, to]) => to - from > SHORT_HALT_MS));
  }
  return [...widened(spans, 0, DISTURBED_MS), ...widened(halted, 0, AFTER_HALT_MS)];
}

const violation = (call, at, since) => ({
  property: "handover",
  at,
  ids: [call.id],
  key: call.keys[0],
  message: `${call.id}: for ${Math.round(at - since)} ms nobody held ${call.keys}, nor anything else that those wait for who wait for these`,
});
