// What must be there before anything of benchmark/node_modules can be imported. Node built-ins only.
import { existsSync, readFileSync } from "node:fs";
import { npmCommand, quietly } from "../scripts/command.mjs";
import { requireServer } from "../scripts/redis-server.mjs";
import { setUp } from "../scripts/setup.mjs";

/**
 * Brings what a run needs: the built addon (unless `build` is false), a Redis server, the contestants' packages.
 * @throws {Failure} saying what is missing
 */
export async function prepare({ build }) {
  if (build) await setUp();
  await requireServer();
  await installPackages();
}

/** The contestants, and what counts and draws. */
export async function installPackages() {
  if (packagesMatchLock()) return;
  const command = npmCommand("ci", "--prefix", "benchmark", "--no-audit", "--no-fund");
  await quietly("installing the contestants", command);
}

// The direct ones tell: npm installs a lock file as a whole.
function packagesMatchLock() {
  const installedLock = file("node_modules/.package-lock.json");
  if (!existsSync(installedLock)) return false;
  const wanted = readJson(file("package-lock.json")).packages;
  const installed = readJson(installedLock).packages;
  return Object.keys(wanted[""].devDependencies).every((name) => {
    const path = `node_modules/${name}`;
    return installed[path]?.version === wanted[path].version;
  });
}

function file(path) {
  return new URL(path, import.meta.url);
}

function readJson(url) {
  return JSON.parse(readFileSync(url, "utf8"));
}
