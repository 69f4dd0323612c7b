// Finds, installs and starts Redis or Valkey servers for the tests and the demo. Node built-ins only.

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Failure } from "./command.mjs";
import { canInstallFromDebian, installFromDebian } from "./debian.mjs";
import { findProgram, freePort, isProgram, launch } from "./server-process.mjs";

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
  if (!named) return findProgram(serverNames);
  if (isProgram(named)) return named;
  throw new Failure(`REDIS_SERVER_BIN is "${named}", which is not a program.`);
}

/** The path of a server binary, installed first where that can be done. @throws {Failure} saying what to install */
export async function requireServer() {
  const found = findServer();
  if (found) return found;
  if (canInstallFromDebian()) await installServer();
  const installed = findServer();
  if (!installed) throw new Failure(installAdvice);
  return installed;
}

async function installServer() {
  try {
    await installFromDebian(serverNames);
  } catch (error) {
    throw new Failure(`${error.message}\n\n${installAdvice}`);
  }
}

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
    const { ready, pid, log, stop } = await launchRedis(program, port, args);
    if (ready) return { url: `redis://127.0.0.1:${port}`, port, pid, stop };
    await stop();
    if (attempt === PORT_ATTEMPTS_MAX || !/address already in use/i.test(log())) {
      throw new Failure(`${program} did not start on port ${port}:\n${log().trim()}`);
    }
  }
}

function launchRedis(program, port, args) {
  const folder = mkdtempSync(join(tmpdir(), "locking-native-redis-"));
  const settings = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "no", daemonize: "no" };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return launch(program, [...flags, ...args], { readyText: "Ready to accept connections", folder });
}
