// Makes a fresh clone ready to run: checks the tools, installs the npm packages, builds the addon and the
// TypeScript, each only when it is due. `npm run demo` and `npm test` begin with it; run alone, `--check`
// looks for the tools only. Node built-ins only.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import { Failure, main, npmCommand, quietly, root, run } from "./command.mjs";

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** Sources whose change makes the addon stale. */
const nativeSources = ["src", "Cargo.toml", "Cargo.lock", "build.rs"];
/** Sources whose change makes `dist/` stale; the addon's types are among them. */
const typeScriptSources = ["provider", "tsconfig.json", "index.d.ts"];
const typeScriptOutputs = ["dist/index.js", "dist/native.js"];

const compilerHint = [
  /linker `?cc`? not found|failed to find tool|is `cc` installed/i,
  "A C compiler is missing. Debian and Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; " +
    "Alpine: apk add build-base; macOS: xcode-select --install.",
];

/** Everything that the demo and the tests need. @throws {Failure} with what to do about it */
export async function setUp() {
  await checkTools();
  await installPackages();
  await buildAddon();
  await buildTypeScript();
}

/** Node and Rust only. @throws {Failure} with what to install */
export async function checkTools() {
  checkNode();
  await checkRust();
}

/** @throws {Failure} when this Node is older than package.json's `engines` allows */
function checkNode() {
  const wanted = manifest.engines.node.replace(/^\D*/, "");
  if (isOlder(process.versions.node, wanted)) {
    throw new Failure(`Node ${process.versions.node} is too old: install Node ${wanted} or later.`);
  }
}

/** Finds cargo, also where rustup puts it outside PATH. @throws {Failure} when it is missing or too old */
async function checkRust() {
  const version = (await cargoVersion()) ?? (addRustupToPath() ? await cargoVersion() : undefined);
  if (version === undefined) {
    throw new Failure(
      "Rust is missing: `cargo` is not in PATH. Install the stable toolchain from https://rustup.rs " +
        "(or `rustup toolchain install stable`), then run this again.",
    );
  }
  const wanted = /^rust-version\s*=\s*"([^"]+)"/m.exec(readFileSync(join(root, "Cargo.toml"), "utf8"))?.[1];
  if (wanted && isOlder(version, wanted)) {
    throw new Failure(`Rust ${version} is too old, ${wanted} or later is needed: rustup update stable`);
  }
}

async function cargoVersion() {
  try {
    const { code, output } = await run(["cargo", "--version"]);
    return code === 0 ? /cargo (\d+\.\d+\.\d+)/.exec(output)?.[1] : undefined;
  } catch {
    return undefined;
  }
}

function addRustupToPath() {
  const bin = join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "bin");
  if (!existsSync(bin)) return false;
  process.env.PATH = `${process.env.PATH ?? ""}${delimiter}${bin}`;
  return true;
}

/** `npm ci` in `folder`, when what is installed there is not what its package-lock.json says. */
export async function installPackages(folder = root, label = "installing npm packages") {
  if (packagesMatchLock(folder)) return;
  const command = npmCommand("ci", "--include=dev", "--no-audit", "--no-fund");
  await quietly(label, command, { cwd: folder });
}

// npm keeps a lock file of what it installed. Contents are compared, not ages: a checkout or a plain
// `npm install` changes ages without changing what has to be installed.
function packagesMatchLock(folder) {
  const installedLock = join(folder, "node_modules", ".package-lock.json");
  if (!existsSync(installedLock)) return false;
  const wanted = JSON.parse(readFileSync(join(folder, "package-lock.json"), "utf8")).packages;
  const installed = JSON.parse(readFileSync(installedLock, "utf8")).packages;
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    if (path === "") return true;
    const found = installed[path];
    // Optional packages of other platforms are in the lock and never installed.
    if (!found) return optional === true;
    return found.version === version && found.integrity === integrity;
  });
}

/** `npm run build:native`, when this platform's addon is missing or older than its sources. */
async function buildAddon() {
  const platform = `.${process.platform}-${process.arch}`;
  const addons = readdirSync(root).filter((name) => name.endsWith(".node") && name.includes(platform));
  if (addons.length > 0 && !isStale(addons, nativeSources)) return;
  await quietly("building the addon (release, some minutes the first time)", npmCommand("run", "build:native"), {
    hints: [compilerHint],
  });
}

/** `npm run build:ts`, when `dist/` is missing or older than its sources. */
async function buildTypeScript() {
  if (!isStale(typeScriptOutputs, typeScriptSources)) return;
  await quietly("compiling the TypeScript", npmCommand("run", "build:ts"));
}

function isStale(outputs, sources) {
  const oldestOutput = Math.min(...outputs.map((path) => modifiedAt(join(root, path))));
  const newestSource = Math.max(...sources.map((path) => newestBelow(join(root, path))));
  return oldestOutput < newestSource;
}

// Folders count too: their age tells of files added and removed.
function newestBelow(path) {
  const own = modifiedAt(path);
  if (own === 0 || !statSync(path).isDirectory()) return own;
  return Math.max(own, ...readdirSync(path).map((name) => newestBelow(join(path, name))));
}

function modifiedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function isOlder(version, wanted) {
  const have = version.split(".").map(Number);
  const need = wanted.split(".").map(Number);
  const at = need.findIndex((part, index) => (have[index] ?? 0) !== part);
  return at >= 0 && (have[at] ?? 0) < need[at];
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  await main(process.argv.includes("--check") ? checkTools : setUp);
}
