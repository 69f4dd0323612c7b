// Starts servers that end with this process, whatever becomes of it. Node built-ins only.

import { spawn } from "node:child_process";
import { accessSync, constants, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, join } from "node:path";

/** How long a new server may take until it is ready, unless it is given longer. */
const START_TIMEOUT_MS = 15_000;
/** How long a server may take to end when asked to, before it is killed. */
const STOP_TIMEOUT_MS = 3_000;
/** How much of the end of what a server prints is kept. */
const LOG_LENGTH_MAX = 64_000;

/** Whether a file can be run. */
export function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The path of the first of these programs that is in PATH or in one of the `more` folders, or undefined. */
export function findProgram(names, more = []) {
  const folders = [...(process.env.PATH ?? "").split(delimiter).filter(Boolean), ...more];
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isProgram);
}

/** A loopback port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

// The server ends when its standard input does, so also when this process is killed and can do nothing more:
// a shell leaves a watcher behind and becomes the server, whose process id is the shell's.
const untilInputEnds = (signal) =>
  `exec 3<&0; (read _ <&3; kill -${signal} $$) >/dev/null 2>&1 & exec "$0" "$@" 3<&- </dev/null`;

/**
 * Starts `program` and waits until it prints `readyText`.
 *
 * `folder` is removed when it has ended; `stopSignal` is what it is asked to end with; `spawnOptions` are those of
 * Node's `spawn`. Resolves with `ready`, whether it is, its `pid`, and
 *
 * - `log()`: the end of what it has printed
 * - `stop()`: ends it, and resolves when it has ended
 * - `signal(name)`: sends it a signal; `ended` resolves when it has ended, whatever did that
 */
export async function launch(program, args, { readyText, folder, ...options }) {
  const { stopSignal = "TERM", startTimeoutMs = START_TIMEOUT_MS, stopTimeoutMs = STOP_TIMEOUT_MS } = options;
  // A process group of its own: Ctrl-C reaches us first, and we clean up while the server still answers.
  const child = spawn("/bin/sh", ["-c", untilInputEnds(stopSignal), program, ...args], {
    ...options.spawnOptions,
    detached: true,
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.stdin.on("error", () => {}); // the server may have ended before its input is closed
  const removeFolder = () => folder && rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  const killNow = () => {
    child.kill("SIGKILL");
    removeFolder();
  };
  process.once("exit", killNow);

  const stop = async () => {
    child.stdin.end();
    child.kill("SIGCONT"); // a server that was suspended could not end
    const lateKill = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
    await ended;
    clearTimeout(lateKill);
    process.off("exit", killNow);
    removeFolder();
  };

  const output = follow(child);
  const ready = await output.shows(readyText, startTimeoutMs);
  return { ready, pid: child.pid, log: output.log, stop, signal: (name) => child.kill(name), ended };
}

/** Reads what a process prints, to the end: a full pipe would block it. */
function follow(child) {
  let log = "";
  let look = () => {};
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      log += text;
      look();
      log = log.slice(-LOG_LENGTH_MAX);
    });
  }
  const shows = (wanted, timeoutMs) =>
    new Promise((resolve) => {
      const settle = (found) => {
        clearTimeout(deadline);
        look = () => {};
        resolve(found);
      };
      const deadline = setTimeout(() => settle(false), timeoutMs);
      look = () => log.includes(wanted) && settle(true);
      child.once("error", () => settle(false));
      child.once("close", () => settle(false));
    });
  return { log: () => log, shows };
}
