/**
 * The compiled half of the package, loaded on first use.
 *
 * Not when this file is required: Medusa answers an entry file that throws with advice to install the package, which
 * hides the reason.
 */

import type * as Native from "../index.js";

import { LockError } from "./errors.js";

export type {
  InspectedLock,
  Mailbox,
  NativeCalls,
  NativeLocks,
  NativeOptions,
  NativeRedisOptions,
  NativeTlsOptions,
} from "../index.js";

/** What the addon exports. */
export type Addon = typeof Native;

const PACKAGE = "medusa-locking-native";

let loaded: Addon | undefined;

/**
 * The addon.
 *
 * @throws LockError `INTERNAL`: there is no binary for this machine, or it does not load. The cause says why.
 */
export function loadAddon(): Addon {
  loaded ??= requireAddon();
  return loaded;
}

function requireAddon(): Addon {
  try {
    return require("../index.js") as Addon;
  } catch (cause) {
    throw new LockError("INTERNAL", explanation(cause), { cause });
  }
}

function explanation(cause: unknown): string {
  const machine = machineName();
  return (
    `${PACKAGE} has no binary that loads on this machine (${machine}, Node.js ${process.version}): ${reason(cause)}. ` +
    `Install its optional package ${PACKAGE}-${machine} (npm leaves optional packages out with --omit=optional, or ` +
    `where a lock file was written on another platform), or build it from source with Rust: npm run build`
  );
}

/** The name of this kind of machine in the names of the binaries. */
function machineName(): string {
  const { platform, arch } = process;
  if (platform === "linux") {
    return `${platform}-${arch}-${isGlibc() ? "gnu" : "musl"}`;
  }
  return platform === "win32" ? `${platform}-${arch}-msvc` : `${platform}-${arch}`;
}

/** Whether the C library is glibc, as nearly everywhere but on Alpine. */
function isGlibc(): boolean {
  // Otherwise the report looks up the name of every open connection. The types of Node.js 20 do not know it yet.
  Object.assign(process.report, { excludeNetwork: true });
  const report: unknown = process.report.getReport();
  const header = typeof report === "object" && report !== null && "header" in report ? report.header : undefined;
  return typeof header === "object" && header !== null && "glibcVersionRuntime" in header;
}

/** Why the likeliest binary did not load: the most telling message of the chain, on one line. */
function reason(cause: unknown): string {
  const messages: string[] = [];
  const seen = new Set<unknown>();
  for (let error = cause; error instanceof Error && !seen.has(error); error = error.cause) {
    seen.add(error);
    messages.push(firstLine(error.message));
  }
  // "Cannot find ..." only tells that a place was empty; a binary that is there and does not load tells more.
  return messages.find((message) => !message.startsWith("Cannot find")) ?? messages[0] ?? "unknown reason";
}

function firstLine(message: string): string {
  return message.split("\n", 1)[0] ?? "";
}
