// What a Redis server counts itself, per direction of the wire, with the reading of it taken off.

import { Redis } from "ioredis";

/** The commands that run a script. What runs inside it is counted beside them. */
const SCRIPT_CALLS = ["eval", "evalsha"];

export class ServerCounts {
  #client;
  #own;

  static async open(url) {
    const counts = new ServerCounts();
    counts.#client = new Redis(url, { lazyConnect: true });
    await counts.#client.connect();
    await counts.#client.info("all");
    await counts.reset();
    counts.#own = await counts.#read();
    return counts;
  }

  /** Counts from here on. */
  reset() {
    return this.#client.config("RESETSTAT");
  }

  /** Since the last reset, nothing of which was asked over this connection. */
  async read() {
    const all = await this.#read();
    return Object.fromEntries(Object.entries(all).map(([name, count]) => [name, count - this.#own[name]]));
  }

  async #read() {
    const text = await this.#client.info("all");
    const field = (name) => Number(new RegExp(`^${name}:(\\d+)`, "m").exec(text)[1]);
    const calls = [...text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name, count]) => [name, Number(count)]);
    const sum = (counts) => counts.reduce((total, [, count]) => total + count, 0);
    return {
      scriptCalls: sum(calls.filter(([name]) => SCRIPT_CALLS.includes(name))),
      commands: sum(calls),
      bytesIn: field("total_net_input_bytes"),
      bytesOut: field("total_net_output_bytes"),
    };
  }

  close() {
    this.#client.disconnect();
  }
}
