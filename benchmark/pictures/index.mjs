// The pictures of a run, drawn from its results by Vega-Lite.
import { writeFileSync } from "node:fs";
import { machineOf } from "../report.mjs";
import { loopTime, throughput } from "./by-width.mjs";
import { commands } from "./commands.mjs";
import { growth } from "./growth.mjs";
import { handovers } from "./handovers.mjs";
import { svgOf } from "./style.mjs";
import { waits } from "./waits.mjs";

const pictures = [throughput, waits, handovers, commands, loopTime, growth];

/**
 * Draws what the results hold something of.
 * @param {string} folder ends with a slash
 * @param {string} source the name of the results' file; stands in each picture
 * @returns {Promise<string[]>} the files
 */
export async function drawPictures(results, folder, source) {
  const files = [];
  for (const { file, title, subtitle, draw } of pictures) {
    const spec = draw(results);
    if (spec === null) continue;
    const about = { title, subtitle: [subtitle, `${machineOf(results)}; ${source}`].flat(), source };
    files.push(`${folder}${file}.svg`);
    writeFileSync(files.at(-1), await svgOf(spec, about));
  }
  return files;
}
