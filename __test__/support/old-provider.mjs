/**
 * A node of the first 2.x releases: `execute` locks key by key without an owner and without an expiry, and everybody polls.
 * It stands in for a provider that can no longer be installed beside its successor.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { refusal, TIMED_OUT } from "./errors.mjs";

const FIRST_RETRY_MS = 5;
const LAST_RETRY_MS = 200;

const RELEASE = `
if redis.call("GET", KEYS[1]) == ARGV[1] then
  return redis.call("DEL", KEYS[1])
end
return 0
`;

export class OldProvider {
  #redis;
  #namespace;

  /**
   * @param redis a connection, as `server.connect()` gives it
   * @param {string} namespace
   */
  constructor(redis, namespace) {
    this.#redis = redis;
    this.#namespace = namespace;
  }

  async execute(keys, job, { timeout = 5 } = {}) {
    await this.#take([keys].flat(), "*", performance.now() + timeout * 1_000);
    try {
      return await job();
    } finally {
      await this.release(keys);
    }
  }

  async acquire(keys, { ownerId = "*", awaitQueue = false, expire = 0 } = {}) {
    await this.#take([keys].flat(), ownerId, awaitQueue ? Infinity : 0, expire);
  }

  async release(keys, { ownerId = "*" } = {}) {
    const answers = await Promise.all([keys].flat().map((key) => this.#redis.eval(RELEASE, 1, this.#name(key), ownerId)));
    return answers.every((answer) => answer === 1);
  }

  async releaseAll({ ownerId = "*" } = {}) {
    let cursor = "0";
    do {
      const [next, names] = await this.#redis.scan(cursor, "MATCH", `${this.#namespace}*`, "COUNT", 100);
      for (const name of names) if ((await this.#redis.get(name)) === ownerId) await this.#redis.unlink(name);
      cursor = next;
    } while (cursor !== "0");
  }

  #name(key) {
    return `${this.#namespace}${key}`;
  }

  async #take(keys, ownerId, deadline, expire = 0) {
    assert.ok(keys.length > 0);
    for (const key of keys) {
      let pause = FIRST_RETRY_MS;
      while (!(await this.#set(key, ownerId, expire))) {
        if (deadline === 0) throw new Error(refusal(key));
        if (performance.now() > deadline) throw new Error(TIMED_OUT);
        await sleep(pause);
        pause = Math.min(2 * pause, LAST_RETRY_MS);
      }
    }
  }

  async #set(key, ownerId, expire) {
    const expiry = expire > 0 ? ["EX", expire] : [];
    return (await this.#redis.set(this.#name(key), ownerId, ...expiry, "NX")) === "OK";
  }
}
