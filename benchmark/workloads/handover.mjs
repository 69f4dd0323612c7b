import { setTimeout as sleep } from "node:timers/promises";
import { measured, nowNs } from "./measured.mjs";

const patienceSeconds = 60;

/**
 * Holds a key for `holdMs` and gives it back. Emits "held" once it has it.
 * @returns cost, and when it asked, when its job began and when it ended, in ns
 */
export async function hold(locks, { key, holdMs }, emit) {
  const asked = nowNs();
  let began;
  let ended;
  const job = async () => {
    began = nowNs();
    emit("held");
    await sleep(holdMs);
    ended = nowNs();
  };
  const cost = await measured(1, () => locks.execute(key, job, { timeout: patienceSeconds }));
  return { ...cost, asked, began, ended };
}

/**
 * Asks for a key that another process holds.
 * @returns cost, and when it asked and when its job began, in ns
 */
export async function waitFor(locks, { key }) {
  const asked = nowNs();
  let began;
  const job = async () => {
    began = nowNs();
  };
  const cost = await measured(1, () => locks.execute(key, job, { timeout: patienceSeconds }));
  return { ...cost, asked, began };
}
