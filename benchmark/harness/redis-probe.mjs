import { createRequire } from "node:module";

const { Redis } = createRequire(import.meta.url)("ioredis");

/**
 * @typedef {object} ServerCost what a Redis server did between two readings, the readings themselves left out
 * @property {number} commands that it ran, those inside scripts included
 * @property {number} requests that clients sent: the commands that no script can run, and PING
 * @property {number} cpuUs
 * @property {number} bytes received and sent
 * @property {number} keys how many more it holds
 * @property {Record<string, number>} byCommand how often it ran each
 */

/** Reads the server's own counters over a connection of its own. */
export class RedisProbe {
  #client;
  #onlyForClients;
  #database;

  /** @param {number} [database] whose keys are counted */
  static async open(url, database = 0) {
    const client = new Redis(url, { lazyConnect: true });
    await client.connect();
    return new RedisProbe(client, await commandsForClients(client), database);
  }

  constructor(client, onlyForClients, database) {
    this.#client = client;
    this.#onlyForClients = onlyForClients;
    this.#database = database;
  }

  /** @returns an opaque reading for `since` */
  async read() {
    const text = await this.#client.info("all");
    const field = (name) => Number(new RegExp(`^${name}:(.*)`, "m").exec(text)?.[1] ?? 0);
    return {
      calls: Object.fromEntries(callCounts(text)),
      cpuUs: (field("used_cpu_user") + field("used_cpu_sys")) * 1e6,
      bytes: field("total_net_input_bytes") + field("total_net_output_bytes"),
      keys: Number(new RegExp(`^db${this.#database}:keys=(\\d+)`, "m").exec(text)?.[1] ?? 0),
      replyBytes: Buffer.byteLength(text),
    };
  }

  /**
   * What the server did since an earlier reading.
   * @returns {Promise<ServerCost>}
   */
  async since(earlier) {
    const now = await this.read();
    const byCommand = {};
    for (const [name, calls] of Object.entries(now.calls)) {
      const more = calls - (earlier.calls[name] ?? 0);
      if (more > 0 && name !== "info") byCommand[name] = more;
    }
    const counts = Object.entries(byCommand);
    return {
      commands: sumOf(counts),
      requests: sumOf(counts.filter(([name]) => this.#onlyForClients.has(name))),
      cpuUs: now.cpuUs - earlier.cpuUs,
      bytes: Math.max(0, now.bytes - earlier.bytes - earlier.replyBytes),
      keys: now.keys - earlier.keys,
      byCommand,
    };
  }

  /** Empties the server: what a contestant that was stopped left behind must not block its next heat. */
  async empty() {
    await this.#client.flushall();
  }

  /** "Redis 7.0.15", "Valkey 8.0.1" */
  async version() {
    const text = await this.#client.info("server");
    const valkey = /^valkey_version:(\S+)/m.exec(text)?.[1];
    return valkey ? `Valkey ${valkey}` : `Redis ${/^redis_version:(\S+)/m.exec(text)?.[1]}`;
  }

  close() {
    this.#client.disconnect();
  }
}

/** The names, as INFO has them, of the commands that no script can run, and of PING, which none has a use for. */
async function commandsForClients(client) {
  const commands = await client.command();
  const withParts = commands.flatMap((command) => [command, ...(command[9] ?? [])]);
  const unscripted = withParts.filter(([, , flags]) => flags.includes("noscript"));
  return new Set(["ping", ...unscripted.map(([name]) => name.toLowerCase())]);
}

function sumOf(counts) {
  return counts.reduce((sum, [, calls]) => sum + calls, 0);
}

function callCounts(info) {
  return [...info.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(([, name, calls]) => [name, Number(calls)]);
}
