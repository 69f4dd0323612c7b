/**
 * Short runs of chaos/: store processes on a Redis server, both killed, stopped, hung and emptied. The product must come
 * through clean; with a fault put into it on purpose (src/faults.rs), the judge must find that.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { before, describe, test } from "node:test";
import { promisify } from "node:util";
import { text } from "../chaos/report.mjs";
import { run } from "../chaos/run.mjs";
import { FAULTS } from "../chaos/schedule.mjs";
import { projectRoot } from "./support/product.mjs";

const violated = ({ verdicts }) => verdicts.filter(({ violations }) => violations.length > 0).map(({ property }) => property);

/** A run in which nothing went on violates nothing either. */
function enoughToJudge(result) {
  const counts = Object.assign({}, ...result.verdicts.map((verdict) => verdict.counts));
  const least = { holds: 60, tokens: 60, writes: 40, answered: 100, "of acquires": 1, "releases that freed": 1, "releases refused to others": 1 };
  for (const [name, count] of Object.entries(least)) assert.ok(counts[name] >= count, `${name}: ${counts[name]}\n${text(result)}`);
  assert.ok(result.history.events.some(({ e }) => e === "fault"), text(result));
}

test("20 seconds of all faults: no property is violated", async () => {
  const result = await run({ seconds: 20, seed: 4, processes: 3, provider: "native", faults: FAULTS, wait: false });
  assert.deepEqual(violated(result), [], text(result));
  enoughToJudge(result);
});

describe("a fault that is put in on purpose is found", () => {
  let addon;

  before(async () => {
    const args = ["build", "--features", "chaos-faults", "--message-format", "json"];
    const { stdout } = await promisify(execFile)("cargo", args, { cwd: projectRoot, maxBuffer: 2 ** 26 });
    const built = stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    const [library] = built.filter(({ reason, target }) => reason === "compiler-artifact" && target.kind.includes("cdylib")).at(-1).filenames;
    // Node takes an addon by this ending; the name of the library is also that of a build without the feature.
    addon = join(dirname(library), "chaos-faults", "addon.node");
    mkdirSync(dirname(addon), { recursive: true });
    copyFileSync(library, addon);
  });

  const faulty = (fault, seed) => {
    const env = { NAPI_RS_NATIVE_LIBRARY_PATH: addon, ...(fault && { LOCKING_FAULT: fault }) };
    return run({ seconds: 12, seed, processes: 3, provider: "native", faults: ["stop", "kill"], wait: false, env });
  };

  test("without one, the same build and the same run violate nothing", async () => {
    const result = await faulty(undefined, 1);
    assert.deepEqual(violated(result), [], text(result));
    enoughToJudge(result);
  });

  // A lease that lapses unrenewed is seen by whoever loses it, and by two who are inside at once where the job does not
  // look at its signal: which of them a short run has is up to the machine.
  for (const [fault, ...properties] of [
    ["release-without-owner-check", "losses"],
    ["no-renewal", "losses", "exclusion"],
    ["token-frozen", "tokens"],
  ]) {
    test(`${fault}: ${properties.join(" or ")}`, async () => {
      const result = await faulty(fault, 1);
      assert.ok(violated(result).some((property) => properties.includes(property)), text(result));
    });
  }
});
