// A number per key that jobs read, and write one higher: what locks are there to protect. It stands in a Redis of its own
// that nobody disturbs, guarded by fencing tokens: neither a read nor a write under a lower token than the highest seen is
// let through. A read counts too: from then on nobody before it can write, so a write always follows the last one, and
// the number is exactly how many were let through. Every write is logged under the name of its call.

import { createRequire } from "node:module";

// The client that the other provider brings.
const require = createRequire(createRequire(import.meta.url).resolve("@medusajs/locking-redis"));
const { Redis } = require("ioredis");

const GUARD = `
for _, name in ipairs(KEYS) do
  if tonumber(ARGV[1]) < tonumber(redis.call('HGET', name, 'token') or '0') then return {0} end
end
for _, name in ipairs(KEYS) do redis.call('HSET', name, 'token', ARGV[1]) end
`;
const READ = `${GUARD}
local reply = {1}
for _, name in ipairs(KEYS) do reply[#reply + 1] = redis.call('HGET', name, 'value') or '0' end
return reply`;
const WRITE = `${GUARD}
for i, name in ipairs(KEYS) do
  redis.call('HSET', name, 'value', ARGV[i + 2])
  redis.call('RPUSH', name .. ':log', ARGV[2])
end
return {1}`;

/** A connection that makes itself anew. */
export function connect(url, options = {}) {
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50, ...options });
  client.on("error", () => {});
  return client;
}

export class Register {
  #redis;

  constructor(url) {
    this.#redis = connect(url);
  }

  /** The numbers of `keys`; undefined: a higher token was there before. `token` 0: no token, and no guard. */
  async read(keys, token) {
    const [passed, ...values] = await this.#redis.eval(READ, keys.length, ...keys.map(nameOf), token);
    return passed === 1 ? values.map(Number) : undefined;
  }

  /** Whether it was let through. */
  async write(keys, token, id, values) {
    const [passed] = await this.#redis.eval(WRITE, keys.length, ...keys.map(nameOf), token, id, ...values);
    return passed === 1;
  }

  /** For each key, its number and the names of the calls whose writes were let through. */
  async contents(keys) {
    const found = {};
    for (const key of keys) {
      const value = Number((await this.#redis.hget(nameOf(key), "value")) ?? 0);
      found[key] = { value, log: await this.#redis.lrange(`${nameOf(key)}:log`, 0, -1) };
    }
    return found;
  }

  close() {
    this.#redis.disconnect();
  }
}

const nameOf = (key) => `register:${key}`;
