// A store's process, started by crash.mjs: it sells an item under its lock, and takes its time, or until it is sold.

import { now } from "./journal.mjs";
import { moduleWith } from "./medusa.mjs";

const { provider, redisUrl, item, waitS } = JSON.parse(process.env.SELLER);

// As Medusa 2.21.2 does it.
process.on("SIGTERM", () => process.exit(0));
process.on("disconnect", () => process.exit(1));

// Nothing but where Redis is: what it takes by default is the question.
const locking = await moduleWith(provider, { redisUrl });

const orders = {
  hold: () => locking.execute(item, () => (process.send({ type: "holds" }), new Promise((resolve) => setTimeout(resolve, 1e9)))),
  sell: () => locking.execute(item, () => process.send({ type: "sold", at: now() }), { timeout: waitS }),
};
process.on("message", (order) => void orders[order]());
process.send({ type: "ready" });
