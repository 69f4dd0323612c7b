/** Other processes that use the product: started by a test, seen through the lines they print, stopped by their pid. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { nativeEntry, projectRoot } from "./product.mjs";
import { PATIENCE_MS, settles, until } from "./waiting.mjs";

const running = new Set();

/** What every script starts with: the product, `input` as the test gave it, and `say` to print a line at once. */
const prelude = (input) => `
import { createRequire } from "node:module";
import { writeSync } from "node:fs";
const require = createRequire(${JSON.stringify(nativeEntry)});
const { Locks, LockError } = require(${JSON.stringify(nativeEntry)});
const input = ${JSON.stringify(input)};
const say = (...words) => writeSync(1, words.join(" ") + "\\n");
`;

/**
 * Runs `source` as an ES module in a process of its own.
 * @param {string} source its text; it finds `Locks`, `LockError`, `require`, `input` and `say(...)`
 * @param {{ input?: unknown, nodeArgs?: string[] }} [options] `input`: any JSON
 */
export function startScript(source, { input = {}, nodeArgs = [] } = {}) {
  const process_ = spawn(
    process.execPath,
    [...nodeArgs, "--input-type=module", "--eval", prelude(input) + source],
    { cwd: projectRoot, stdio: ["ignore", "pipe", "pipe"] },
  );
  running.add(process_);
  const lines = [];
  let errors = "";
  createInterface({ input: process_.stdout }).on("line", (line) => lines.push(line));
  process_.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
  const exited = new Promise((resolve) => {
    process_.on("close", (code, signal) => {
      running.delete(process_);
      resolve({ code, signal, errors });
    });
  });
  return {
    pid: process_.pid,
    lines,
    exited,
    kill: (signal = "SIGKILL") => process_.kill(signal),
    errors: () => errors,
    /** The first line that begins with `word`, without it. */
    async line(word, withinMs = PATIENCE_MS) {
      const starts = (line) => line === word || line.startsWith(`${word} `);
      await until(
        () => lines.some(starts) || process_.exitCode !== null || process_.signalCode !== null,
        `a line "${word}" from the child; it printed ${JSON.stringify(lines)} ${errors}`,
        withinMs,
      );
      await until(
        () => lines.some(starts),
        `a line "${word}"; the child ended (${process_.exitCode ?? process_.signalCode}) after ${JSON.stringify(lines)} ${errors}`,
        1_000,
      );
      return lines.find(starts).slice(word.length + 1);
    },
    /** Waits for the process to end by itself and fails where it does not. */
    ends: (withinMs = PATIENCE_MS) =>
      settles(exited, `the child exits by itself; it printed ${JSON.stringify(lines)} ${errors}`, withinMs),
  };
}

/** Ends what a failed test left running. */
export async function stopScripts() {
  const ending = [...running].map(
    (child) =>
      new Promise((resolve) => {
        child.once("close", resolve);
        child.kill("SIGKILL");
      }),
  );
  await Promise.all(ending);
}
