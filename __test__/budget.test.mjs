/**
 * `npm run budget` finds what it is there for: a count that passes its budget fails the run, by the names of the
 * scenario and of the count.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { budgets } from "../budget/budgets.mjs";
import { counts } from "../budget/counts.mjs";
import { scenarios } from "../budget/scenarios.mjs";
import { excesses } from "../budget/verdict.mjs";
import { run } from "../scripts/command.mjs";
import { projectRoot } from "./support/product.mjs";

const folder = mkdtempSync(join(tmpdir(), "locking-native-budgets-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the check for one scenario, with its budget of `count` replaced by `lowered` where that is given. */
function check(scenario, count, lowered) {
  const file = join(folder, "budgets.mjs");
  const original = JSON.stringify(pathToFileURL(join(projectRoot, "budget", "budgets.mjs")));
  const change = lowered === undefined ? "" : `budgets[${JSON.stringify(scenario)}].${count} = [${lowered}, "lowered"];`;
  writeFileSync(file, `import { budgets } from ${original};\n${change}\nexport { budgets };\n`);
  const tries = lowered === undefined ? [] : ["--tries", "1"];
  return run([process.execPath, "budget/main.mjs", "--js", "--only", scenario, "--budgets", file, ...tries]);
}

test("the counts of a scenario are within their budgets", async () => {
  const { code, output } = await check("execute, 64 at once, in memory");
  assert.equal(code, 0, output);
  assert.match(output, /all within their budgets/);
});

for (const [scenario, count, lowered, said] of [
  ["execute, 64 at once, in memory", "crossings", 1.5, "2.00 calls into the addon an operation, budget 1.5 (lowered)"],
  ["execute, 64 at once, in memory", "heapBytes", 10, /\d+ bytes of JavaScript heap an operation, budget 10 \(lowered\)/],
  ["execute, 1 at once, on Redis", "scriptCalls", 1.5, "2.00 script calls an operation, budget 1.5 (lowered)"],
  ["execute, 1 at once, on Redis", "bytesIn", 100, /\d+ bytes to the server an operation, budget 100 \(lowered\)/],
]) {
  test(`a budget that is passed fails by name: ${count}, ${scenario}`, async () => {
    const { code, output } = await check(scenario, count, lowered);
    assert.equal(code, 1, output);
    const sentences = output.split("budgets passed:")[1]?.trim().split("\n") ?? [];
    assert.equal(sentences.length, 1, output);
    assert.ok(sentences[0].startsWith(`${scenario}: `), output);
    const words = sentences[0].slice(`${scenario}: `.length);
    if (said instanceof RegExp) assert.match(words, said);
    else assert.equal(words, said);
  });
}

test("every budget is one of something that is counted, says why, and is passed by more", () => {
  const names = new Set(scenarios.map(({ name }) => name));
  for (const [scenario, ofScenario] of Object.entries(budgets)) {
    assert.ok(names.has(scenario), scenario);
    for (const [count, [budget, why]] of Object.entries(ofScenario)) {
      assert.ok(count in counts && why.length > 0, `${scenario}: ${count}`);
      assert.deepEqual(excesses({ name: scenario }, { [count]: budget }, budgets), []);
      const [excess] = excesses({ name: scenario }, { [count]: budget + 1 }, budgets);
      assert.ok(excess.startsWith(`${scenario}: `) && excess.includes(why), excess);
    }
  }
});

test("a count without a budget fails: it would be counted for nothing", () => {
  for (const scenario of scenarios) {
    const [excess] = excesses(scenario, { commands: 1 }, {});
    assert.equal(excess, `${scenario.name}: 1.00 commands an operation, for which there is no budget`);
  }
});
