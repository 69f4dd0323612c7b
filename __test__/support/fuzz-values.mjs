/**
 * The values that fuzzed calls are made with, by name: a plan is JSON and names them, the process that runs it makes them.
 *
 * Every table maps a name to `{ make(world), bad?, odd?, stuck? }`. `bad`: the call must be refused as INVALID_ARGUMENT.
 * `odd`: it may be, and it may go on. `stuck`: a job that ends with its process. `world.mine(value)` marks a value that a
 * call may reject with, because it is the caller's own.
 */
import { runInNewContext } from "node:vm";

const KEY_BYTES_MAX = 16_384;
const KEYS_GIVEN_MAX = 100_000;
const HUGE_TEXT = 10 * 1024 * 1024;
const TEN_YEARS_S = 315_360_000;

const good = (make) => ({ make: typeof make === "function" ? make : () => make });
const bad = (make) => ({ ...good(make), bad: true });
const odd = (make) => ({ ...good(make), odd: true });
const just = (value) => () => value;

class OwnArray extends Array {}
class OwnString extends String {}

function revoked(target = {}) {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** A proxy each of whose traps throws, itself if nothing else is named. */
function hostile(target = {}, thrown) {
  const trap = () => {
    throw thrown ?? proxy;
  };
  const traps = ["get", "set", "has", "getPrototypeOf", "ownKeys", "getOwnPropertyDescriptor", "defineProperty"];
  const proxy = new Proxy(target, Object.fromEntries(traps.map((name) => [name, trap])));
  return proxy;
}

const thrower = (thrown) => () => {
  throw thrown;
};
const withGetter = (target, name, get) => Object.defineProperty(target, name, { get, enumerable: true, configurable: true });
/** Like `Object.assign`, but calls no getter. */
const copyOnto = (target, from) => Object.defineProperties(target, Object.getOwnPropertyDescriptors(from));
const lengthOf = (length) => new Proxy(["a", "b"], { get: (keys, name) => (name === "length" ? length : keys[name]) });
const many = (count, name) => Array.from({ length: count }, (_, n) => name(n));

/** What is thrown by getters, jobs and aborts. */
export const THROWN = {
  error: () => new Error("the caller's own"),
  undefined: just(undefined),
  null: just(null),
  text: just("the caller's own text"),
  symbol: () => Symbol("own"),
  "revoked proxy": () => revoked(),
  "hostile proxy": () => hostile(),
  "error with hostile code": () => withGetter(new Error("own"), "code", thrower(new Error("code"))),
  "error with hostile message": () => withGetter(new Error("own"), "message", thrower(new Error("message"))),
  "error with our code": () => Object.assign(new Error("own"), { code: "LOCK_LOST" }),
  "frozen error": () => Object.freeze(new Error("own")),
};
const thrownKinds = Object.entries(THROWN);
const perThrown = (what, entry) => Object.fromEntries(thrownKinds.map(([name, make]) => [`${what} ${name}`, entry(make)]));

export const KEYS = {
  a: good(just("a")),
  b: good(just("b")),
  "[a, b]": good(() => ["a", "b"]),
  "[b, a, a]": good(() => ["b", "a", "a"]),
  "[b, c]": good(() => ["b", "c"]),
  "[]": good(() => []),
  "own array": good(() => OwnArray.from(["a", "c"])),
  "frozen array": good(() => Object.freeze(["a"])),
  "foreign array": good(() => runInNewContext("['a', 'b']")),
  "transparent proxy": good(() => new Proxy(["a", "b"], {})),
  "getter for a key": good(() => withGetter([], 0, () => "a")),
  "grows while it is read": good(() => {
    const keys = ["", "b"];
    return withGetter(keys, 0, () => (keys.push("c"), "a"));
  }),
  "hostile iterator": good(() => Object.assign(["a"], { [Symbol.iterator]: thrower(new Error("iterated")), sort: null })),
  "the longest": good(() => "k".repeat(KEY_BYTES_MAX)),
  "odd text": good(just("\u0000{}*\r\n__proto__ \u{1f512}")),
  "as many as may be": good(() => many(1_000, (n) => `k${n}`)),
  "100,000 times a": good(() => many(KEYS_GIVEN_MAX, () => "a")),
  undefined: bad(just(undefined)),
  null: bad(just(null)),
  number: bad(just(42)),
  NaN: bad(just(NaN)),
  bigint: bad(() => 10n ** 5_000n),
  boolean: bad(just(true)),
  symbol: bad(() => Symbol("k".repeat(10_000))),
  function: bad(() => () => "a"),
  object: bad(() => ({ key: "a" })),
  "null prototype": bad(() => Object.create(null)),
  "array-like": bad(() => ({ length: 1, 0: "a" })),
  "String object": bad(() => new String("a")),
  "own String": bad(() => new OwnString("a")),
  "array of String objects": bad(() => [new OwnString("a")]),
  Set: bad(() => new Set(["a"])),
  generator: bad(() => (function* () { yield "a"; })()),
  iterable: bad(() => ({ [Symbol.iterator]: () => ["a"][Symbol.iterator]() })),
  Buffer: bad(() => Buffer.from("a")),
  promise: bad(() => Promise.resolve("a")),
  "poisoned toString": bad(() => ({ toString: thrower(new Error("read")), toJSON: thrower(new Error("read")) })),
  "empty text": bad(just("")),
  "[a, empty]": bad(() => ["a", ""]),
  hole: bad(() => ["a", , "b"]),
  "only holes": bad(() => new Array(3)),
  nested: bad(() => ["a", ["b"]]),
  "[null]": bad(() => [null]),
  "lone surrogate": bad(just("a\ud800")),
  "lone surrogate in an array": bad(() => ["a", "\udc00b"]),
  "10 MB": bad(() => "k".repeat(HUGE_TEXT)),
  "10 MB in an array": bad(() => ["a", "\ud800".repeat(HUGE_TEXT / 2)]),
  "one byte too long": bad(() => `${"ü".repeat(KEY_BYTES_MAX / 2)}k`),
  "100,000 keys": bad(() => many(KEYS_GIVEN_MAX, (n) => `k${n}`)),
  "100,001 times a": bad(() => many(KEYS_GIVEN_MAX + 1, () => "a")),
  "four billion holes": bad(() => new Array(2 ** 32 - 1)),
  "revoked proxy": bad(() => revoked([])),
  "hostile proxy": bad(() => hostile(["a"], new Error("trapped"))),
  "self-throwing proxy": bad(() => hostile(["a"])),
  "length NaN": bad(() => lengthOf(NaN)),
  "length -1": bad(() => lengthOf(-1)),
  "length 0.5": odd(() => lengthOf(0.5)),
  "length Infinity": bad(() => lengthOf(Infinity)),
  "length text": odd(() => lengthOf("2")),
  "length undefined": bad(() => lengthOf(undefined)),
  "length bigint": odd(() => lengthOf(2n)),
  "length symbol": bad(() => lengthOf(Symbol("length"))),
  "length that grows": bad(() => {
    let length = 0;
    return lengthOf({ valueOf: () => Math.min((length += 1_000), 2_000_000) });
  }),
  ...perThrown("a getter throws", (make) => bad(() => withGetter(["a", "b"], 1, thrower(make())))),
};

const badTimes = {
  NaN: bad(just(NaN)),
  negative: bad(just(-Number.MIN_VALUE)),
  Infinity: bad(just(Infinity)),
  huge: bad(just(1e300)),
  "over ten years": bad(just(TEN_YEARS_S + 1)),
  bigint: bad(() => 5n),
  "huge bigint": bad(() => 10n ** 100_000n),
  text: bad(just("1")),
  Number: bad(() => new Number(1)),
  valueOf: bad(() => ({ valueOf: () => 1 })),
  Date: bad(() => new Date()),
  symbol: bad(() => Symbol("time")),
  true: bad(just(true)),
  "revoked proxy": bad(() => revoked()),
};
const goodTimes = { undefined: good(just(undefined)), null: good(just(null)), 0: good(just(0)), "-0": good(just(-0)) };
const tiny = { "5e-324": good(just(Number.MIN_VALUE)), 0.001: good(just(0.001)) };

/** What fields of `args` may be. A getter that throws goes by the same name for each: see {@link argsOf}. */
export const FIELDS = {
  timeout: { ...goodTimes, ...tiny, 0.02: good(just(0.02)), 0.05: good(just(0.05)), "ten years": good(just(TEN_YEARS_S)), ...badTimes },
  expire: { ...goodTimes, ...tiny, 0.1: good(just(0.1)), 0.3: good(just(0.3)), "ten years": good(just(TEN_YEARS_S)), ...badTimes },
  ownerId: {
    undefined: good(just(undefined)),
    null: good(just(null)),
    "*": good(just("*")),
    me: good(just("me")),
    you: good(just("you")),
    "of this step": good((world) => world.ownerOfStep),
    "like a job": good(just("execute:host:1:n:2#3")),
    empty: bad(just("")),
    number: bad(just(42)),
    surrogate: bad(just("\udfff")),
    "10 MB": bad(() => "o".repeat(HUGE_TEXT)),
    "String object": bad(() => new String("me")),
    array: bad(() => ["me"]),
    symbol: bad(() => Symbol("me")),
    "self-throwing proxy": bad(() => hostile()),
  },
  awaitQueue: {
    undefined: good(just(undefined)),
    null: good(just(null)),
    true: good(just(true)),
    false: good(just(false)),
    1: bad(just(1)),
    text: bad(just("yes")),
    Boolean: bad(() => new Boolean(false)),
    "hostile proxy": bad(() => hostile()),
  },
};

const fakeSignal = (parts) => () => ({ aborted: false, addEventListener() {}, removeEventListener() {}, ...parts });
const nthRead = (from, then) => (world) => {
  let reads = 0;
  const signal = fakeSignal({ reason: world.mine("the signal's own reason") })();
  return withGetter(signal, "aborted", () => ((reads += 1) >= from ? then(world) : false));
};
const throwsMine = (world) => {
  throw world.mine(new Error("the signal's own error"));
};

FIELDS.signal = {
  undefined: good(just(undefined)),
  null: good(just(null)),
  live: good((world) => world.controller().signal),
  "soon aborted": good((world) => AbortSignal.any([world.controller().signal, world.soon("error")])),
  "times out": good((world) => world.timesOut()),
  ...perThrown("aborts with", (make) => good((world) => world.soon(make))),
  ...perThrown("aborted with", (make) => good((world) => world.abortedWith(make))),
  "aborted without a reason": good((world) => world.abortedWith(just(undefined))),
  text: bad(just("stop")),
  true: bad(just(true)),
  object: bad(() => ({})),
  EventTarget: bad(() => new EventTarget()),
  controller: bad(() => new AbortController()),
  "its aborted is no flag": bad(fakeSignal({ aborted: "no" })),
  "its methods are no functions": bad(fakeSignal({ addEventListener: true })),
  function: bad(() => Object.assign(() => {}, fakeSignal({})())),
  "proxy of a signal": odd(() => new Proxy(new AbortController().signal, {})),
  "revoked proxy": bad(() => revoked()),
  "hostile proxy": bad(() => hostile({}, new Error("trapped"))),
  "self-throwing proxy": bad(() => hostile()),
  "fake and deaf": odd(fakeSignal({})),
  "fake, throws when listened to": odd(fakeSignal({ addEventListener: thrower(new Error("deaf")) })),
  "fake, throws itself when listened to": odd(fakeSignal({ addEventListener: thrower(hostile()) })),
  "fake, throws when left": odd(fakeSignal({ removeEventListener: thrower(hostile()) })),
  "fake, its reason throws": odd((world) => withGetter(nthRead(2, just(true))(world), "reason", () => throwsMine(world))),
  "fake, fires at once": odd((world) => fakeSignal({ reason: world.mine("fired"), addEventListener: (_, fire) => fire() })()),
  "fake, fires thrice": odd((world) =>
    fakeSignal({
      reason: world.mine("fired"),
      addEventListener: (_, fire) => [0, 1, 2].map((ms) => setTimeout(fire, ms)),
    })()),
  "fake, its listening closes": odd((world) => fakeSignal({ addEventListener: () => void world.closing() })()),
  "fake, its looks release all": odd((world) => withGetter(fakeSignal({})(), "aborted", () => (world.call("releaseAll", []), false))),
  ...Object.fromEntries([2, 3, 4].map((n) => [`fake, aborted at look ${n}`, odd(nthRead(n, just(true)))])),
  ...Object.fromEntries([2, 3, 4].map((n) => [`fake, throws at look ${n}`, odd(nthRead(n, throwsMine))])),
};

/** What `args` may be around their fields. */
export const ARGS = {
  plain: good((_, fields) => fields),
  undefined: good(just(undefined)),
  null: good(just(null)),
  "null prototype": good((_, fields) => copyOnto(Object.create(null), fields)),
  inherited: good((_, fields) => Object.create(fields)),
  frozen: good((_, fields) => Object.freeze(fields)),
  array: good((_, fields) => copyOnto([], fields)),
  "unknown fields": good((_, fields) =>
    withGetter(copyOnto({ ttl: 5, then: 1, __proto__: { a: 1 } }, fields), "ownerID", thrower(new Error("read")))),
  "transparent proxy": good((_, fields) => new Proxy(fields, {})),
  "proxy that denies what it has": good((_, fields) => new Proxy(fields, { has: just(false), ownKeys: () => [] })),
  number: bad(just(5)),
  text: bad(just("timeout")),
  true: bad(just(true)),
  symbol: bad(() => Symbol("args")),
  bigint: bad(() => 5n),
  function: bad(() => () => {}),
  "revoked proxy": bad(() => revoked()),
  "hostile proxy": bad(() => hostile({}, new Error("trapped"))),
  "self-throwing proxy": bad(() => hostile()),
};

/** `args` of the container called `kind` with these fields; `throwing` names one whose getter throws what `thrown` names. */
export function argsOf(world, { kind, fields, throwing, thrown }) {
  const made = Object.entries(fields).map(([name, value]) => [name, FIELDS[name][value].make(world)]);
  const args = Object.fromEntries(made);
  if (throwing !== undefined) withGetter(args, throwing, thrower(THROWN[thrown]()));
  return ARGS[kind].make(world, args);
}

/** Options that nothing can be made of, by name. */
export function hostileOptions() {
  const getters = ["namespace", "lease", "redisUrl", "redisOptions", "unheard of"].flatMap((name) =>
    thrownKinds.map(([kind, make]) => [`${name} throws ${kind}`, withGetter({}, name, thrower(make()))]));
  const inner = thrownKinds.map(([kind, make]) => [`tls throws ${kind}`, { redisOptions: withGetter({}, "tls", thrower(make())) }]);
  const values = Object.entries(KEYS).filter(([, { bad: isBad }]) => isBad);
  const namespaces = values.map(([name, { make }]) => [`namespace ${name}`, make()]).filter(([, value]) => (value ?? "a") !== "a");
  return [
    ...getters,
    ...inner,
    ...namespaces.map(([name, namespace]) => [name, { namespace }]),
    ["revoked proxy", revoked()],
    ["hostile proxy", hostile({}, new Error("trapped"))],
    ["self-throwing proxy", hostile()],
    ["text", "memory"],
    ["function", () => ({})],
    ["array", []],
  ];
}
