// Finds, installs and starts Redis or Valkey servers for the tests and the demo. Node built-ins only.

import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { Failure, quietly } from "./command.mjs";

/** How long a new server may take until it accepts connections. */
const START_TIMEOUT_MS = 15_000;
/** How long a server may take to end when asked to, before it is killed. */
const STOP_TIMEOUT_MS = 3_000;
/** How often another free port is tried: between finding and using one, someone else may take it. */
const PORT_ATTEMPTS_MAX = 5;

const serverNames = ["redis-server", "valkey-server"];

const installAdvice = `No Redis server was found: neither redis-server nor valkey-server is in PATH. Install one:
  Debian, Ubuntu   apt-get install redis-server     (or valkey-server)
  macOS            brew install redis               (or valkey)
  Fedora           dnf install valkey               (or redis)
  Alpine           apk add redis                    (or valkey)
or name its binary in the environment variable REDIS_SERVER_BIN.`;

/** The path of a server binary, or undefined. @throws {Failure} when REDIS_SERVER_BIN names none */
export function findServer() {
  const named = process.env.REDIS_SERVER_BIN;
  if (named) {
    if (isProgram(named)) return named;
    throw new Failure(`REDIS_SERVER_BIN is "${named}", which is not a program.`);
  }
  const folders = (process.env.PATH ?? "").split(delimiter).filter(Boolean);
  const candidates = serverNames.flatMap((name) => folders.map((folder) => join(folder, name)));
  return candidates.find(isProgram);
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The path of a server binary, installed first where that can be done. @throws {Failure} saying what to install */
export async function requireServer() {
  const found = findServer();
  if (found) return found;
  if (canInstall()) await installServer();
  const installed = findServer();
  if (!installed) throw new Failure(installAdvice);
  return installed;
}

function canInstall() {
  return process.platform === "linux" && process.getuid() === 0 && existsSync("/usr/bin/apt-get");
}

// The package would start a system service on the default port; a policy file that forbids it, as Debian
// provides for, keeps the machine as it was but for the binary.
async function installServer() {
  const policy = "/usr/sbin/policy-rc.d";
  const ownPolicy = !existsSync(policy);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const install = (name) =>
    quietly(`installing ${name}`, ["apt-get", "install", "-y", "--no-install-recommends", name], { env });
  if (ownPolicy) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    await quietly("updating the package lists", ["apt-get", "update"], { env });
    await install("redis-server").catch(() => install("valkey-server"));
  } catch (error) {
    throw new Failure(`${error.message}\n\n${installAdvice}`);
  } finally {
    if (ownPolicy) rmSync(policy, { force: true });
  }
}

// The server ends when its standard input does, so also when this process is killed and can do nothing more:
// a shell leaves a watcher behind and becomes the server, whose process id is the shell's.
const untilInputEnds =
  'exec 3<&0; (read _ <&3; kill -TERM $$) >/dev/null 2>&1 & exec "$0" "$@" 3<&- </dev/null';

/**
 * Starts a server of its own on a free loopback port, keeping nothing on disk but an empty temporary folder.
 *
 * `args` are added to its command line. It ends with `stop()`, or when this process ends, however it does.
 *
 * @returns {Promise<{url: string, port: number, pid: number, stop: () => Promise<void>}>}
 * @throws {Failure} when no server is installed or it does not start
 */
export async function startRedis({ args = [] } = {}) {
  const program = findServer();
  if (!program) throw new Failure(installAdvice);
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const { server, log } = await launch(program, port, args);
    if (server) return server;
    if (attempt === PORT_ATTEMPTS_MAX || !/address already in use/i.test(log)) {
      throw new Failure(`${program} did not start on port ${port}:\n${log.trim()}`);
    }
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function launch(program, port, args) {
  const folder = mkdtempSync(join(tmpdir(), "locking-native-redis-"));
  const settings = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "no", daemonize: "no" };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  // A process group of its own: Ctrl-C reaches us first, and we clean up while the server still answers.
  const child = spawn("/bin/sh", ["-c", untilInputEnds, program, ...flags, ...args], { detached: true });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.stdin.on("error", () => {}); // the server may have ended before its input is closed
  const killNow = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  process.once("exit", killNow);

  const stop = async () => {
    child.stdin.end();
    child.kill("SIGCONT"); // a server that a test has suspended could not end
    const lateKill = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await ended;
    clearTimeout(lateKill);
    process.off("exit", killNow);
    rmSync(folder, { recursive: true, force: true });
  };

  const { ready, log } = await untilReady(child);
  if (ready) return { server: { url: `redis://127.0.0.1:${port}`, port, pid: child.pid, stop } };
  await stop();
  return { log };
}

function untilReady(child) {
  return new Promise((resolve) => {
    let log = "";
    const settle = (ready) => {
      clearTimeout(deadline);
      resolve({ ready, log });
    };
    const deadline = setTimeout(() => settle(false), START_TIMEOUT_MS);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      // The pipes are read to the end also later on: a full pipe would block the server.
      stream.on("data", (text) => {
        if (log.length < 64_000) log += text;
        if (log.includes("Ready to accept connections")) settle(true);
      });
    }
    child.once("close", () => settle(false));
  });
}
