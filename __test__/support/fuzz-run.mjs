/**
 * Runs one plan of calls (see `fuzz.mjs`) against the built package, in the process that is to survive it, and tells what
 * is wrong with what came of it.
 */
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { ARGS, argsOf, FIELDS, hostileOptions, KEYS } from "./fuzz-values.mjs";
import { JOBS } from "./fuzz-jobs.mjs";
import { LockError, Locks, providerEntry } from "./product.mjs";

/** The longest time that a call of a plan may take by its own arguments: every wait in it is shorter, or is ended. */
const LONGEST_WAIT_S = 0.06;
/** What may be added to that on a slow machine. */
const MARGIN_MS = 6_000;
/** For how long the next call waits for one that it is to follow, which may itself wait for what comes later. */
const SETTLES_SOON_MS = 100;
/** The longest time for which a call may keep the event loop before it returns. */
const BLOCKED_MAX_MS = 2_000;

/** What no call may fail with: a fault of the package, or words of Redis that no argument should lead to. */
const FAULTS = ["INTERNAL", "REDIS_ERROR", "INVALID_OPTION"];
const CODES = [
  "LOCK_HELD", "LOCK_TIMEOUT", "LOCK_SELF_WAIT", "LOCK_LOST", "INVALID_ARGUMENT", "LIMIT_EXCEEDED", "REDIS_UNREACHABLE", "CLOSED",
];

/** The names of values that stand for none. */
const NOTHING = ["undefined", "null"];

const require = createRequire(import.meta.url);

/** As a caller may extend the class. */
class OwnLocks extends Locks {
  execute(keys, job, ...rest) {
    return super.execute(keys, job, ...rest);
  }
}

function open(plan, connection, namespace) {
  const { acquireWait, ownerless, detectSelfWait } = plan;
  const choices = { acquireWait, ownerless, ...(detectSelfWait && { detectSelfWait }) };
  const options = { ...connection, namespace, ...choices, waitLockingTimeout: LONGEST_WAIT_S, shutdownGrace: 0.02 };
  if (plan.door === "locks") return new Locks(options);
  if (plan.door === "subclass") return new OwnLocks(options);
  const { services } = require(providerEntry).default;
  const logger = { warn() {} };
  const provider = new services[0]({ logger }, options);
  return Object.assign(provider, { close: () => provider.shutdown() });
}

const describe = (value) => {
  try {
    return value instanceof Error ? `${value.constructor.name} ${value.code ?? ""} ${value.stack}` : String(value);
  } catch {
    return "something that cannot be shown";
  }
};

/** The plan's locks, what was called on them, and what callers may see of their own. */
class World {
  faults = [];
  calls = [];
  #own = new Set();
  #kinds = new Set();
  #controllers = [];

  constructor(door, locks) {
    this.door = door;
    this.locks = locks;
  }

