// What a full run leaves to look at: the pictures beside its results, and the numbers in the README.
import { fileURLToPath } from "node:url";
import { relative } from "node:path";
import { Failure } from "../scripts/command.mjs";
import { drawPictures } from "./pictures/index.mjs";
import { newestResults, writeReadme } from "./readme.mjs";

const folder = fileURLToPath(new URL("./results/", import.meta.url));

/** Draws and writes them from the newest full run's results. @throws {Failure} where there are none */
export async function publish() {
  const run = newestResults();
  if (run === null) throw new Failure("There are no results in benchmark/results of a full run that this project's locks and Medusa's finished.");
  const files = await drawPictures(run.results, folder, run.name.replace(/\.json$/, ""));
  for (const file of files) console.log(`Picture: ${relative(process.cwd(), file)}`);
  writeReadme(run);
  console.log(`README.md: the numbers of ${run.name}`);
}
