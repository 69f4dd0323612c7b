// The locks without Medusa: three orders for two items, on a stock that refuses writes from a lock that has passed on.
//
//   node examples/without-medusa.mjs                          locks in this process
//   node examples/without-medusa.mjs redis://127.0.0.1:6379   locks on Redis
//
// In this repository it needs a build (npm run build; npm run demo and npm test make one too).

import { setTimeout as sleep } from "node:timers/promises";
import { LockError, Locks } from "medusa-locking-native/native";

const [redisUrl] = process.argv.slice(2);
const locks = new Locks({ redisUrl, namespace: "example:" });

/** Stands for a table of a database: each row knows the highest fencing token that has written to it. */
const stock = new Map([
  ["shirt", { left: 1, fencingToken: 0 }],
  ["shoes", { left: 2, fencingToken: 0 }],
]);

// In SQL: UPDATE stock SET remaining = $1, fencing_token = $2 WHERE id = $3 AND fencing_token <= $2
function write(item, left, fencingToken) {
  if (fencingToken < stock.get(item).fencingToken) throw new Error(`a newer lock has written to ${item}`);
  stock.set(item, { left, fencingToken });
}

/** All items of an order are locked together: no order of the names can deadlock, none is taken alone. */
async function order(customer, items) {
  return locks.execute(items, async (signal, lock) => {
    if (items.some((item) => stock.get(item).left === 0)) return `${customer}: sold out`;
    await sleep(20, undefined, { signal }); // the payment; given up if the lock is lost
    for (const item of items) write(item, stock.get(item).left - 1, lock.fencingToken);
    return `${customer}: bought ${items.join(" and ")}`;
  });
}

const orders = [order("Ada", ["shirt", "shoes"]), order("Ben", ["shoes", "shirt"]), order("Cem", ["shoes"])];
for (const line of await Promise.all(orders)) console.log(line);

await locks.acquire("nightly-import", { ownerId: "job-17", expire: 60 });
try {
  await locks.acquire("nightly-import", { ownerId: "job-18" });
} catch (error) {
  if (!(error instanceof LockError) || error.code !== "LOCK_HELD") throw error;
  console.log(`job-18: ${error.message}`);
}
await locks.release("nightly-import", { ownerId: "job-17" });

await locks.close();
