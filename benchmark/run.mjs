#!/usr/bin/env node
// The benchmark's one command. Sets itself up, then hands over to harness/bench.mjs.
import { Failure, main } from "../scripts/command.mjs";
import { isFull, readOptions, usage } from "./options.mjs";
import { installPackages, prepare } from "./setup.mjs";

await main(async () => {
  const options = optionsOrFailure();
  if (options.help) {
    console.log(usage);
    return;
  }
  await (options.readme ? installPackages() : prepare(options));
  let finished = true;
  if (!options.readme) {
    const { bench } = await import("./harness/bench.mjs");
    finished = await bench(options);
  }
  if (options.readme || isFull(options)) {
    const { publish } = await import("./publish.mjs");
    await publish();
  }
  if (!finished) throw new Failure("Not every contestant finished: see the remarks above.");
});

function optionsOrFailure() {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    throw new Failure(`${error.message}\n\n${usage}`);
  }
}
