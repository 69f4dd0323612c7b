/**
 * Plans of calls, made from a seed. A plan is JSON: what to call, with which of the values of `fuzz-values.mjs` and
 * `fuzz-jobs.mjs`, in which order. So one can be printed, made smaller, and run again.
 */
import { JOBS } from "./fuzz-jobs.mjs";
import { ARGS, FIELDS, KEYS, THROWN } from "./fuzz-values.mjs";

/** How often a plan that fails is tried with less in it. */
const SHRINK_RUNS_MAX = 60;

/** A generator of numbers in [0, 1) that is the same for the same seed: mulberry32, by Tommy Ettinger. */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of several, as `draw` says. */
export const pick = (draw, values) => values[Math.floor(draw() * values.length)];

const FIELDS_OF = {
  execute: ["timeout", "expire", "signal"],
  acquire: ["ownerId", "timeout", "expire", "awaitQueue", "signal"],
  release: ["ownerId"],
  releaseAll: ["ownerId"],
};
const CALLS = Object.entries({ execute: 10, acquire: 6, release: 4, releaseAll: 1, inspect: 2, stats: 1, close: 0.3 });
const PAUSES = ["none", "none", "tick", 0, 2, "settled"];

/** Contention needs the same few keys most of the time, and a plan of nothing but bad values takes no lock at all. */
const USUAL_KEYS = ["a", "b", "[a, b]", "[b, c]", "[b, a, a]"];
const WELL = 0.75;

const isWell = ([, { bad, odd }]) => !bad && !odd;
const names = (table, only = () => true) => Object.entries(table).filter(only).map(([name]) => name);

/** A value of `table`: mostly one that the call has to take. */
const valueOf = (draw, table) => pick(draw, names(table, draw() < WELL ? isWell : undefined));

function pickCall(draw) {
  let left = draw() * CALLS.reduce((sum, [, weight]) => sum + weight, 0);
  return CALLS.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "execute";
}

function argsFor(draw, call) {
  const fields = {};
  for (const name of FIELDS_OF[call]) if (draw() < 0.5) fields[name] = valueOf(draw, FIELDS[name]);
  const throws = draw() < 0.04 ? { throwing: pick(draw, FIELDS_OF[call]), thrown: pick(draw, names(THROWN)) } : {};
  const kind = draw() < WELL ? "plain" : valueOf(draw, ARGS);
  return { kind, fields, ...throws };
}

function stepOf(draw) {
  const call = pickCall(draw);
  const step = { call };
  if (["execute", "acquire", "release", "inspect"].includes(call)) {
    step.keys = draw() < WELL ? pick(draw, USUAL_KEYS) : valueOf(draw, KEYS);
  }
  if (call === "execute") step.job = valueOf(draw, JOBS);
  if (call in FIELDS_OF && draw() < 0.8) step.args = argsFor(draw, call);
  const pause = pick(draw, PAUSES);
  if (pause !== "none") step.pause = pause;
  return step;
}

/** The plan of this seed. */
function planOf(seed) {
  const draw = random(seed);
  const steps = Array.from({ length: 2 + Math.floor(draw() * 14) }, () => stepOf(draw));
  return {
    seed,
    door: pick(draw, ["locks", "provider", "subclass"]),
    ownerless: pick(draw, ["exclusive", "exclusive", "open"]),
    acquireWait: pick(draw, [0, 0, 0.02]),
    detectSelfWait: pick(draw, ["always", "before-await", "never"]),
    settleMs: pick(draw, [0, 5, 40]),
    steps,
  };
}

/** Plans that have every value in every place once, one call after the other, so that no seed can leave one out. */
function sweeps() {
  const settled = { pause: "settled" };
  const keys = ["execute", "acquire", "release", "inspect"].flatMap((call) =>
    names(KEYS).map((name) => ({ call, keys: name, ...(call === "execute" && { job: "value" }), ...settled })));
  const args = Object.entries(FIELDS_OF).flatMap(([call, fields]) => {
    const rest = { call, ...(call !== "releaseAll" && { keys: "b" }), ...(call === "execute" && { job: "async" }), ...settled };
    const kinds = names(ARGS).map((kind) => ({ ...rest, args: { kind, fields: {} } }));
    const values = fields.flatMap((field) =>
      names(FIELDS[field]).map((name) => ({ ...rest, args: { kind: "plain", fields: { [field]: name } } })));
    const getters = fields.flatMap((throwing) =>
      names(THROWN).map((thrown) => ({ ...rest, args: { kind: "plain", fields: {}, throwing, thrown } })));
    const all = [...kinds, ...values, ...getters];
    // Else all but the first would find the lock held.
    return call === "acquire" ? all.flatMap((step) => [step, { call: "releaseAll", ...settled }]) : all;
  });
  const jobs = ["a", "[]"].flatMap((name) => names(JOBS).map((job) => ({ call: "execute", keys: name, job, ...settled })));
  return ["locks", "provider"].flatMap((door) =>
    [keys, args].flatMap(inParts).concat(jobs.map((step) => [step])).map((steps) => ({ door, settleMs: 0, steps })));
}

/** A call that waits for its keys, or that closes, must not be what most of a sweep runs into. */
function inParts(steps) {
  const parts = [];
  for (let at = 0; at < steps.length; at += 40) parts.push(steps.slice(at, at + 40));
  return parts;
}

/** The plans that `{ plan }`, `{ sweeps: true }` or `{ from, count }` names: too many to be told to a process one by one. */
export function plansOf({ plan, sweeps: all, from, count }) {
  if (plan !== undefined) return [plan];
  return all ? [{ refuseOptions: true, steps: [] }, ...sweeps()] : Array.from({ length: count }, (_, n) => planOf(from + n));
}

/** The smallest plan that is still found for which `fails` resolves to true, made from `plan`, for which it does. */
export async function shrink(plan, fails) {
  let smallest = plan;
  let runs = 0;
  const tried = async (candidate) => {
    if (runs >= SHRINK_RUNS_MAX) return false;
    runs += 1;
    if (!(await fails(candidate))) return false;
    smallest = candidate;
    return true;
  };
  for (let size = Math.ceil(plan.steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < smallest.steps.length; ) {
      const steps = smallest.steps.toSpliced(at, size);
      if (!(await tried({ ...smallest, steps }))) at += size;
    }
  }
  for (let at = 0; at < smallest.steps.length; at += 1) {
    for (const part of ["args", "pause"]) {
      const { [part]: dropped, ...step } = smallest.steps[at];
      if (dropped !== undefined) await tried({ ...smallest, steps: smallest.steps.with(at, step) });
    }
    for (const field of Object.keys(smallest.steps[at].args?.fields ?? {})) {
      const step = structuredClone(smallest.steps[at]);
      delete step.args.fields[field];
      await tried({ ...smallest, steps: smallest.steps.with(at, step) });
    }
  }
  return smallest;
}
