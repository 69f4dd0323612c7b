// What all pictures have in common: one colour for each contestant, one look, and how a description becomes an SVG.
import { parse, textMetrics, View } from "vega";
import { compile } from "vega-lite";

/** The mean width of a letter, in parts of its height. Without a canvas Vega reckons with 0.8: half as much again. */
const letterWidth = 0.57;
textMetrics.width = (item, text = item.text) => String(text ?? "").length * (item.fontSize ?? 11) * letterWidth;

/** By id, in the order in which legends have them. Each stands out from white and from near-black. */
const colours = {
  "native-redis": "#2f81f7",
  "native-memory": "#1a9e77",
  "medusa-redis": "#e5534b",
  "medusa-memory": "#c08a00",
  redlock: "#a371f7",
  "redis-semaphore": "#e0823d",
  "redlock-universal": "#d361a3",
  "floor-scripts": "#7d8590",
  "floor-get": "#a0a8b0",
};

/** What stands in a drawing, and what replaces it where the reader's system is dark. */
const ink = { text: "#1f2328", faint: "#59636e", grid: "#d8dee4", ground: "#ffffff" };
const darkInk = { text: "#e6edf3", faint: "#9aa4af", grid: "#30363d", ground: "#0d1117" };

const font = "system-ui, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', sans-serif";

const config = {
  background: ink.ground,
  padding: 16,
  font,
  view: { stroke: ink.grid },
  title: {
    anchor: "start",
    frame: "group",
    offset: 14,
    color: ink.text,
    fontSize: 16,
    subtitleColor: ink.faint,
    subtitleFontSize: 12,
    subtitlePadding: 5,
  },
  axis: {
    labelColor: ink.faint,
    labelFontSize: 11,
    labelLimit: 260,
    titleColor: ink.text,
    titleFontSize: 12,
    titleFontWeight: "normal",
    gridColor: ink.grid,
    domainColor: ink.grid,
    tickColor: ink.grid,
  },
  header: { title: null, labelColor: ink.text, labelFontSize: 13, labelFontWeight: "bold", labelPadding: 6 },
  legend: {
    orient: "bottom",
    title: null,
    columns: 3,
    columnPadding: 24,
    offset: 14,
    labelColor: ink.text,
    labelFontSize: 12,
    labelLimit: 320,
    symbolSize: 120,
    symbolStrokeWidth: 3,
    symbolOpacity: 1,
  },
  line: { strokeWidth: 2.2 },
  point: { filled: true, size: 45, opacity: 1 },
};

/** The name of a contestant that `rows` have as `contestant` gets the contestant's colour. */
export function colourOf(rows) {
  const named = new Map(rows.map(({ id, contestant }) => [id, contestant]));
  const ids = Object.keys(colours).filter((id) => named.has(id));
  return {
    field: "contestant",
    type: "nominal",
    scale: { domain: ids.map((id) => named.get(id)), range: ids.map((id) => colours[id]) },
  };
}

/** A logarithmic axis: of as many powers of ten as there are, or of given `values`. */
export function logarithmic(title, { axis = {}, ...scale } = {}) {
  const marks = axis.values ? { labelOverlap: false } : { tickCount: 3 };
  return { type: "quantitative", scale: { type: "log", ...scale }, axis: { title, format: "~s", ...marks, ...axis } };
}

/** One of given numbers, as far apart as their ratios are. */
export function steps(field, title, values) {
  return { field, ...logarithmic(title, { nice: false, padding: 14, axis: { values, format: "~s" } }) };
}

/** Milliseconds from `least` to `most`. */
export function milliseconds(title, least, most) {
  const powers = [0.01, 0.1, 1, 10, 100, 1000, 10_000, 100_000];
  const values = powers.filter((ms) => ms >= least && ms <= most);
  return logarithmic(title, { domain: [least, most], nice: false, axis: { values, format: ",~r" } });
}

/** A dash for what is no lock. */
export const dashOf = { condition: { test: "datum.floor", value: [5, 4] }, value: [1, 0] };

/** The columns by which a row is told apart. */
export function labelsOf({ id, name }) {
  return { id, contestant: name, floor: id.startsWith("floor") };
}

/**
 * Draws a Vega-Lite description.
 * @param {object} spec
 * @param {{title: string, subtitle: string | string[], source: string}} about `source`: of which results
 */
export async function svgOf(spec, { title, subtitle, source }) {
  const whole = { ...spec, title: { text: title, subtitle }, config };
  const view = new View(parse(compile(whole).spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  const opening = /^<svg[^>]*>/.exec(svg)[0];
  const head = [opening, `<title>${escaped(title)}</title>`, `<desc>${escaped(source)}</desc>`, darkRules()];
  return `${head.join("\n")}${svg.slice(opening.length)}\n`;
}

function darkRules() {
  const rules = Object.entries(ink).flatMap(([name, colour]) =>
    ["fill", "stroke"].map((paint) => `[${paint}="${colour}"]{${paint}:${darkInk[name]}}`),
  );
  return `<style>@media (prefers-color-scheme:dark){${rules.join("")}}</style>`;
}

function escaped(text) {
  return text.replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
}
