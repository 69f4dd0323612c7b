// `npm test`: sets itself up and runs every test, Rust first, then JavaScript against the built addon.
//
//   npm test                       everything
//   npm test -- --rust             the Rust tests only
//   npm test -- --js               the JavaScript tests only
//   npm test -- --js expiry hot    of them, the files with "expiry" or "hot" in their path
//   npm test -- --rust table       of them, the tests with "table" in their path

import { readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { parseArgs } from "node:util";
import { Failure, main, root, run } from "./command.mjs";
import { requireServer } from "./redis-server.mjs";
import { checkTools, setUp } from "./setup.mjs";
import { countJavaScript, countRust, sumCounts } from "./test-counts.mjs";

/** A test file that takes longer hangs; node's runner applies this to a whole file. */
const FILE_TIMEOUT_MS = 6 * 60_000;
/** The tests that are given the threads' steps and the time need a build of their own. */
const INTERLEAVINGS = ["--no-default-features", "--features", "redis,interleavings", "--test", "interleavings"];
/** Test files at a time. Each has servers and processes of its own, and some of them measure time. */
const FILES_AT_ONCE = 2;

await main(async () => {
  const { rust, js, filters } = readOptions(process.argv.slice(2));
  await (js ? setUp() : checkTools());
  // The tests start servers themselves and find the binary by this name.
  process.env.REDIS_SERVER_BIN = await requireServer();
  const results = [];
  for (const suite of [...(rust ? rustSuites(filters) : []), ...(js ? javaScriptSuites(filters) : [])]) {
    results.push(await runSuite(suite));
  }
  summarise(results, { filtered: filters.length > 0 });
});

function readOptions(args) {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { rust: { type: "boolean" }, js: { type: "boolean" } },
    });
    const both = !values.rust && !values.js;
    return { rust: values.rust ?? both, js: values.js ?? both, filters: positionals };
  } catch (error) {
    throw new Failure(`${error.message}\n\nusage: npm test -- [--rust] [--js] [filter...]`);
  }
}

function rustSuites(filters) {
  const cargoTest = (...flags) => ["cargo", "test", "--no-fail-fast", ...flags, "--", ...filters];
  return [
    { name: "Rust, all features", command: cargoTest(), count: countRust },
    { name: "Rust, core and memory", command: cargoTest("--no-default-features"), count: countRust },
    { name: "Rust, interleavings", command: cargoTest(...INTERLEAVINGS), count: countRust },
  ];
}

function javaScriptSuites(filters) {
  const files = testFiles().filter((file) => filters.length === 0 || filters.some((part) => file.includes(part)));
  // Without files node's runner would look for tests of its own choice.
  if (files.length === 0) return [{ name: "JavaScript" }];
  const flags = [
    "--test",
    `--test-concurrency=${FILES_AT_ONCE}`,
    `--test-timeout=${FILE_TIMEOUT_MS}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
  ];
  return [{ name: "JavaScript", command: [process.execPath, ...flags, ...files], count: countJavaScript }];
}

// Listed here and not by a pattern: Node 20's runner takes none.
function testFiles() {
  return readdirSync(join(root, "__test__"), { recursive: true })
    .filter((file) => file.endsWith(".test.mjs") && !file.includes("node_modules"))
    .map((file) => relative(root, join(root, "__test__", file)).replaceAll(sep, "/"))
    .sort();
}

async function runSuite({ name, command, count }) {
  if (!command) return { name, passed: 0, failed: 0, skipped: 0, seconds: 0, code: 0 };
  console.log(`\n== ${name}`);
  const started = performance.now();
  const env = process.stdout.isTTY ? { CARGO_TERM_COLOR: "always", FORCE_COLOR: "1" } : {};
  const { code, output } = await run(command, { env, onText: (text) => process.stdout.write(text) });
  return { name, ...count(output), seconds: (performance.now() - started) / 1000, code };
}

function summarise(results, { filtered }) {
  console.log("\n== Summary");
  for (const result of results) {
    const { name, passed, failed, skipped, seconds } = result;
    const counts = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
    console.log(`${name.padEnd(22)} ${counts}, ${seconds.toFixed(1)} s${problem(result, filtered)}`);
  }
  const { passed, failed } = sumCounts(results);
  if (filtered && passed + failed === 0) console.log("no test matches the filter");
  console.log(`\n${passed} passed, ${failed} failed`);
  const bad = results.some((result) => problem(result, filtered) !== "");
  if (bad || passed + failed === 0) process.exitCode = 1;
}

// A runner that found nothing has tested nothing; only a filter may leave one without tests.
function problem({ passed, failed, code }, filtered) {
  if (code !== 0 && failed === 0) return `  FAILED: the runner ended with code ${code}`;
  if (failed > 0) return "  FAILED";
  return passed === 0 && !filtered ? "  FAILED: no tests found" : "";
}
