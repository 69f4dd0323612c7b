/**
 * A client of the protocol that has nothing from the product but `docs/PROTOCOL.md` and the scripts that it names. It knows what
 * a member of a fleet must know and no more: it does not come back from a broken connection, and passes nothing on.
 *
 * Its library speaks RESP2, so its inbox has a connection of its own.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { projectRoot } from "./product.mjs";
import { Redis } from "./redis.mjs";

const require = createRequire(import.meta.url);
const slotOf = createRequire(createRequire(require.resolve("@medusajs/locking-redis")).resolve("ioredis"))("cluster-key-slot");

const POLL_MS = 1_000;
/** How long a record lives whose lock does not expire. */
const RECORD_MS = 86_400_000;
const SLOTS = 16_384;
const QUEUES = "locking-native:queues";

const protocol = readFileSync(join(projectRoot, "docs", "PROTOCOL.md"), "utf8");

/** The source of each script, of the files that the table in the protocol names for it. */
const sources = Object.fromEntries(
  [...protocol.matchAll(/^\| `(\w+)` \| ((?:`\w+\.lua`,? ?)+) \|$/gm)].map(([, script, files]) => {
    const read = ([, file]) => readFileSync(join(projectRoot, "src", "backend", "redis", "lua", file), "utf8");
    return [script, [...files.matchAll(/`(\w+\.lua)`/g)].map(read).join("")];
  }),
);
/** What the protocol calls its scripts. */
export const scriptsOfProtocol = Object.keys(sources);

/** Of each slot: the first number in base 36, counting up from 0, that lies in it. */
const tags = (() => {
  const found = new Map();
  for (let n = 0; found.size < SLOTS; n += 1) {
    const tag = n.toString(36);
    const slot = slotOf(tag);
    if (!found.has(slot)) found.set(slot, tag);
  }
  return found;
})();

/** What a client that does nothing more waits for. */
const frozen = new Promise(() => {});

const flag = (on) => (on ? "1" : "0");
/** The end of a lease that a command sent at `sentAt` has set, with the margin for clocks that differ. */
const deadline = (sentAt, leaseMs) => sentAt + leaseMs - leaseMs / 50 - 2;

/** A request that was given up. */
export class GivenUp extends Error {}

export class SecondClient {
  /** Every message that came. */
  heard = [];
  #commands;
  #messages;
  #namespace;
  #process = `execute:second:${process.pid}:${randomBytes(4).toString("hex")}`;
  #inbox = `locking-native:inbox:${this.#process.replace("execute:", "")}:1`;
  #attempts = 0;
  #renewing = new Set();
  /** Whom a message with a number is for. */
  #waiting = new Map();

  /** Connects, and subscribes before anything else is sent. */
  static async connect(url, namespace) {
    const client = new SecondClient();
    client.#namespace = namespace;
    client.#commands = new Redis(url, { connectionName: "second-client" });
    client.#messages = new Redis(url, { connectionName: "second-client" });
    client.#messages.on("message", (_inbox, text) => client.#hear(text));
    await client.#messages.subscribe(client.#inbox);
    return client;
  }

