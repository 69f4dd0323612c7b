// From the end of a job in one process to the beginning of the next one in another.
import { number } from "../table.mjs";
import { colourOf, labelsOf, milliseconds } from "./style.mjs";

const kinds = {
  "redis/handover": "one waits, jobs of 50 to 250 ms",
  "redis/handover-chain": "in turn, jobs of 2 to 5 ms",
  "redis/handover-loop": "both ask again at once, empty jobs",
};

export const handovers = {
  file: "handovers",
  title: "Handover between two processes",
  subtitle: [
    "on Redis, from the end of a job to the beginning of the next one",
    "box: 25th to 75th percentile, line: 1st to 99th, white: median, dot: longest",
  ],
  draw({ heats }) {
    const found = heats.filter(({ name }) => name in kinds);
    const rows = found.flatMap((heat) => heat.contestants.flatMap(spreadOf));
    if (rows.length === 0) return null;
    // With room for the text behind the longest one.
    const [least, most] = [Math.min(...rows.map(({ p1 }) => p1)), Math.max(...rows.map(({ max }) => max))];
    const x = milliseconds("ms, logarithmic", least / 1.5, most * 6);
    const colours = colourOf(rows);
    return {
      vconcat: found.map((heat) => panel(kinds[heat.name], heat.contestants.flatMap(spreadOf), x, colours)),
      spacing: 26,
      resolve: { scale: { y: "independent" } },
    };
  },
};

function panel(title, rows, x, colours) {
  const y = {
    field: "contestant",
    type: "nominal",
    sort: colours.scale.domain,
    axis: { title: null, domain: false, ticks: false },
  };
  const color = { ...colours, legend: null };
  const medianMark = { type: "tick", thickness: 2.5, height: 12, color: "#ffffff" };
  const labelMark = { type: "text", align: "left", dx: 7, fontSize: 11, color: "#59636e" };
  return {
    title: { text: title, fontSize: 13, offset: 6 },
    data: { values: rows },
    width: 560,
    height: { step: 26 },
    layer: [
      { mark: { type: "rule", strokeWidth: 1.5 }, encoding: { x: { ...x, field: "p1" }, x2: { field: "p99" }, y, color } },
      { mark: { type: "bar", height: 12 }, encoding: { x: { ...x, field: "p25" }, x2: { field: "p75" }, y, color } },
      { mark: medianMark, encoding: { x: { ...x, field: "p50" }, y } },
      { mark: { type: "point", size: 28 }, encoding: { x: { ...x, field: "max" }, y, color } },
      { mark: labelMark, encoding: { x: { ...x, field: "max" }, y, text: { field: "label" } } },
    ],
  };
}

function spreadOf(entry) {
  const points = entry.percentiles;
  if (!points) return [];
  const [p1, p25, p50, p75, p99, max] = [1, 25, 50, 75, 99, 100].map((percent) => points[percent]);
  return [{ ...labelsOf(entry), p1, p25, p50, p75, p99, max, label: `median ${number(p50)} ms` }];
}
