// Counts a scenario on the Rust side alone: what it allocates and, where valgrind is, how many instructions it takes.

import { accessSync, constants, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { Failure, quietly, root, run } from "../scripts/command.mjs";

/** How many times as many operations the longer run of two does. */
const LONGER = 4;

/**
 * Builds what counts.
 *
 * @returns {Promise<{ count: (scenario: import("./scenarios.mjs").Scenario, url?: string) => Promise<Record<string, number>>, missing: string[] }>}
 *   `missing` says what is not counted here, and why
 * @throws {Failure} it does not build
 */
export async function rustCounter() {
  // As the tests are built: what is allocated is the same.
  const allocations = await built("the counter of allocations", ["--example", "budget-allocations"], "debug");
  const missing = whyNoInstructions();
  // For the target that the addon is built for, and with its profile: then most of it is built already.
  const target = await hostTarget();
  const work = missing
    ? undefined
    : await built(
        "the program whose instructions are counted (release)",
        ["--bin", "budget-work", "--features", "budget", "--release", "--target", target],
        join(target, "release"),
      );
  const count = async (scenario, url) => ({
    ...(await countAllocations(allocations, scenario, url)),
    ...(work && (await countInstructions(work, scenario, url))),
  });
  return { count, missing: missing ? [missing] : [] };
}

async function built(what, args, folder) {
  await quietly(`building ${what}`, ["cargo", "build", "--locked", ...args]);
  const [kind, name] = args;
  const output = process.env.CARGO_TARGET_DIR ?? join(root, "target");
  return join(output, folder, ...(kind === "--example" ? ["examples"] : []), name);
}

async function hostTarget() {
  const { output } = await run(["rustc", "-vV"]);
  return /^host: (.*)$/m.exec(output)[1];
}

function whyNoInstructions() {
  const lacking = ["valgrind", "taskset"].find((name) => !isInPath(name));
  return lacking && `instructions: not counted here: ${lacking} is not installed`;
}

function isInPath(name) {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function argsOf({ backend, shape, width, keysPerCall }, url, operations) {
  return [backend === "memory" ? "memory" : url, shape, width, keysPerCall, operations].map(String);
}

async function countAllocations(program, scenario, url) {
  const { rustOperations } = scenario;
  const output = await succeeds([program, ...argsOf(scenario, url, rustOperations)]);
  const [blocks, bytes] = output.trim().split(" ").map(Number);
  return { allocations: blocks / rustOperations, allocatedBytes: bytes / rustOperations };
}

/** The difference of two runs: what is done once, the start of the program above all, is in both. */
async function countInstructions(program, scenario, url) {
  const { rustOperations } = scenario;
  const shorter = await instructionsOf(program, argsOf(scenario, url, rustOperations));
  const longer = await instructionsOf(program, argsOf(scenario, url, rustOperations * LONGER));
  return { instructions: (longer - shorter) / (rustOperations * (LONGER - 1)) };
}

async function instructionsOf(program, args) {
  const folder = mkdtempSync(join(tmpdir(), "locking-native-budget-"));
  try {
    const callgrind = ["valgrind", "--tool=callgrind", `--callgrind-out-file=${join(folder, "out")}`];
    // On one core, where the I/O thread does not spin: how often it looks in vain is a question of time.
    const output = await succeeds(["taskset", "-c", firstCore(), ...callgrind, program, ...args]);
    return Number(/Collected : (\d+)/.exec(output)[1]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The number of the first core that this process may use. */
function firstCore() {
  return /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))[1];
}

async function succeeds(command) {
  const { code, output } = await run(command);
  if (code !== 0) throw new Failure(`\`${command.join(" ")}\` ended with code ${code}\n${output.trim()}`);
  return output;
}
