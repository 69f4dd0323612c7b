/** One release that serves several waiters of one and the same other process: each of them is told. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { holding } from "./support/held.mjs";
import { Locks } from "./support/product.mjs";
import { redisServer } from "./support/redis.mjs";
import { until } from "./support/waiting.mjs";

/** Far below the second after which a waiter that was not told asks by itself. */
const SOON_MS = 500;

let server;
before(async () => void (server = await redisServer()));
after(() => server.stop());

test("a set of keys is released, and each of them is wanted alone in another process", async () => {
  const options = { redisUrl: server.url, namespace: freshNamespace() };
  const [here, there] = [new Locks(options), new Locks(options)];
  const keys = ["a", "b", "c", "d"];
  const held = await holding(here, keys);
  const granted = keys.map((key) => there.execute(key, () => performance.now()));
  const admin = server.connect();
  // All of them wait on the server.
  await until(async () => (await admin.keys(`locking-native:*:waiter:*`)).length === keys.length, "every key has its waiter");
  const released = performance.now();
  await held.end();
  for (const at of await Promise.all(granted)) assert.ok(at - released < SOON_MS, `granted ${Math.round(at - released)} ms after the release`);
  await Promise.all([here.close(), there.close()]);
});
