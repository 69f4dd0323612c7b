// A run as text, and as an object for --json.

import { ACQUIRES } from "./check/exclusion.mjs";

const EVENTS_MAX = 40;
const SHOWN_PER_PROPERTY = 3;
/** How much before and after a violation is shown, in ms. */
const [BEFORE_MS, AFTER_MS] = [2_500, 500];
/** The same where that is too much. */
const NEAR_MS = 300;
const TIMES = ["from", "to", "readyAt", "lostFrom"];

/** The totals of a run. */
export function summary({ options, history, verdicts }) {
  const faults = {};
  for (const { e, kind } of history.events) if (e === "fault") faults[kind] = (faults[kind] ?? 0) + 1;
  const jobs = history.calls.filter(({ op }) => op === "execute");
  const granted = history.calls.filter((call) => call.in !== undefined || (ACQUIRES.includes(call.op) && call.ok));
  const waits = jobs.filter((call) => call.in !== undefined).map((call) => call.in - call.ask).sort((a, b) => a - b);
  const refusals = {};
  for (const { ok, code } of history.calls) if (ok === false) refusals[shortCode(code)] = (refusals[shortCode(code)] ?? 0) + 1;
  return {
    seed: options.seed,
    provider: options.provider,
    seconds: options.seconds,
    processes: options.processes,
    faults,
    calls: history.calls.length,
    grants: granted.length,
    refusals,
    waitMs: { p50: part(waits, 0.5), p99: part(waits, 0.99) },
    clean: verdicts.every(({ violations }) => violations.length === 0),
    verdicts: verdicts.map(({ property, violations, counts }) => ({ property, violations: violations.length, counts })),
  };
}

/** What the other provider says in words only. */
const WORDS = [
  [/^Timed-out acquiring/, "timed out"],
  [/^Failed to acquire lock/, "held"],
  [/^Lost the lock/, "lost"],
];
const shortCode = (code) => WORDS.find(([pattern]) => pattern.test(code))?.[1] ?? String(code).slice(0, 40);
const part = (sorted, share) => (sorted.length === 0 ? null : Math.round(sorted[Math.floor(share * (sorted.length - 1))] * 10) / 10);

/** The summary as lines, with the shortest violations and what went on around them. */
export function text(result) {
  const { faults, calls, grants, refusals, waitMs, seed, provider } = summary(result);
  const list = (counts) => Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", ") || "none";
  const lines = [
    `faults: ${list(faults)}`,
    `calls: ${calls}, grants: ${grants}, refused: ${list(refusals)}`,
    `waits of execute: p50 ${waitMs.p50} ms, p99 ${waitMs.p99} ms`,
    "",
  ];
  for (const { property, violations, counts } of result.verdicts) {
    const verdict = violations.length === 0 ? "holds" : `VIOLATED ${violations.length} times`;
    lines.push(`${property.padEnd(10)} ${verdict.padEnd(18)} ${list(counts)}`);
  }
  for (const { violations } of result.verdicts) {
    for (const violation of violations.slice(0, SHOWN_PER_PROPERTY)) {
      lines.push("", `${violation.property}: ${violation.message}`, ...around(result, violation));
    }
  }
  const clean = result.verdicts.every(({ violations }) => violations.length === 0);
  lines.push("", clean ? "no violation" : `violations; repeat with --seed ${seed} --provider ${provider}`);
  return lines.join("\n");
}

/** What happened around a violation: the calls it is about, all others on its key, and the faults. */
function around({ history }, { at, ids, key }) {
  const byId = new Map(history.calls.map((call) => [call.id, call]));
  const processes = new Set(ids.map((id) => byId.get(id)?.process));
  const from = Math.min(at - BEFORE_MS, ...ids.map((id) => byId.get(id)?.ask ?? at));
  const concerns = (event) => {
    if (ids.includes(event.id)) return true;
    if (event.t < at - BEFORE_MS) return false;
    if (event.e === "fault" || event.e === "stopped") {
      return event.slot === undefined || [...processes].some((name) => name?.startsWith(`${event.slot}.`));
    }
    if (event.e === "halt" || event.e === "block") return processes.has(event.process);
    return key !== undefined && ["in", "out", "abort"].includes(event.e) && byId.get(event.id)?.keys.includes(key);
  };
  const events = history.events.filter((event) => event.t >= from && event.t <= at + AFTER_MS && concerns(event));
  const isNear = (event) => ids.includes(event.id) || Math.abs(event.t - at) < NEAR_MS;
  const shown = events.length <= EVENTS_MAX ? events : events.filter(isNear).slice(-EVENTS_MAX);
  return shown.map((event) => `  ${((event.t - at) / 1000).toFixed(4).padStart(9)} s  ${wordsOf(event, at)}`);
}

function wordsOf({ t, e, id, process, ...rest }, at) {
  const shown = Object.entries(rest).filter(([, value]) => value !== undefined && value !== null);
  const words = shown.map(([name, value]) => `${name}=${TIMES.includes(name) ? `${((value - at) / 1000).toFixed(3)}s` : value}`);
  return [e, id ?? (process && `process ${process}`), ...words].filter(Boolean).join(" ");
}
