/** What lies beside a lock in Redis lies in the lock's own cluster slot, whatever its name: a cluster itself is asked for the slots. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { fleetServer, queued, RARE_POLLS } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { allKeys, redisServer } from "./support/redis.mjs";
import { settles } from "./support/waiting.mjs";

const STARTS_MAX = 30;
const KEYS = [
  "plain", "{tag}", "a{tag}b", "{}", "{}x", "{}{tag}", "{{x}}", "}{", "}{x}", "{open", "close}", "a {b} c", "  ", "{ }", "line\nbreak",
  "'\"\\", "*?[a-z]", "ключ", "{ключ}", "сто{к}", "🔒", "{🔒}", "e\u0301", "a:queue:b", "locking-native:{x}:queue:y", "{1:2}", "\u0001",
];
const NAMESPACES = ["ns:", "shop{1}:", "{", "мир {я}:", "a:queue:"];

let server, admin, fleet, leaveNothing, cluster, slots;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
  cluster = await clusterServer();
  slots = cluster.connect();
});
afterEach(() => leaveNothing());
after(async () => {
  await cluster?.stop();
  await server.stop();
});

/** Its second port is 10000 above the first one, which is not to be had for every free port. */
async function clusterServer() {
  for (let starts = 1; ; starts += 1) {
    try {
      return await redisServer(["--cluster-enabled", "yes"]);
    } catch (error) {
      if (starts === STARTS_MAX) throw error;
    }
  }
}

const slotOf = (key) => slots.cluster("KEYSLOT", key);

/** Fails unless all that stands in Redis beside these locks lies in their slots; the kinds of what was there. */
async function inTheirSlots(locks) {
  const kinds = [];
  for (const name of await allKeys(admin)) {
    if (!name.startsWith("locking-native:{")) continue;
    const [, kind, rest] = name.match(/^locking-native:\{[^:]*\}:(\w+):([^]*)$/);
    // What a waiter is called does not say what for: its first queue does.
    const lock = kind === "waiter" ? (await admin.hget(name, "1")).replace(/^locking-native:\{[^:]*\}:queue:/, "") : rest;
    assert.ok(locks.includes(lock), `"${name}" belongs to a lock`);
    assert.equal(await slotOf(name), await slotOf(lock), `"${name}" lies with "${lock}"`);
    kinds.push(kind);
  }
  return kinds;
}

for (const namespace of NAMESPACES) {
  test(`what jobs and acquires write, waiting and holding: namespace "${namespace}"`, async () => {
    const { clients: [holder, waiter], lock } = fleet(2, { ...RARE_POLLS, namespace });
    const locks = KEYS.map(lock);
    await holder.acquire(KEYS, { ownerId: "me" });
    const waiting = KEYS.map((key, n) =>
      n % 2 === 0 ? waiter.execute(key, () => {}, { timeout: 60 }) : waiter.acquire(key, { ownerId: "you", awaitQueue: true }),
    );
    for (const name of locks) await queued(admin, name, 1);
    const kinds = await inTheirSlots(locks);
    for (const kind of ["queue", "waiter", "lock"]) {
      assert.equal(kinds.filter((one) => one === kind).length, KEYS.length, `a ${kind} for each lock`);
    }
    await holder.release(KEYS, { ownerId: "me" });
    await settles(Promise.all(waiting), "all are served");
    await inTheirSlots(locks);
    await waiter.releaseAll();
  });
}

test("a waiter for several locks lies with the first of them, and its queues each with their own", async () => {
  const { clients: [holder, waiter], lock, namespace } = fleet(2, { ...RARE_POLLS, namespace: "{set}:" });
  const keys = ["b{x}", "a{y}", "c"];
  const held = await holding(holder, "c");
  const waiting = waiter.execute(keys, () => "served", { timeout: 60 });
  await queued(admin, lock("c"), 1);
  assert.deepEqual((await inTheirSlots(keys.map(lock))).sort(), ["queue", "queue", "queue", "waiter"]);
  const name = (await allKeys(admin)).find((key) => key.includes(":waiter:"));
  assert.ok((await admin.hget(name, "1")).endsWith(`:queue:${namespace}a{y}`));
  await held.end();
  assert.equal(await settles(waiting, "the set"), "served");
});
