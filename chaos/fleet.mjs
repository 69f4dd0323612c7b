// The store processes: started, killed and started again, stopped and continued, their event loops blocked.

import { fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { now } from "./journal.mjs";

const program = fileURLToPath(new URL("store.mjs", import.meta.url));
const START_TIMEOUT_MS = 60_000;
const STDERR_MAX = 4_000;

export class Fleet {
  #setup;
  #record;
  #env;
  #slots;
  #ending = false;

  /** `setup`: what every store is told; `record`: where to write what is done; `env`: for the stores' environment. */
  constructor(setup, record, env = {}) {
    this.#setup = setup;
    this.#record = record;
    this.#env = env;
    this.#slots = Array.from({ length: setup.processes }, (_, slot) => ({ slot, incarnation: 0, granted: 0 }));
  }

  async start() {
    await Promise.all(this.#slots.map((slot) => this.#spawn(slot)));
  }

  /** How many locks were granted, as far as the stores have told. */
  get granted() {
    return this.#slots.reduce((sum, { granted, counts }) => sum + granted + (counts?.granted ?? 0), 0);
  }

  #spawn(slot) {
    slot.incarnation += 1;
    const { incarnation } = slot;
    const journal = join(this.#setup.folder, `store-${slot.slot}.${incarnation}.jsonl`);
    const env = { ...process.env, ...this.#env, CHAOS_STORE: JSON.stringify({ ...this.#setup, slot: slot.slot, incarnation, journal }) };
    const child = fork(program, { env, stdio: ["ignore", "ignore", "pipe", "ipc"] });
    slot.child = child;
    slot.killed = false;
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr = (stderr + text).slice(-STDERR_MAX);
    });
    child.on("message", (message) => {
      if (message.type === "counts" && slot.child === child) slot.counts = message.counts;
    });
    child.on("error", () => {}); // it may have been killed before a message to it was sent
    slot.ended = new Promise((resolve) => {
      child.once("exit", (code, signal) => {
        const wanted = this.#ending || slot.killed;
        this.#record({ e: "exit", slot: slot.slot, incarnation, pid: child.pid, code, signal, wanted, ...(wanted ? {} : { stderr }) });
        slot.granted += slot.counts?.granted ?? 0;
        slot.counts = undefined;
        resolve();
        if (!wanted) void this.#spawn(slot);
      });
    });
    return Promise.race([this.#told(slot, "ready", START_TIMEOUT_MS), slot.ended]);
  }

  #told(slot, type, withinMs) {
    const { child } = slot;
    return new Promise((resolve) => {
      const settle = (message) => {
        clearTimeout(timer);
        child.off("message", onMessage);
        resolve(message);
      };
      const onMessage = (message) => message.type === type && settle(message);
      const timer = setTimeout(settle, withinMs);
      child.on("message", onMessage);
      child.once("exit", () => settle(undefined));
    });
  }

  /** Carries out one fault of the schedule. */
  async suffer({ kind, slot: number, lasts = 0 }) {
    const slot = this.#slots[number];
    const ms = lasts * 1000;
    const from = now();
    const about = { e: "fault", kind, slot: number, incarnation: slot.incarnation, from };
    if (kind === "block") {
      slot.child.send({ type: "block", ms }, () => {});
      this.#record({ ...about, to: from + ms });
    } else if (kind === "stop") {
      const { child } = slot;
      child.kill("SIGSTOP");
      await stopped(child.pid);
      this.#record({ ...about, e: "stopped" });
      await sleep(ms);
      const to = now();
      child.kill("SIGCONT");
      this.#record({ ...about, to });
    } else {
      slot.killed = true;
      slot.child.kill("SIGKILL");
      await slot.ended;
      this.#record({ ...about, to: now() });
      await this.#spawn(slot);
    }
  }

  /** Gives every store an order; resolves with each one's reply, undefined where none came in time. */
  order(type, reply, withinMs) {
    return Promise.all(
      this.#slots.map((slot) => {
        const told = this.#told(slot, reply, withinMs);
        slot.child.send({ type }, () => {});
        return told;
      }),
    );
  }

  async end() {
    this.#ending = true;
    for (const { child } of this.#slots) {
      if (child?.connected) child.send({ type: "end" }, () => {});
      child?.kill("SIGCONT");
    }
    await Promise.all(
      this.#slots.map(async ({ child, ended }) => {
        const late = setTimeout(() => child.kill("SIGKILL"), 3_000);
        await ended;
        clearTimeout(late);
      }),
    );
  }
}

/** Until the process stands still: a signal takes effect a little after it was sent. */
async function stopped(pid) {
  for (let tries = 0; tries < 100; tries += 1) {
    try {
      if (/\) [Tt] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) return;
    } catch {
      return;
    }
    await sleep(1);
  }
}
