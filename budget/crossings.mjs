// Counts the crossings between JavaScript and Rust, from the side of JavaScript: every call into the addon, and every
// callback out of it.

/** The calls that are made for every lock, by how many arguments they take: counting must not allocate. */
const counted = {
  1: (crossings, call) => (argument) => {
    crossings.calls += 1;
    return call(argument);
  },
  2: (crossings, call) => (first, second) => {
    crossings.calls += 1;
    return call(first, second);
  },
  3: (crossings, call) => (first, second, third) => {
    crossings.calls += 1;
    return call(first, second, third);
  },
  4: (crossings, call) => (first, second, third, fourth) => {
    crossings.calls += 1;
    return call(first, second, third, fourth);
  },
};
const argumentsOf = { execute: 3, acquire: 4, finish: 1, release: 2 };

/**
 * Has `addon` count, for everything that is made with it from here on.
 *
 * @returns {{ calls: number, callbacks: number }} kept up to date
 */
export function countCrossings(addon) {
  const crossings = { calls: 0, callbacks: 0 };
  const { Mailbox, NativeLocks } = addon;
  for (const { prototype } of [Mailbox, NativeLocks]) countMethods(crossings, prototype);
  const { drainer } = Mailbox.prototype;
  Mailbox.prototype.drainer = function () {
    return counted[1](crossings, drainer.call(this));
  };
  const { calls } = NativeLocks.prototype;
  NativeLocks.prototype.calls = function () {
    const functions = Object.entries(calls.call(this));
    return Object.fromEntries(functions.map(([name, call]) => [name, counted[argumentsOf[name]](crossings, call)]));
  };
  addon.Mailbox = class {
    constructor(onReady) {
      return new Mailbox(() => {
        crossings.callbacks += 1;
        onReady();
      });
    }
  };
  return crossings;
}

function countMethods(crossings, prototype) {
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (typeof value !== "function" || name === "constructor") continue;
    prototype[name] = function (...all) {
      crossings.calls += 1;
      return value.apply(this, all);
    };
  }
}
