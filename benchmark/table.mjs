// Numbers and columns as text.

/**
 * @typedef {object} Column
 * @property {string} head
 * @property {(entry: object) => string} text
 * @property {'left' | 'right'} [align] default right
 */

/** "1.23x", or nothing */
export function times(ratio) {
  return ratio === undefined || ratio === null ? "" : `${number(ratio)}x`;
}

/** 0.5 as "50.0%", or nothing */
export function percent(share) {
  return share === undefined || share === null ? "" : `${number(100 * share)}%`;
}

/** Three significant digits, and no exponent. */
export function number(value) {
  if (value === undefined || value === null) return "";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}

/** The columns that have something to show, one line an entry. */
export function table(columns, entries) {
  const shown = columns.filter(({ text }) => entries.some((entry) => text(entry) !== ""));
  const lines = [shown.map(({ head }) => head), ...entries.map((entry) => shown.map(({ text }) => text(entry)))];
  const widths = shown.map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  const pad = (text, column) =>
    shown[column].align === "left" ? text.padEnd(widths[column]) : text.padStart(widths[column]);
  return lines.map((line) => `  ${line.map(pad).join("  ").trimEnd()}`).join("\n");
}