  mine = (value) => (this.#own.add(value), value);
  allows = (kind) => this.#kinds.add(kind);
  fault = (what) => this.faults.push(what);

  controller() {
    const controller = new AbortController();
    this.#controllers.push(controller);
    return controller;
  }

  soon(make) {
    const { signal } = this.controller();
    const controller = this.controller();
    setTimeout(() => this.#abort(controller, typeof make === "function" ? make() : new Error(make)), 5);
    return AbortSignal.any([signal, controller.signal]);
  }

  abortedWith(make) {
    const controller = this.controller();
    this.#abort(controller, make());
    return controller.signal;
  }

  timesOut() {
    this.allows(DOMException);
    return AbortSignal.timeout(8);
  }

  #abort(controller, reason) {
    controller.abort(reason);
    this.mine(controller.signal.reason);
  }

  giveUp = () => this.#controllers.forEach((controller) => this.#abort(controller, new Error("given up")));

  closing() {
    return this.call("close", []).then(() => undefined);
  }

  /** Makes a call that a fuzzed one must not be disturbed by; resolves whatever becomes of it. */
  call(name, args) {
    return this.make({ name, args, expected: {} }).settled;
  }

  make({ name, args, expected, owner }) {
    const made = { name, expected, owner, state: "pending", at: performance.now() };
    this.calls.push(made);
    let answer;
    try {
      answer = this.locks[name](...args);
    } catch (thrown) {
      made.state = "thrown";
      made.settled = Promise.resolve();
      this.fault(`${name} threw at its caller${expected.bad ? ` for ${expected.bad}` : ""}: ${describe(thrown)}`);
      return made;
    }
    const blockedMs = performance.now() - made.at;
    if (blockedMs > BLOCKED_MAX_MS) this.fault(`${name} kept the event loop for ${blockedMs} ms`);
    if (!(answer instanceof Promise)) {
      this.fault(`${name} returned no promise`);
      answer = Promise.resolve(answer);
    }
    made.promise = answer;
    made.settled = answer.then(
      (value) => {
        Object.assign(made, { state: "fulfilled", value });
        if (expected.bad) this.fault(`${name} took what it must refuse: ${expected.bad}`);
        if ("result" in expected && value !== expected.result) this.fault(`${name} resolved to ${describe(value)}`);
      },
      (reason) => {
        Object.assign(made, { state: "rejected", reason });
        this.#judge(name, reason, expected);
      },
    );
    return made;
  }

  #judge(name, reason, expected) {
    const refused = isOurs(this.door, reason) ? reason.code : undefined;
    if (expected.bad) {
      // A provider that was shut down before its first call has no locks to look at the arguments.
      const neverOpened = this.door === "provider" && refused === "CLOSED";
      if (refused !== "INVALID_ARGUMENT" && !neverOpened) this.fault(`${name} did not refuse ${expected.bad}, but said ${describe(reason)}`);
      return;
    }
    if (this.#own.has(reason)) return;
    if (refused === undefined) {
      const allowed = [...this.#kinds].some((kind) => reason instanceof kind);
      if (!allowed) this.fault(`${name} rejected with what is neither ours nor the caller's: ${describe(reason)}`);
      return;
    }
    if (FAULTS.includes(refused) || !CODES.includes(refused)) this.fault(`${name} failed with ${describe(reason)}`);
    if (refused === "INVALID_ARGUMENT" && !expected.odd) this.fault(`${name} refused what is right: ${reason.message}`);
  }
}

function isOurs(door, reason) {
  try {
    if (!(reason instanceof Error)) return false;
    return door === "provider" ? reason.__isMedusaError === true : reason instanceof LockError;
  } catch {
    return false;
  }
}

function make(world, step, index) {
  world.ownerOfStep = `step-${index}`;
  const keys = step.keys === undefined ? [] : [KEYS[step.keys].make(world)];
  // What a job sees of its own call. It runs after the call has returned, maybe long after.
  const own = { keys: KEYS[step.keys]?.bad ? "a" : keys[0], promise: undefined };
  const job = step.job === undefined ? [] : [JOBS[step.job].make(world, own)];
  const args = step.args === undefined ? [] : [argsOf(world, step.args)];
  const owner = step.args?.fields.ownerId === "of this step" ? world.ownerOfStep : undefined;
  const made = world.make({ name: step.call, args: [...keys, ...job, ...args], expected: expectation(step), owner });
  own.promise = made.promise;
  return made;
}

/** What must become of a step's call, as far as its arguments say. `bad` names the one to refuse. */
function expectation({ call, keys, job, args }) {
  const parts = [];
  const add = (what, name, table) => parts.push({ what: `${what} "${name}"`, ...table[name] });
  // Without keys, `inspect` shows all.
  if (keys !== undefined && !(call === "inspect" && NOTHING.includes(keys))) add("keys", keys, KEYS);
  if (job !== undefined) add("job", job, JOBS);
  if (args !== undefined) {
    add("args", args.kind, ARGS);
    if (!NOTHING.includes(args.kind) && !ARGS[args.kind].bad) {
      for (const [name, value] of Object.entries(args.fields)) if (name !== args.throwing) add(name, value, FIELDS[name]);
      if (args.throwing !== undefined) parts.push({ what: `${args.throwing} that throws ${args.thrown}`, bad: true });
    }
  }
  const result = parts.find((part) => "result" in part);
  return {
    bad: parts.find((part) => part.bad)?.what,
    odd: parts.some((part) => part.odd),
    stuck: parts.some((part) => part.stuck),
    ...(result && { result: result.result }),
  };
}

/** Options that cannot be read are refused by the class and by the provider, each with its own kind of error. */
function refuseOptions() {
  const [Provider] = require(providerEntry).default.services;
  const faults = [];
  for (const [name, options] of hostileOptions()) {
    const doors = { locks: () => new Locks(options), provider: () => Provider.validateOptions(options) };
    for (const [door, open] of Object.entries(doors)) {
      try {
        open();
        faults.push(`${door} took options "${name}"`);
      } catch (thrown) {
        const isRight = isOurs(door, thrown) && thrown.code === "INVALID_OPTION";
        if (!isRight) faults.push(`${door} said of options "${name}": ${describe(thrown)}`);
      }
    }
  }
  return faults;
}

/** Runs `plan` and resolves to what is wrong, as texts. */
export async function runPlan(plan, connection, namespace) {
  if (plan.refuseOptions) return refuseOptions();
  const locks = open(plan, connection, namespace);
  const world = new World(plan.door, locks);
  const observer = new Locks({ ...connection, namespace, ownerless: plan.ownerless });
  try {
    for (const [index, step] of plan.steps.entries()) {
      if (step.call === "stats") checkStats(world, locks);
      else {
        const made = make(world, step, index);
        if (step.pause === "settled") await Promise.race([made.settled, sleep(SETTLES_SOON_MS)]);
      }
      if (typeof step.pause === "number") await sleep(step.pause);
      else if (step.pause === "tick") await undefined;
    }
    await sleep(plan.settleMs);
    world.giveUp();
    const closed = world.make({ name: "close", args: [], expected: {} });
    await within(closed.settled, () => "close", world);
    const ended = world.calls.filter(({ expected }) => !expected.stuck);
    await within(Promise.all(ended.map(({ settled }) => settled)), () => `these settle: ${pending(ended)}`, world);
    if (closed.state === "rejected") world.fault(`close failed with ${describe(closed.reason)}`);
    await nothingLeft(world, observer);
  } finally {
    await observer.close();
  }
  return world.faults;
}

const pending = (calls) => calls.filter(({ state }) => state === "pending").map(({ name }) => name).join(", ");

async function within(promise, what, world) {
  const timer = new AbortController();
  const late = sleep(MARGIN_MS, "late", { signal: timer.signal }).catch(() => {});
  if ((await Promise.race([promise, late])) === "late") world.fault(`not within ${MARGIN_MS} ms: ${what()}`);
  timer.abort();
}

function checkStats(world, locks) {
  try {
    const { backend, keys, waiting } = locks.stats();
    if (!["memory", "redis"].includes(backend) || !(keys >= 0) || !(waiting >= 0)) world.fault(`stats: ${backend} ${keys} ${waiting}`);
  } catch (thrown) {
    // The provider is opened by its first call, and closed before any.
    if (thrown?.code !== "CLOSED") world.fault(`stats threw ${describe(thrown)}`);
  }
}

async function nothingLeft(world, observer) {
  const taken = new Set(world.calls.filter(({ state }) => state === "fulfilled").map(({ owner }) => owner));
  for (const { key, ownerId } of await observer.inspect()) {
    if (ownerId?.startsWith("execute:") && ownerId !== "execute:host:1:n:2#3") world.fault(`after close, a job still holds "${key}"`);
    if (ownerId?.startsWith("step-") && !taken.has(ownerId)) world.fault(`"${key}" is held by ${ownerId}, which was told that it is not`);
  }
  await observer.releaseAll();
  const left = await observer.inspect();
  if (left.length > 0) world.fault(`left after releaseAll: ${JSON.stringify(left)}`);
  for (const locks of [observer, world.locks]) {
    let stats = { keys: 0, waiting: 0 };
    try {
      stats = locks.stats();
    } catch {
      // A provider that was closed before its first call.
    }
    if (stats.keys + stats.waiting > 0) world.fault(`left in stats: ${JSON.stringify(stats)}`);
  }
}