  /** Ends its connections without a word, as a process that dies does. */
  die() {
    for (const timer of this.#renewing) clearInterval(timer);
    this.#commands.disconnect();
    this.#messages.disconnect();
  }

  /** Waits for the locks and runs `job(token, lost)` while it holds them; `lost()`: whether they are not its own any more. */
  async execute(keys, job, { leaseMs = 15_000, timeoutMs = 30_000, claim = true } = {}) {
    const attempt = this.#attempt();
    const fence = `locking-native:fence:${this.#namespace}`;
    const lines = [...keys.map(this.#lock), QUEUES];
    const ask = (ticket) =>
      this.#run("acquire_job", [...lines, fence], attempt, leaseMs, 0, ticket, 0, this.#inbox, flag(false), this.#tags(keys));
    const cancel = () => this.#run("cancel_job", lines, attempt, this.#tags(keys));
    const { token, sentAt } = await this.#served(attempt, ask, cancel, { timeoutMs, claim, goodForMs: deadline(0, leaseMs) });

    const owner = `${attempt}#${token}`;
    let goodUntil = deadline(sentAt, leaseMs);
    const renewing = setInterval(async () => {
      const renewedAt = performance.now();
      const [lost] = await this.#run("renew", keys.map(this.#lock), owner, leaseMs, keys.length);
      goodUntil = lost === 0 ? deadline(renewedAt, leaseMs) : 0;
    }, leaseMs / 3);
    this.#renewing.add(renewing);
    try {
      return await job(token, () => performance.now() >= goodUntil);
    } finally {
      clearInterval(renewing);
      this.#renewing.delete(renewing);
      await this.#run("release", lines, keys.length, owner, flag(false), flag(false), this.#tags(keys));
    }
  }

  /** Waits for the locks and leaves them to `owner`; resolves with the token. */
  async acquire(keys, owner, { expireMs = 0, timeoutMs = 30_000 } = {}) {
    const attempt = this.#attempt();
    const lines = [...keys.map(this.#lock), QUEUES, ...keys.map(this.#record)];
    const ask = (ticket) =>
      this.#run(
        "acquire_lock",
        [...lines, `locking-native:fence:${this.#namespace}`],
        ...[attempt, expireMs, owner, ticket, 0, this.#inbox, flag(false), flag(false), flag(false), RECORD_MS, this.#tags(keys)],
      );
    const cancel = () => this.#run("cancel_lock", lines, attempt, owner, RECORD_MS, this.#tags(keys));
    const { token } = await this.#served(attempt, ask, cancel, { timeoutMs, claim: true, goodForMs: expireMs || Infinity });
    return token;
  }

  /** Whether all of them were `owner`'s. */
  async release(keys, owner) {
    const names = [...keys.map(this.#lock), QUEUES, ...keys.map(this.#record)];
    return (await this.#run("release", names, keys.length, owner, flag(false), flag(false), this.#tags(keys))) === 1;
  }

  /** Releases all locks of the namespace; with an owner, those that are its own. */
  async releaseAll(owner) {
    let cursor = "0";
    do {
      const [next, found] = await this.#commands.scan(cursor, "MATCH", `${this.#namespace}*`, "COUNT", 1_000);
      const keys = found.map((name) => name.slice(this.#namespace.length));
      const names = [...keys.map(this.#lock), QUEUES, ...keys.map(this.#record)];
      await this.#run("sweep", names, flag(owner === undefined), owner ?? "", this.#tags(keys));
      cursor = next;
    } while (cursor !== "0");
  }

  /** `{ owner, ms, token }` of a lock, or null where it is free. */
  async inspect(key) {
    const [found] = await this.#run("inspect", [this.#lock(key), this.#record(key)]);
    if (found === null) return null;
    const [owner, ms, record] = found;
    const token = owner.match(/^execute:.*#(\d+)$/)?.[1] ?? record?.split(" ")[1] ?? "0";
    return { owner, ms, token: Number(token) };
  }

  #lock = (key) => `${this.#namespace}${key}`;
  #tag = (key) => tags.get(slotOf(this.#lock(key)));
  #tags = (keys) => keys.map((key) => this.#tag(key).padEnd(4)).join("");
  #record = (key) => `locking-native:{${this.#tag(key)}}:lock:${this.#lock(key)}`;

  #attempt() {
    this.#attempts += 1;
    return `${this.#process}:${this.#attempts}`;
  }

  #run(script, keys, ...args) {
    assert.ok(sources[script], `the protocol names the files of ${script}`);
    return this.#commands.eval(sources[script], keys.length, ...keys, ...args);
  }

  #hear(text) {
    this.heard.push(text);
    const [word, number, ms] = text.split(" ");
    this.#waiting.get(number)?.(word === "granted" ? 0 : Number(ms) + 1);
  }

  /** Asks until it is served, and then when the command was sent. Without `claim` it does not take what is handed over to it. */
  async #served(attempt, ask, cancel, { timeoutMs, claim, goodForMs }) {
    const giveUpAt = performance.now() + timeoutMs;
    const number = attempt.split(":").at(-1);
    let ticket = "0";
    let wake = () => {};
    let lookAt = Infinity;
    // Messages and answers come on two connections: what is heard while a command is under way counts after its answer.
    this.#waiting.set(number, (ms) => {
      lookAt = Math.min(lookAt, performance.now() + ms);
      wake();
    });
    try {
      for (;;) {
        const sentAt = performance.now();
        lookAt = Infinity;
        const reply = await ask(ticket);
        if (typeof reply === "number") {
          if (performance.now() < sentAt + goodForMs) return { token: reply, sentAt };
          continue;
        }
        const [, ms] = reply;
        ticket = String(reply[2]);
        lookAt = Math.min(lookAt, performance.now() + Math.min(POLL_MS, ms < 0 ? POLL_MS : ms + 1));
        if (!claim) await frozen;
        while (performance.now() < Math.min(lookAt, giveUpAt)) {
          const pauseMs = Math.max(1, Math.min(lookAt, giveUpAt) - performance.now());
          await new Promise((resolve) => {
            const timer = setTimeout(resolve, pauseMs);
            wake = () => (clearTimeout(timer), resolve());
          });
        }
        if (performance.now() >= giveUpAt) {
          await cancel();
          throw new GivenUp(`gave up after ${timeoutMs} ms`);
        }
      }
    } finally {
      this.#waiting.delete(number);
    }
  }
}
