// What happened, one JSON object a line, in files that a SIGKILL of the writer cannot take back: each line is one
// write() to a file opened for appending, and what the kernel has taken it keeps.
//
// The one clock: process.hrtime, on Linux CLOCK_MONOTONIC, is the same for all processes of the machine. Times are in
// milliseconds with fractions.

import { openSync, readFileSync, writeSync } from "node:fs";

/** The time on the one clock, in ms. */
export const now = () => Number(process.hrtime.bigint()) / 1e6;

/** Opens a journal; the function that it returns records `event` as of `t` and returns `t`. */
export function openJournal(path) {
  const file = openSync(path, "a");
  return (event, t = now()) => {
    writeSync(file, `${JSON.stringify({ t, ...event })}\n`);
    return t;
  };
}

/** The events of a journal. Only its last line may be broken off: its writer was killed. */
export function readJournal(path) {
  const lines = readFileSync(path, "utf8").split("\n");
  const broken = lines.pop();
  if (broken !== "") lines.length = lines.findLastIndex((line) => line !== "") + 1;
  return lines.map((line) => JSON.parse(line));
}
