import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { nowNs } from "./measured.mjs";

/** How far ahead a common start is, in ms: all processes have heard of it by then. */
const aheadMs = 30;
/** Timers are late by up to so much, in ms. */
const timerSlackMs = 3;

/** A moment for processes to begin at together, in ns on the clock that they share. */
export function commonStart() {
  return nowNs() + aheadMs * 1e6;
}

/** Resolves at that moment, or at once where it has passed. */
export async function startAt(atNs) {
  const leftMs = (atNs - nowNs()) / 1e6;
  if (leftMs > timerSlackMs) await sleep(leftMs - timerSlackMs);
  while (nowNs() < atNs) await nextTurn();
}
