// Runs other programs: quietly behind one line of text, or with their output shown and counted.
// Node built-ins only: this runs before any npm package is installed.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The top folder of the repository; every command runs there. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/** A failure that is told to the user as it is, without a stack. */
export class Failure extends Error {}

/** The command line of npm, as `[program, ...arguments]`: the npm that runs us where there is one. */
export function npmCommand(...args) {
  const cli = process.env.npm_execpath;
  if (cli?.endsWith(".js")) return [process.execPath, cli, ...args];
  return [process.platform === "win32" ? "npm.cmd" : "npm", ...args];
}

/**
 * Runs a command to its end.
 *
 * `onText(text)` is given what it prints as it comes. Resolves with its exit code (128 and more for a signal)
 * and everything that it printed; rejects only when it cannot be started.
 */
export function run([program, ...args], { env = {}, onText = () => {}, cwd = root } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      shell: program.endsWith(".cmd"),
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => {
        output += text;
        onText(text);
      });
    }
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code: signal ? 128 : code, signal, output }));
  });
}

/**
 * Runs a command with one line to show for it: what it does, then how long it took. Its own output appears
 * only when it fails.
 *
 * @throws {Failure} when the command fails; `hints` are pairs of a pattern in its output and the advice to add.
 */
export async function quietly(label, command, { hints = [], env, cwd } = {}) {
  process.stdout.write(`${label} ... `);
  const started = performance.now();
  const { code, output } = await run(command, { env, cwd });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (code === 0) {
    console.log(`${seconds} s`);
    return;
  }
  console.log(`failed after ${seconds} s\n`);
  console.error(output.trimEnd());
  const advice = hints.filter(([pattern]) => pattern.test(output)).map(([, text]) => `\n${text}`);
  throw new Failure(`\`${command.join(" ")}\` ended with code ${code}${advice.join("")}`);
}

/** Runs a script's main function; a `Failure` is printed as text, anything else with its stack. Both exit with 1. */
export async function main(body) {
  try {
    await body();
  } catch (error) {
    console.error(error instanceof Failure ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}
