// The Redis server under test: on one port throughout, hung, emptied, killed and brought back. `record` is told what was
// done, from before it was done until after.

import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis } from "../scripts/redis-server.mjs";
import { now } from "./journal.mjs";
import { connect } from "./register.mjs";

/** The connections of stores are called this and their slot. */
export const STORE_NAME = "chaos-store-";

export class DisturbedServer {
  #folder;
  #record;
  #server;
  #port;
  #admin;

  static async start(folder, record) {
    const self = new DisturbedServer();
    self.#folder = folder;
    self.#record = record;
    mkdirSync(folder, { recursive: true });
    self.#server = await startRedis({ args: self.#args("yes") });
    self.#port = self.#server.port;
    self.#admin = connect(self.url, { connectionName: "chaos-admin" });
    return self;
  }

  get url() {
    return `redis://127.0.0.1:${this.#port}`;
  }

  get admin() {
    return this.#admin;
  }

  // What was answered is in the log before the answer leaves, and what is in the log outlives a SIGKILL: `everysec` would
  // let the log lag behind while it is being synced.
  #args(appendonly, more = []) {
    return ["--dir", this.#folder, "--appendonly", appendonly, "--appendfsync", "no", "--maxmemory-policy", "noeviction", ...more];
  }

  /** Carries out one fault of the schedule. */
  async suffer({ kind, lasts = 0, pick }) {
    const from = now();
    const detail = await this.#act(kind, lasts * 1000, pick);
    this.#record({ e: "fault", kind, from, to: now(), ...detail });
  }

  async #act(kind, ms, pick) {
    if (kind === "hang") return this.#hang(ms);
    if (kind === "flushall") return void (await this.#admin.flushall());
    if (kind === "script-flush") return void (await this.#admin.script("FLUSH"));
    if (kind === "cut") return this.#cut(pick);
    return this.#restart(kind, ms);
  }

  async #hang(ms) {
    process.kill(this.#server.pid, "SIGSTOP");
    await sleep(ms);
    process.kill(this.#server.pid, "SIGCONT");
  }

  // Those of one store; of all, where `pick` is below a third.
  async #cut(pick) {
    const list = (await this.#admin.client("LIST")).split("\n").filter((line) => line.includes(` name=${STORE_NAME}`));
    const names = [...new Set(list.map((line) => / name=(\S+)/.exec(line)[1]))];
    const name = names[Math.floor(pick * names.length)];
    const chosen = list.filter((line) => pick < 1 / 3 || line.includes(` name=${name} `));
    for (const line of chosen) await this.#admin.client("KILL", "ID", /id=(\d+)/.exec(line)[1]);
    return { slots: [...new Set(chosen.map((line) => Number(/ name=chaos-store-(\d+)/.exec(line)[1])))] };
  }

  async #restart(kind, ms) {
    const snapshot = join(this.#folder, "dump.rdb");
    const lostFrom = now();
    if (kind === "restart-old") {
      await this.#admin.save();
      await sleep(700); // what happens now will be forgotten
    }
    process.kill(this.#server.pid, "SIGKILL");
    await this.#server.stop();
    await sleep(ms);
    const log = join(this.#folder, "appendonlydir");
    if (kind !== "restart-data" && existsSync(log)) rmSync(log, { recursive: true });
    if (kind !== "restart-old") rmSync(snapshot, { force: true });
    const old = kind === "restart-old";
    this.#server = await startRedis({ args: this.#args(old ? "no" : "yes", ["--port", String(this.#port)]) });
    const readyAt = now();
    if (old) await this.#logAgain();
    return { readyAt, ...(kind === "restart-data" ? {} : { lostFrom }) };
  }

  // A server that starts from a snapshot has no log: it is begun, and complete when its first rewrite is.
  async #logAgain() {
    await this.#admin.config("SET", "appendonly", "yes");
    for (;;) {
      const state = await this.#admin.info("persistence");
      if (/aof_rewrite_in_progress:0/.test(state) && /aof_rewrite_scheduled:0/.test(state)) return;
      await sleep(20);
    }
  }

  async stop() {
    this.#admin.disconnect();
    await this.#server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
