/**
 * The jobs that fuzzed `execute` calls are given, by name, as in `fuzz-values.mjs`; `step` is the call: its `keys` and its
 * `promise`. `stuck`: its `execute` never settles, and `close` has to take the lock. `result`: what it must resolve to.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { THROWN } from "./fuzz-values.mjs";

const ok = (make, result) => ({ make, ...(result === undefined ? {} : { result }) });
const bad = (value) => ({ make: () => value, bad: true });
const stuck = (make) => ({ make, stuck: true });

/** A thenable, in whose `then` this happens. */
const thenable = (then) => ({ then });
const never = () => new Promise(() => {});
const typeError = (world, run) => {
  // What the language itself says of such a job is the caller's own error.
  world.allows(TypeError);
  return run;
};

export const JOBS = {
  value: ok(() => () => 7, 7),
  async: ok(() => async () => 7, 7),
  slow: ok(() => () => sleep(3, 7), 7),
  "looks at its arguments": ok(
    () => async (signal, lock) => (signal instanceof AbortSignal && Array.isArray(lock.keys) && lock.fencingToken >= 0 ? 7 : 8),
    7,
  ),
  ...Object.fromEntries(
    Object.entries(THROWN).flatMap(([name, make]) => [
      [`throws ${name}`, ok((world) => () => { throw world.mine(make()); })],
      [`rejects with ${name}`, ok((world) => async (signal) => Promise.reject(world.mine(make())))],
    ]),
  ),
  "throws its signal's reason": ok((world) => async (signal) => {
    await sleep(2);
    throw world.mine(signal.reason ?? new Error("not aborted"));
  }),
  thenable: ok(() => () => thenable((resolve) => resolve(7)), 7),
  "thenable, twice": ok(() => () => thenable((resolve, reject) => [resolve(7), resolve(8), reject(new Error("late"))]), 7),
  "thenable, later and thrice": ok(
    () => () => thenable((resolve) => [1, 2, 3].forEach((ms) => setTimeout(resolve, ms, 7))),
    7,
  ),
  "thenable of thenables": ok(() => () => thenable((resolve) => resolve(thenable((inner) => inner(7)))), 7),
  "thenable, throws": ok((world) => () => thenable(() => { throw world.mine(new Error("then")); })),
  "thenable, resolves and throws": ok(() => () => thenable((resolve) => { resolve(7); throw new Error("late"); }), 7),
  "thenable, never": stuck(() => () => thenable(() => {})),
  "then is a getter that throws": ok((world) => () =>
    Object.defineProperty({}, "then", { get: () => { throw world.mine(new Error("then")); } })),
  "then appears at the second look": ok((world) => () => {
    let looks = 0;
    const get = () => ((looks += 1) > 1 ? (_, reject) => reject(world.mine(new Error("second look"))) : undefined);
    return Object.defineProperty({}, "then", { get });
  }),
  "never settles": stuck(() => never),
  "never settles, async": stuck(() => async (signal) => { await never(); }),
  "waits for its own execute": stuck((_, step) => () => step.promise),
  "waits for its signal": stuck(() => (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve))),
  class: ok((world) => typeError(world, class Job {})),
  "generator function": ok(() => function* () { yield 1; }),
  "async generator": ok(() => async function* () { yield 1; }),
  bound: ok(() => (() => 7).bind(null), 7),
  method: ok(() => ({ job() { return 7; } }).job, 7),
  proxy: ok(() => new Proxy(() => 7, {}), 7),
  "proxy whose get throws": ok((world) => new Proxy(() => 7, { get: () => { throw world.mine(new Error("get")); } })),
  "revoked proxy": ok((world) => {
    const { proxy, revoke } = Proxy.revocable(() => 7, {});
    revoke();
    return typeError(world, proxy);
  }),
  "length is a symbol": ok((world) => typeError(world, Object.defineProperty(() => 7, "length", { value: Symbol("length") }))),
  "length throws": ok((world) =>
    Object.defineProperty(() => 7, "length", { get: () => { throw world.mine(new Error("length")); } })),
  "native function": ok(() => Math.max),
  undefined: bad(undefined),
  null: bad(null),
  text: bad("job"),
  object: bad({ call() {} }),
  promise: bad(Promise.resolve()),
  regexp: bad(/job/),

  // Calls from within the job. None is awaited for ever: the lock that the job holds may be what they wait for.
  "the same keys again": ok((world, step) => async () => {
    await world.call("execute", [step.keys, () => 8, { timeout: 0.01 }]);
    return 7;
  }, 7),
  "other keys": ok((world) => async () => {
    await world.call("execute", ["inner", () => 8, { timeout: 0.2 }]);
    return 7;
  }, 7),
  "a deep nest": ok((world) => async () => {
    const nest = (depth) => (depth === 0 ? 7 : world.call("execute", [`nest ${depth}`, () => nest(depth - 1), { timeout: 0.02 }]));
    await nest(20);
    return 7;
  }, 7),
  "acquires its own keys": ok((world, step) => async () => void (await world.call("acquire", [step.keys, { ownerId: "me" }]))),
  "waits in vain for its own keys": ok((world, step) => async () =>
    void (await world.call("acquire", [step.keys, { awaitQueue: true, timeout: 0.01 }]))),
  "releases itself": ok((world) => async (_, lock) =>
    void (await world.call("release", [lock.keys, { ownerId: lock.ownerId || null }]))),
  "releases all": ok((world) => async () => void (await world.call("releaseAll", []))),
  "changes what it was given": ok(() => (_, lock) => {
    lock.keys.length = 0;
    Object.assign(lock, { ownerId: null, fencingToken: NaN });
  }),
  "looks around": ok((world, step) => async () => {
    await world.call("inspect", []);
    await world.call("inspect", [step.keys]);
    return 7;
  }, 7),
  "closes, and waits for that": ok((world) => async () => void (await world.closing())),
  "closes, and throws": ok((world) => () => {
    void world.closing();
    throw world.mine(new Error("after close"));
  }),
  "gives up what all others wait for": ok((world) => async () => {
    world.giveUp();
    await sleep(1);
  }),
};
