// What is done to whom and when: drawn from the seed before the run begins, so that a seed repeats it.

import { seeded } from "./random.mjs";

/** What is done to a store's process, with how often it is drawn. */
const PROCESS_FAULTS = { kill: 2, stop: 5, block: 3 };
/** What is done to the server. */
const SERVER_FAULTS = { "restart-empty": 2, "restart-data": 3, "restart-old": 1, hang: 4, flushall: 2, "script-flush": 1, cut: 4 };

/** Every fault there is, by the name that `--faults` takes. */
export const FAULTS = [...Object.keys(PROCESS_FAULTS), ...Object.keys(SERVER_FAULTS)];

/** How long it is calm at first, in s, but a quarter of the run at most: what is slow without any fault shows there. */
const CALM_S = 6;
/** How long a new process may take until it is hurt again, in s. */
const RESPAWN_S = 4;

/**
 * The schedule of `seconds`: in order of `at`, each `{ at, kind, slot?, lasts? }`, times in seconds from the start.
 * `faults`: the names to draw from. Nothing lasts beyond the end.
 */
export function schedule({ seed, seconds, processes, faults = FAULTS }) {
  const random = seeded(seed);
  const calm = Math.min(CALM_S, seconds / 4);
  const ofProcesses = only(PROCESS_FAULTS, faults);
  const ofServer = only(SERVER_FAULTS, faults);
  const plan = [
    ...(ofProcesses ? processFaults(random, { calm, seconds, processes }, ofProcesses) : []),
    ...(ofServer ? serverFaults(random, { calm, seconds }, ofServer) : []),
  ];
  return plan.filter(({ at, lasts }) => at + (lasts ?? 0) <= seconds).sort((a, b) => a.at - b.at);
}

function only(weights, names) {
  const chosen = Object.entries(weights).filter(([name]) => names.includes(name));
  return chosen.length > 0 ? Object.fromEntries(chosen) : undefined;
}

function processFaults(random, { calm, seconds, processes }, weights) {
  const plan = [];
  const busyUntil = Array(processes).fill(0);
  for (let at = calm; at < seconds; at += random.between(0.4, 2.6)) {
    const kind = random.weighted(weights);
    const slot = random.whole(0, processes - 1);
    // Shorter than a lease, longer than one, longer than two leases and a claim.
    const lasts = kind === "kill" ? undefined : random.pick([random.between(0.1, 0.8), random.between(1.1, 2.2), random.between(2.2, 4.5)]);
    if (busyUntil[slot] > at) continue;
    busyUntil[slot] = at + (lasts ?? RESPAWN_S) + 0.3;
    plan.push({ at: round(at), kind, slot, ...(lasts === undefined ? {} : { lasts: round(lasts) }) });
  }
  return plan;
}

function serverFaults(random, { calm, seconds }, weights) {
  const plan = [];
  for (let at = calm + random.between(0, 2); at < seconds; at += random.between(2, 6)) {
    const kind = random.weighted(weights);
    let lasts;
    if (kind === "hang") lasts = round(random.pick([random.between(0.1, 0.8), random.between(1.1, 3.5)]));
    if (kind.startsWith("restart")) lasts = round(random.pick([0.05, random.between(0.1, 0.8), random.between(1.1, 2.5)]));
    plan.push({ at: round(at), kind, ...(lasts === undefined ? {} : { lasts }) });
    at += lasts ?? 0;
  }
  return plan;
}

const round = (seconds) => Math.round(seconds * 100) / 100;

/** A schedule as text, a line for every ten faults. */
export function describe(plan) {
  const words = plan.map(({ at, kind, slot, lasts }) => {
    const whom = slot === undefined ? "" : ` ${slot}`;
    return `${at} ${kind}${whom}${lasts === undefined ? "" : ` for ${lasts}`}`;
  });
  const lines = [];
  for (let from = 0; from < words.length; from += 8) lines.push(`  ${words.slice(from, from + 8).join(" | ")}`);
  return lines.join("\n");
}
