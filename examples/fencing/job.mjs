// One process of a fleet: sells shirts under the lock. Started by run.mjs, which also plays the payment provider.

import { once } from "node:events";
import { Locks } from "../../dist/native.js"; // in a project of yours: "medusa-locking-native/native"
import { openStock } from "./stock.mjs";

const [name, sold, redisUrl, file] = process.argv.slice(2);
const say = (text) => console.log(`${name}: ${text}`);
const locks = new Locks({ redisUrl, namespace: "fencing-example:" });
const stock = openStock(file);

async function sell(signal, lock) {
  say(`has the lock, fencing token ${lock.fencingToken}`);
  const quantity = stock.begin("shirt", lock.fencingToken);
  if (quantity === undefined) throw new Error("a newer lock has been here");
  say(`reads ${quantity} shirts, sells ${sold}`);

  process.send("pay");
  await once(process, "message"); // the payment; a process that is stopped in here may wake up minutes later

  // A look at `signal` here finds out in most cases that the lock is lost. Not in all: the process can be stopped
  // between the look and the write as well. So the row decides.
  const rest = quantity - sold;
  const written = stock.write("shirt", rest, lock.fencingToken);
  say(written ? `writes ${rest}` : `wants to write ${rest}: refused, a newer lock has been here`);
}

await locks.execute("shirt", sell, { expire: 2, timeout: 30 }).then(
  () => say("done"),
  (error) => say(`execute rejects with ${error.code ?? error}`),
);
stock.close();
await locks.close();
process.disconnect();
