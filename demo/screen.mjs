// What the demo shows: live progress while a round runs, and the table at the end.

import { styleText } from "node:util";

const PLAIN_LINE_EVERY_MS = 500;
const BAR_WIDTH = 20;
const LABEL_WIDTH = 15;

const live = process.stdout.isTTY === true;

function style(format, text) {
  return live && !process.env.NO_COLOR ? styleText(format, text) : text;
}

/** A headline. */
export function headline(text) {
  console.log(`\n${style("bold", text)}`);
}

/**
 * One round's progress: on a terminal a line that rewrites itself, elsewhere a plain line every half second.
 * `update(tally)` shows `{sold, served, waiting}`, `end(tally)` leaves the last state standing.
 */
export function progress(label, { buyers, stock }) {
  let shownAt = 0;
  const line = ({ sold, served, waiting }) => {
    const bar = "#".repeat(Math.min(BAR_WIDTH, Math.round((served / buyers) * BAR_WIDTH))).padEnd(BAR_WIDTH, ".");
    const over = sold > stock ? style("red", `  oversold ${sold - stock}`) : "";
    const count = `${String(sold).padStart(String(buyers).length)} sold of ${stock}`;
    const crowd = `buyers served ${String(served).padStart(String(buyers).length)}/${buyers}, waiting ${waiting}`;
    return `  ${label.padEnd(LABEL_WIDTH)}[${bar}] ${count}  ${crowd}${over}`;
  };
  const rewrite = (tally) => process.stdout.write(`\r\x1b[K${line(tally)}`);
  return {
    update(tally) {
      const now = performance.now();
      if (now - shownAt < (live ? 40 : PLAIN_LINE_EVERY_MS)) return;
      shownAt = now;
      if (live) rewrite(tally);
      else console.log(line(tally));
    },
    end(tally) {
      if (live) rewrite(tally);
      process.stdout.write(live ? "\n" : `${line(tally)}\n`);
    },
  };
}

/** The closing table, a row per round. */
export function table(rounds) {
  const header = ["", "sold", "oversold", "wait p50", "wait p99", "sales/s"];
  const rows = rounds.map(({ label, locked, sold, oversold, waitsMs, lastedMs }) => [
    label,
    String(sold),
    String(oversold),
    locked ? milliseconds(percentile(waitsMs, 50)) : "-",
    locked ? milliseconds(percentile(waitsMs, 99)) : "-",
    lastedMs > 0 ? (sold / (lastedMs / 1000)).toFixed(0) : "-",
  ]);
  const widths = header.map((_, at) => Math.max(...[header, ...rows].map((row) => row[at].length)));
  const text = (row) =>
    row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join("   ");
  console.log(`\n  ${style("bold", text(header))}`);
  console.log(`  ${"-".repeat(text(header).length)}`);
  rows.forEach((row, at) => console.log(`  ${style(rounds[at].oversold > 0 ? "red" : "green", text(row))}`));
  console.log("");
}

/** A closing line: `good` in green, otherwise red. */
export function verdict(good, text) {
  console.log(style(good ? "green" : "red", text));
}

/** The least of some numbers that this many percent of them do not exceed. */
export function percentile(values, percent) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))];
}

function milliseconds(value) {
  if (value === undefined) return "-";
  return value < 10 ? `${value.toFixed(1)} ms` : `${value.toFixed(0)} ms`;
}
