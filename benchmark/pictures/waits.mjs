// How long each of many callers of one key waits: the distribution.
import { colourOf, labelsOf, milliseconds } from "./style.mjs";

const shape = /^(memory|redis)\/hot-key-(100|1000)-waiters$/;
const groupNames = { memory: "in memory", redis: "on Redis" };

export const waits = {
  file: "waits",
  title: "Waiting for one hot key: share of the callers served within a time",
  subtitle: "all callers ask in one go, in one process; jobs of one microtask; further left is better",
  draw({ heats }) {
    const rows = heats.flatMap((heat) => {
      const [, group, waiters] = shape.exec(heat.name) ?? [];
      return group === undefined ? [] : heat.contestants.flatMap((entry) => distribution(entry, panelOf(waiters, group)));
    });
    if (rows.length === 0) return null;
    const times = rows.map(({ ms }) => ms);
    const x = milliseconds("ms waited", Math.min(...times), 1.1 * Math.max(...times));
    return {
      data: { values: rows },
      facet: { field: "panel", type: "nominal", sort: panels },
      columns: 2,
      spacing: 28,
      resolve: { axis: { x: "independent", y: "independent" } },
      spec: {
        width: 360,
        height: 190,
        mark: { type: "line", interpolate: "step-after" },
        encoding: {
          x: { field: "ms", ...x },
          y: {
            field: "share",
            type: "quantitative",
            scale: { domain: [0, 1] },
            axis: { title: "served by then", format: "%", tickCount: 5 },
          },
          color: colourOf(rows),
          order: { field: "share" },
        },
      },
    };
  },
};

const panels = ["memory", "redis"].flatMap((group) => [100, 1000].map((waiters) => panelOf(waiters, group)));

function panelOf(waiters, group) {
  return `${waiters} callers, ${groupNames[group]}`;
}

function distribution(entry, panel) {
  const points = entry.percentiles ?? [];
  return points.map((ms, percent) => ({ ...labelsOf(entry), panel, ms: Math.max(ms, 0.01), share: percent / 100 }));
}
