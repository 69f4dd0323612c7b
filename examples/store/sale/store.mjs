// The store: its packages, its database, and its servers. It is what is in this folder; the rest drives it.

import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Failure, npmCommand, quietly, root, run } from "../../../scripts/command.mjs";
import { freePort, launch } from "../../../scripts/server-process.mjs";
import { installPackages } from "../../../scripts/setup.mjs";

const folder = fileURLToPath(new URL("..", import.meta.url));
const cli = join(folder, "node_modules", "@medusajs", "cli", "cli.js");

const START_TIMEOUT_MS = 180_000;
const READY = "Server is ready on port";

/** Medusa's packages, from the store's own lock file, and beside them this package as it has been built. */
export async function installStore() {
  await installPackages({
    folder,
    label: "installing the store's npm packages (850, a minute or two the first time)",
    flags: ["--ignore-scripts"], // of what they would do, nothing is needed here
  });
  await installThisPackage();
}

// As a store gets it: packed and unpacked, not linked. A link would lead Node to the node_modules of this repository, and
// the provider would use another copy of @medusajs/framework than the store.
async function installThisPackage() {
  const packed = mkdtempSync(join(tmpdir(), "locking-native-package-"));
  try {
    await succeed(npmCommand("pack", "--silent", "--pack-destination", packed), { cwd: root });
    const { name, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const target = join(folder, "node_modules", name);
    rmSync(target, { recursive: true, force: true });
    mkdirSync(target);
    await succeed(["tar", "-xzf", `${name}-${version}.tgz`, "-C", target, "--strip-components=1"], { cwd: packed });
  } finally {
    rmSync(packed, { recursive: true, force: true });
  }
}

async function succeed(command, options) {
  const { code, output } = await run(command, options);
  if (code !== 0) throw new Failure(`${command.join(" ")} ended with code ${code}:\n${output.trim()}`);
}

/** The environment of every program of the store. */
export function environment({ databaseUrl, redisUrl, provider }) {
  return {
    NODE_ENV: "production",
    DATABASE_URL: databaseUrl,
    REDIS_URL: redisUrl,
    LOCKING_PROVIDER: provider,
    JWT_SECRET: randomBytes(16).toString("hex"),
    COOKIE_SECRET: randomBytes(16).toString("hex"),
    MEDUSA_DISABLE_TELEMETRY: "true",
  };
}

/** Creates the tables. The scripts that are skipped change the data of stores that are older. */
export async function migrate(env) {
  const command = [process.execPath, cli, "db:migrate", "--skip-scripts"];
  await quietly("creating the database (medusa db:migrate)", command, { env, cwd: folder });
}

/** Puts a catalogue of these items (`{ name: stock }`) into the store; resolves with the ids that a storefront needs. */
export async function seed(env, items) {
  const output = mkdtempSync(join(tmpdir(), "locking-native-seed-"));
  try {
    const file = join(output, "seeded.json");
    const script = ["exec", "./src/scripts/seed.js", file, JSON.stringify(items)];
    await quietly("filling it (medusa exec)", [process.execPath, cli, ...script], { env, cwd: folder });
    if (!existsSync(file)) throw new Failure("medusa exec ./src/scripts/seed.js did not write what it made");
    return JSON.parse(readFileSync(file, "utf8"));
  } finally {
    rmSync(output, { recursive: true, force: true });
  }
}

/**
 * Starts a server of the store on a free loopback port.
 *
 * Resolves with its `url` and what {@link launch} returns.
 *
 * @throws {Failure} when it does not start
 */
export async function startServer(env) {
  const port = await freePort();
  const server = await launch(process.execPath, [cli, "start", "--host", "127.0.0.1", "--port", String(port)], {
    readyText: READY,
    startTimeoutMs: START_TIMEOUT_MS,
    // They have nothing to save, and asked to end they would wait for a database and a Redis that may have ended first.
    stopSignal: "KILL",
    spawnOptions: { cwd: folder, env: { ...process.env, ...env } },
  });
  if (server.ready) return { url: `http://127.0.0.1:${port}`, ...server };
  await server.stop();
  const within = `within ${START_TIMEOUT_MS / 1000} s`;
  throw new Failure(`\`medusa start\` was not ready on port ${port} ${within}:\n${server.log().trim()}`);
}
