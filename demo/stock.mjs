// Where the shop keeps the number of items left. Reading and writing are two separate, slow steps, as with a
// real database: nothing here keeps two buyers from reading the same number.

import { setTimeout as sleep } from "node:timers/promises";

/** How long the storage takes for one read or one write, in ms. */
const STORAGE_MS = 1;

/** The stock in this process's memory. */
export class MemoryStock {
  #left;

  constructor(units) {
    this.#left = units;
  }

  async read() {
    await sleep(STORAGE_MS);
    return this.#left;
  }

  async write(left) {
    await sleep(STORAGE_MS);
    this.#left = left;
  }
}

/** The stock in a Redis string, shared by all processes: a plain GET, later a plain SET. */
export class RedisStock {
  #redis;
  #key;

  constructor(redis, key) {
    this.#redis = redis;
    this.#key = key;
  }

  async read() {
    await sleep(STORAGE_MS);
    return Number(await this.#redis.get(this.#key));
  }

  async write(left) {
    await sleep(STORAGE_MS);
    await this.#redis.set(this.#key, String(left));
  }
}
