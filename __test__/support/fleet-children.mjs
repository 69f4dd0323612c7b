/** Processes of a fleet that ask for sets of keys, and may be stopped or killed on the way. */
import { setTimeout as sleep } from "node:timers/promises";
import { startScript } from "./children.mjs";
import { settles } from "./waiting.mjs";

/** Asks for all of `sets` at once, with `apart` each through a `Locks` of its own, and stays inside each for `stayMs`. */
const CHILD = `
import { setTimeout as sleep } from "node:timers/promises";
const { sets, options, apart, stayMs, expire } = input;
const shared = new Locks(options);
const outcomes = sets.map(async (keys) => {
  const locks = apart ? new Locks(options) : shared;
  try {
    await locks.execute(keys, async (_signal, lock) => {
      say("inside", lock.fencingToken);
      await sleep(stayMs);
    }, { timeout: 60, expire });
  } catch (error) {
    say("failed", error.code);
  }
});
await Promise.all(outcomes);
say("done");
`;

/**
 * @param {object} options of its `Locks`
 * @param {(string | string[])[]} sets
 * @param {{ apart?: boolean, stayMs?: number, expire?: number }} [more]
 */
export const startChild = (options, sets, more = {}) => startScript(CHILD, { input: { options, sets, stayMs: 0, ...more } });

/** The fencing tokens with which a child was inside, in this order. */
export const insides = (child) => child.lines.filter((line) => line.startsWith("inside ")).map((line) => Number(line.split(" ")[1]));

/** Stops a process: every thread of it, however busy. */
export async function freeze(child) {
  child.kill("SIGSTOP");
  await sleep(200);
}

/** How long `promise` takes until it settles. */
export async function elapsed(promise, what) {
  const start = performance.now();
  await settles(promise, what);
  return performance.now() - start;
}
