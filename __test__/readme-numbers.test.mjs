/**
 * The numbers in the README are those of the newest full run of the benchmark, and so are the pictures beside them.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { newestResults, withNumbers } from "../benchmark/readme.mjs";
import { projectRoot } from "./support/product.mjs";

const advice = "run `npm run bench -- --readme`, and commit what it writes";
const readme = readFileSync(join(projectRoot, "README.md"), "utf8");
const folder = join(projectRoot, "benchmark", "results");
const run = newestResults();

/** The lines of the table, cell by cell. */
const table = readme
  .match(/<!-- numbers -->[\s\S]*<!-- \/numbers -->/)[0]
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| scenario"))
  .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));

/** A number as the table has it is the one measured: to three digits. */
function isAbout(shown, measured, what) {
  assert.ok(Math.abs(parseFloat(shown) / measured - 1) < 0.01, `${what}: ${shown} in the README, ${measured} measured`);
}

test("the README's numbers are those of the newest results", () => {
  assert.ok(run, "the results of a full run are checked in");
  assert.equal(readme, withNumbers(readme, run), advice);
});

test("its table says what the results say, ours, Medusa's and the ratio, read apart from what wrote it", () => {
  const heats = {
    "`execute`, 64 at once|memory": "memory/execute-64-wide",
    "`execute`, 64 at once|Redis": "redis/execute-64-wide",
    "`acquire` and `release`, 1 at once|Redis": "redis/acquire-release-1-wide",
    "one hot key, 1000 waiters in one process|Redis": "redis/hot-key-1000-waiters",
  };
  for (const [row, name] of Object.entries(heats)) {
    const [, , ours, theirs, ratio] = table.find(([scenario, backend]) => `${scenario}|${backend}` === row);
    const { contestants, unit } = run.results.heats.find((heat) => heat.name === name);
    const [native, medusa] = ["native-", "medusa-"].map((prefix) => contestants.find(({ id }) => id.startsWith(prefix)));
    isAbout(ours, native.value.median, `${name}, ours`);
    isAbout(theirs, medusa.value.median, `${name}, Medusa's`);
    isAbout(ratio, native.fasterThanBaseline.median, `${name}, ratio`);
    assert.ok(ours.endsWith(unit.split("/")[0]), `${name} is in ${unit}`);
  }
});

test("the pictures are drawn from the same results, and the README shows two that are there", () => {
  const pictures = readdirSync(folder).filter((name) => name.endsWith(".svg"));
  assert.ok(pictures.length >= 6, `${pictures.length} pictures`);
  for (const picture of pictures) {
    const [, source] = readFileSync(join(folder, picture), "utf8").match(/<desc>(.*)<\/desc>/);
    assert.equal(`${source}.json`, run.name, `${picture}: ${advice}`);
  }
  const shown = [...readme.matchAll(/!\[[^\]]+\]\((benchmark\/results\/[^)]+\.svg)\)/g)].map(([, path]) => path);
  assert.equal(shown.length, 2);
  for (const path of shown) assert.ok(existsSync(join(projectRoot, path)), path);
});
