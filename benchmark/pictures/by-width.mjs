// What one operation takes with so many going on at once: how many run in a second, and how long the event loop is busy.
import { colourOf, dashOf, labelsOf, logarithmic, steps } from "./style.mjs";

const shape = /^(memory|redis)\/(execute|acquire-release)-(\d+)-wide$/;
const groupNames = { memory: "in memory", redis: "on Redis" };
const operationNames = { execute: "execute", "acquire-release": "acquire + release" };

export const throughput = {
  file: "throughput",
  title: "Throughput: operations per second by how many are under way",
  subtitle: "distinct keys, one process, one connection; median of the rounds, bars from the slowest to the fastest",
  draw: (results) =>
    byWidth(results, "operations per second", ({ value }) =>
      value && { y: 1e6 / value.median, low: 1e6 / value.max, high: 1e6 / value.min },
    ),
};

export const loopTime = {
  file: "loop-time",
  title: "Event loop: time that one operation keeps it busy",
  subtitle: "performance.eventLoopUtilization, per operation, by how many are under way; distinct keys; less is better",
  draw: (results) =>
    byWidth(results, "us of event loop per operation", ({ perOperation: { loopUs } }) => loopUs && { y: loopUs }),
};

function byWidth({ heats }, axis, read) {
  const rows = heats.flatMap((heat) => {
    const [, group, operation, width] = shape.exec(heat.name) ?? [];
    if (group === undefined) return [];
    const where = { panel: `${operationNames[operation]}, ${groupNames[group]}`, width: Number(width) };
    return heat.contestants.flatMap((entry) => {
      const numbers = read(entry);
      return numbers ? [{ ...labelsOf(entry), ...where, ...numbers }] : [];
    });
  });
  if (rows.length === 0) return null;
  const x = steps("width", "operations at once", [1, 8, 64, 1024]);
  x.axis.format = "d";
  const y = logarithmic(axis);
  const color = colourOf(rows);
  const bars = {
    transform: [{ filter: "isValid(datum.low)" }],
    mark: { type: "rule", strokeWidth: 1.2, opacity: 0.7 },
    encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, color },
  };
  return {
    data: { values: rows },
    facet: { field: "panel", type: "nominal", sort: panels },
    columns: 2,
    spacing: 28,
    resolve: { scale: { y: "independent" }, axis: { x: "independent" } },
    spec: {
      width: 360,
      height: 220,
      layer: [
        bars,
        { mark: "line", encoding: { x, y: { ...y, field: "y" }, color, strokeDash: dashOf } },
        { mark: "point", encoding: { x, y: { ...y, field: "y" }, color } },
      ],
    },
  };
}

const panels = Object.values(groupNames).flatMap((group) =>
  Object.values(operationNames).map((operation) => `${operation}, ${group}`),
);
