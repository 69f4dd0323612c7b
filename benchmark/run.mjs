#!/usr/bin/env node
// The benchmark's one command. Sets itself up, then hands over to harness/bench.mjs.
import { Failure, main } from "../scripts/command.mjs";
import { readOptions, usage } from "./options.mjs";
import { prepare } from "./setup.mjs";

await main(async () => {
  const options = optionsOrFailure();
  if (options.help) {
    console.log(usage);
    return;
  }
  await prepare(options);
  const { bench } = await import("./harness/bench.mjs");
  if (!(await bench(options))) throw new Failure("Not every contestant finished: see the remarks above.");
});

function optionsOrFailure() {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    throw new Failure(`${error.message}\n\n${usage}`);
  }
}
