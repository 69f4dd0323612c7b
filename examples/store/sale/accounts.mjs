// What the store's database and Redis say after a sale: what the replies must agree with.

import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";

// The store's own, which has it from Medusa.
const { Client } = createRequire(new URL("../package.json", import.meta.url))("pg");

/** What locks, and waiting for locks, writes to Redis: that of Medusa's provider, and that of ours. */
const LOCK_KEYS = ["medusa_lock:*", "locking-native:*:lock:*", "locking-native:*:queue:*", "locking-native:*:waiter:*"];
const LOCK = "medusa_lock:";
/** How long locks may still be held after the last reply. */
const RELEASE_WITHIN_MS = 10_000;
const LOOK_EVERY_MS = 50;

export class Accounts {
  #database;
  #redis;

  constructor(database, redis) {
    this.#database = database;
    this.#redis = redis;
  }

  static async open({ databaseUrl, redisUrl }) {
    const database = new Client({ connectionString: databaseUrl });
    await database.connect();
    return new Accounts(database, new Redis(redisUrl));
  }

  async close() {
    this.#redis.disconnect();
    await this.#database.end();
  }

  /** How many of an item are in stock and how many of these are reserved, as the level says and as reservations add up. */
  async stockOf(inventoryItemId) {
    const { rows } = await this.#database.query(
      `SELECT stocked_quantity::int AS stocked, reserved_quantity::int AS reserved,
              (SELECT coalesce(sum(quantity), 0)::int FROM reservation_item AS reservation
                WHERE reservation.inventory_item_id = $1 AND deleted_at IS NULL) AS reservations
         FROM inventory_level WHERE inventory_item_id = $1 AND deleted_at IS NULL`,
      [inventoryItemId],
    );
    return rows[0];
  }

  /** How many orders there are for each of these carts that has any. */
  async ordersOf(cartIds) {
    const { rows } = await this.#database.query(
      `SELECT count(*)::int AS orders FROM order_cart WHERE cart_id = ANY($1) AND deleted_at IS NULL GROUP BY cart_id`,
      [cartIds],
    );
    return rows.map(({ orders }) => orders);
  }

  /** Whether a lock is held, by whomever. */
  async isLocked(name) {
    return (await this.#redis.exists(LOCK + name)) === 1;
  }

  /** Holds a lock for somebody whom no server of the store knows, until the function that this resolves with is called. */
  async holdLock(name, forMs) {
    await this.#redis.set(LOCK + name, "somebody-else", "PX", forMs);
    return () => this.#redis.del(LOCK + name);
  }

  /** What is still locked or waited for, after the time that it may take until nothing is. */
  async locksLeft({ except = [] } = {}) {
    const deadline = performance.now() + RELEASE_WITHIN_MS;
    for (;;) {
      const found = await Promise.all(LOCK_KEYS.map((pattern) => this.#redis.keys(pattern)));
      const left = found.flat().filter((key) => !except.some((name) => key.includes(name)));
      if (left.length === 0 || performance.now() > deadline) return left;
      await sleep(LOOK_EVERY_MS);
    }
  }
}
