/** What the README says of runs of chaos/ is what these came to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { saved, table, tableInReadme } from "../chaos/results.mjs";
import { FAULTS } from "../chaos/schedule.mjs";

const runs = saved();
const violations = ({ verdicts }, property) => verdicts.find((verdict) => verdict.property === property).violations;

test("the README shows the table of the results that are kept: npm run chaos -- --table", () => assert.equal(tableInReadme(), table(runs)));

test("both providers had the same runs, with every fault that there is", () => {
  const [native, other] = Object.values(runs).map((all) => all.map(({ seed, seconds, processes }) => ({ seed, seconds, processes })));
  assert.ok(native.length > 0);
  assert.deepEqual(native, other);
  for (const [provider, all] of Object.entries(runs)) {
    const kinds = new Set(all.flatMap(({ faults }) => Object.keys(faults)));
    assert.deepEqual(FAULTS.filter((kind) => !kinds.has(kind)), [], provider);
  }
});

test("this package violated nothing, and the other provider let two in at once", () => {
  for (const run of runs.native) assert.ok(run.clean, `seed ${run.seed}`);
  assert.ok(runs["locking-redis"].some((run) => violations(run, "exclusion") > 0));
});
