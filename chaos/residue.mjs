// What is left in the server under test when all is quiet.

import { setTimeout as sleep } from "node:timers/promises";

const LOOK_EVERY_MS = 500;

/** Every key but the fence counter: `{ name, type, ttl, text }`. */
export async function leftIn(redis, fence) {
  const left = [];
  for (const name of await redis.keys("*")) {
    if (name === fence) continue;
    const type = await redis.type(name);
    if (type !== "none") left.push({ name, type, ttl: await redis.pttl(name), text: await textOf(redis, name, type) });
  }
  return left;
}

async function textOf(redis, name, type) {
  if (type === "string") return String(await redis.get(name));
  if (type === "hash") return JSON.stringify(await redis.hgetall(name));
  return type === "zset" ? (await redis.zrange(name, 0, -1)).join(" ") : "";
}

/** The same, looked at until nothing is left or `withinMs` have passed. */
export async function leftAfter(redis, fence, withinMs) {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const left = await leftIn(redis, fence);
    if (left.length === 0 || performance.now() > deadline) return left;
    await sleep(LOOK_EVERY_MS);
  }
}
