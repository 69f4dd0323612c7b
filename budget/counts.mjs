// What is counted, for each operation, and how it is worded.

/**
 * @typedef {object} Count
 * @property {string} words after the number
 * @property {number} digits behind the point
 */

/** @type {Record<string, Count>} by the names in budgets.mjs */
export const counts = {
  scriptCalls: { words: "script calls", digits: 2 },
  commands: { words: "commands", digits: 2 },
  bytesIn: { words: "bytes to the server", digits: 0 },
  bytesOut: { words: "bytes from the server", digits: 0 },
  crossings: { words: "calls into the addon", digits: 2 },
  callbacks: { words: "callbacks into JavaScript", digits: 2 },
  ioSleeps: { words: "sleeps of the I/O thread", digits: 2 },
  ioWakeups: { words: "wake-ups of the I/O thread by callers", digits: 2 },
  clockWakeups: { words: "wake-ups of the clock thread", digits: 2 },
  heapBytes: { words: "bytes of JavaScript heap", digits: 0 },
  allocations: { words: "allocations in Rust", digits: 2 },
  allocatedBytes: { words: "bytes allocated in Rust", digits: 0 },
  instructions: { words: "instructions in Rust", digits: 0 },
};

/** "2.40 commands" */
export function inWords(name, value) {
  const { words, digits } = counts[name];
  return `${value.toFixed(digits)} ${words}`;
}
