// What the server has to do: commands by keys in a call, and requests by how many processes wait.
import { colourOf, labelsOf, logarithmic, steps } from "./style.mjs";

const byKeys = { "redis/execute-1-wide": 1, "redis/execute-10-keys": 10, "redis/execute-100-keys": 100 };
const byWaiters = /^redis\/commands-(\d+)-waiting$/;

export const commands = {
  file: "commands",
  title: "What the Redis server is asked to do",
  subtitle: "counted by the server itself; less is better",
  draw({ heats }) {
    const left = heats.flatMap((heat) =>
      heat.name in byKeys ? rowsOf(heat, byKeys[heat.name], ({ perOperation }) => perOperation.redisCommands) : [],
    );
    const right = heats.flatMap((heat) => {
      const waiting = byWaiters.exec(heat.name)?.[1];
      return waiting === undefined ? [] : rowsOf(heat, Number(waiting), ({ value }) => value?.median);
    });
    if (left.length === 0 || right.length === 0) return null;
    const color = colourOf([...left, ...right]);
    return {
      hconcat: [
        panel("execute, free keys", left, {
          x: steps("x", "keys in the call", [1, 10, 100]),
          y: logarithmic("commands, those in scripts included", { axis: { format: "~g" } }),
          color,
        }),
        panel("one key, passed on between processes", right, {
          x: steps("x", "processes waiting", [2, 20, 200]),
          y: logarithmic("requests per handover", { axis: { format: "~g" } }),
          color,
        }),
      ],
      spacing: 70,
      bounds: "flush",
    };
  },
};

function rowsOf(heat, x, read) {
  const entries = heat.contestants.filter((entry) => !entry.id.startsWith("floor") && read(entry));
  return entries.map((entry) => ({ ...labelsOf(entry), x, y: read(entry) }));
}

function panel(title, rows, { x, y, color }) {
  const encoding = { x, y: { field: "y", ...y }, color };
  return {
    title: { text: title, fontSize: 13, offset: 6 },
    data: { values: rows },
    width: 350,
    height: 230,
    layer: [
      { mark: "line", encoding },
      { mark: "point", encoding },
    ],
  };
}
