// How the cost of one operation grows with what is there already.
import { colourOf, labelsOf, steps } from "./style.mjs";

const kinds = {
  "growth-locks": "acquire + release, by locks held",
  "growth-leases": "execute, by jobs running",
  "growth-waiters": "one hot key, by waiters",
};

export const growth = {
  file: "growth",
  title: "Growth: cost of an operation, as a multiple of that at 100",
  subtitle: "64 at once on distinct keys, or one hot key in one process; dashed: twice that at 100",
  draw({ heats }) {
    const rows = heats.flatMap((heat) => {
      const kind = kinds[heat.name.split("/")[1]];
      return kind === undefined ? [] : heat.contestants.flatMap((entry) => curve(heat, entry, kind));
    });
    if (rows.length === 0) return null;
    const x = steps("size", "how many, logarithmic", [100, 1000, 10_000, 100_000]);
    const y = {
      field: "times",
      type: "quantitative",
      scale: { zero: true },
      axis: { title: "times the cost at 100", format: "~g", tickCount: 5 },
    };
    const color = colourOf(rows);
    return {
      data: { values: rows },
      facet: { field: "kind", type: "nominal", sort: Object.values(kinds) },
      columns: 3,
      spacing: 28,
      resolve: { scale: { x: "independent" }, axis: { y: "independent" } },
      spec: {
        width: 230,
        height: 210,
        layer: [
          { mark: { type: "rule", strokeDash: [4, 4], color: "#59636e" }, encoding: { y: { datum: 2 } } },
          { mark: "line", encoding: { x, y, color } },
          { mark: "point", encoding: { x, y, color } },
        ],
      },
    };
  },
};

function curve({ sizes }, entry, kind) {
  const at = (size) => entry.figures[`at${size}`]?.value?.median ?? entry.value?.median;
  const first = at(sizes[0]);
  return first ? sizes.map((size) => ({ ...labelsOf(entry), kind, size, times: at(size) / first })) : [];
}
