/**
 * What the README shows is true: each `js` block is a module of its own, and what it prints stands in its comments.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { projectRoot } from "./support/product.mjs";

const readme = readFileSync(join(projectRoot, "README.md"), "utf8");
const examples = [...readme.matchAll(/^```js\n([\s\S]*?)^```/gm)].map(([, code]) => code);

describe("the README", () => {
  let folder = "";

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "readme-"));
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(projectRoot, join(folder, "node_modules", "medusa-locking-native"), "dir");
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  test("has examples", () => assert.ok(examples.length >= 3, `${examples.length} examples`));

  for (const [at, code] of examples.entries()) {
    test(`example ${at + 1} runs as it stands and prints what its comments say`, async () => {
      const file = join(folder, `example-${at}.mjs`);
      writeFileSync(file, code);
      const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { cwd: folder, timeout: 60_000 });
      const expected = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
      assert.deepEqual(stdout.trim().split("\n"), expected);
      assert.equal(stderr, "");
    });
  }
});
