/** Ten thousand leases in one process whose event loop is stuck for longer than a lease. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { calls, fleetServer, scriptCalls } from "./support/fleet.mjs";
import { allKeys, nothingLeft } from "./support/redis.mjs";
import { deferred, settles, until } from "./support/waiting.mjs";

const LEASES = 10_000;
const LEASE_S = 6;
/** How long the event loop is stuck: the leases lapse meanwhile unless they are renewed. */
const STUCK_MS = 7_500;
/** At least so many leases are renewed by one command. */
const TOGETHER = 100;

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
after(() => server.stop());

test("ten thousand leases outlive an event loop that is stuck for longer than one, and are renewed by the hundred", async () => {
  const { clients: [locks], namespace } = fleet(1);
  const end = deferred();
  const lost = [];
  let inside = 0;
  const job = async (signal, lock) => {
    inside += 1;
    signal.addEventListener("abort", () => lost.push(lock.keys[0]));
    await end.promise;
    return lock.keys[0];
  };
  const keys = Array.from({ length: LEASES }, (_, n) => `k${n}`);
  const outcomes = keys.map((key) => locks.execute(key, job, { expire: LEASE_S, timeout: 60 }));
  const settled = Promise.allSettled(outcomes);
  await until(() => inside === LEASES, `all of ${LEASES} jobs run`, 20_000);

  await admin.config("RESETSTAT");
  const stuckUntil = performance.now() + STUCK_MS;
  while (performance.now() < stuckUntil);
  // Each lease is renewed by a PEXPIRE, as each has one key, and each script call renews as many as it has.
  const [renewed, commands] = [await calls(admin, "pexpire"), await scriptCalls(admin)];

  assert.deepEqual(lost, [], "none is lost");
  const held = (await allKeys(admin)).filter((key) => key.startsWith(namespace));
  assert.equal(held.length, LEASES, "all stand in Redis");
  assert.ok(renewed >= LEASES, `${renewed} renewals of ${LEASES} leases`);
  assert.ok(commands <= renewed / TOGETHER, `${commands} commands for ${renewed} renewals`);

  end.resolve();
  const results = await settles(settled, "all jobs end", 20_000);
  assert.deepEqual(
    results.filter(({ status }) => status === "rejected").map(({ reason }) => reason.message),
    [],
    "all finish cleanly",
  );
  assert.deepEqual(results.map(({ value }) => value), keys);
  assert.deepEqual(lost, []);
  assert.deepEqual(locks.stats(), { backend: "redis", keys: 0, waiting: 0 });
  await nothingLeft(admin, namespace);
  await leaveNothing();
});
