// Finds, installs and starts a PostgreSQL server, of the store's own.

import { chownSync, existsSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Failure, run } from "../../../scripts/command.mjs";
import { canInstallFromDebian, installFromDebian } from "../../../scripts/debian.mjs";
import { findProgram, freePort, launch } from "../../../scripts/server-process.mjs";

const USER = "medusa";
/** Two stores with their pools, and one that is being seeded. */
const CONNECTIONS_MAX = 300;
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;
/** How often another free port is tried: between finding and using one, someone else may take it. */
const PORT_ATTEMPTS_MAX = 5;
/** Where Debian keeps the programs of each version, which are not in PATH. */
const DEBIAN_VERSIONS = "/usr/lib/postgresql";

const installAdvice = `No PostgreSQL server was found: \`initdb\` is neither in PATH nor below ${DEBIAN_VERSIONS}. Install one:
  Debian, Ubuntu   apt-get install postgresql
  macOS            brew install postgresql@17       (and put its bin folder into PATH)
  Fedora           dnf install postgresql-server
  Alpine           apk add postgresql`;

/** The folder of the server's programs, installed first where that can be done. @throws {Failure} what to install */
export async function requirePostgres() {
  if (!findPrograms() && canInstallFromDebian()) await install();
  const programs = findPrograms();
  if (!programs) throw new Failure(installAdvice);
  return programs;
}

async function install() {
  try {
    await installFromDebian(["postgresql"]);
  } catch (error) {
    throw new Failure(`${error.message}\n\n${installAdvice}`);
  }
}

function findPrograms() {
  const versions = existsSync(DEBIAN_VERSIONS) ? readdirSync(DEBIAN_VERSIONS).sort((a, b) => Number(b) - Number(a)) : [];
  const initdb = findProgram(["initdb"], versions.map((version) => join(DEBIAN_VERSIONS, version, "bin")));
  return initdb && dirname(initdb);
}

/**
 * Starts a server on a free loopback port, with its data in a temporary folder.
 *
 * @returns {Promise<{url: string, stop: () => Promise<void>}>} `url` is that of an empty database
 * @throws {Failure} when it does not start
 */
export async function startPostgres(programs) {
  const account = await unprivileged();
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const server = await launchPostgres(programs, port, account);
    // There is a database of this name in every new server.
    if (server.ready) return { url: `postgres://${USER}@127.0.0.1:${port}/postgres`, stop: server.stop };
    await server.stop();
    if (attempt === PORT_ATTEMPTS_MAX || !/address already in use/i.test(server.log())) {
      throw new Failure(`PostgreSQL of ${programs} did not start on port ${port}:\n${server.log().trim()}`);
    }
  }
}

async function launchPostgres(programs, port, account) {
  const folder = mkdtempSync(join(tmpdir(), "locking-native-postgres-"));
  if (account) chownSync(folder, account.uid, account.gid);
  const data = join(folder, "data");
  await initialise(join(programs, "initdb"), data, account);
  const settings = { listen_addresses: "127.0.0.1", unix_socket_directories: "", max_connections: CONNECTIONS_MAX };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  return launch(join(programs, "postgres"), ["-D", data, "-p", String(port), ...flags], {
    readyText: "ready to accept connections",
    folder,
    stopSignal: "INT", // ends the sessions that are open; with TERM it would wait for them
    startTimeoutMs: START_TIMEOUT_MS,
    stopTimeoutMs: STOP_TIMEOUT_MS,
    spawnOptions: { cwd: folder, ...account },
  });
}

async function initialise(initdb, data, account) {
  const command = [initdb, "-D", data, "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"];
  const { code, output } = await run(command, { cwd: dirname(data), ...account });
  if (code !== 0) throw new Failure(`${command.join(" ")} ended with code ${code}:\n${output.trim()}`);
}

/** PostgreSQL refuses to run as root: the user and group to run it as, or undefined where we are not root. */
async function unprivileged() {
  if (process.getuid?.() !== 0) return undefined;
  const [uid, gid] = await Promise.all(["-u", "-g"].map((flag) => run(["id", flag, "postgres"])));
  if (uid.code === 0 && gid.code === 0) return { uid: Number(uid.output), gid: Number(gid.output) };
  throw new Failure(
    "PostgreSQL does not run as root, and there is no user `postgres` to run it as: `useradd --system postgres`, or run " +
      "this as another user.",
  );
}
