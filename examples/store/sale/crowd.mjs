// What a crowd does: prepares its carts in peace, comes all at once, and asks again where it is refused.

import { setTimeout as sleep } from "node:timers/promises";

/** Carts that are prepared at a time. */
const PREPARED_AT_ONCE = 6;
const SHOPPER_RETRIES_AFTER_MS = 100;
/** How long shoppers try, and how long there may be nothing to kill. Longer than any lease. */
const GIVES_UP_AFTER_MS = 180_000;
/** How often it is looked whether a server holds a lock, and how long a release may be on its way to Redis. */
const LOOK_EVERY_MS = 1;
const RELEASE_ARRIVES_WITHIN_MS = 20;

/** A cart of each of these contents, ready to be completed, through both servers. */
export async function prepare(sale, contents) {
  const carts = [];
  sale.progress.begin("preparing carts", contents.length);
  const queue = contents.entries();
  const worker = async () => {
    for (const [at, names] of queue) {
      carts[at] = await sale.shop.prepareCart(sale.servers[at % sale.servers.length], names.map(sale.name));
      sale.progress.step();
    }
  };
  await Promise.all(Array.from({ length: PREPARED_AT_ONCE }, worker));
  return carts;
}

/** Completes all at once, through the servers in turn. */
export function completeAll(sale, carts) {
  sale.progress.begin("checking out", carts.length);
  return atOnce(sale, carts, (server, cart) => sale.shop.complete(server, cart));
}

/** Asks for all at once, through the servers in turn. */
export function atOnce({ servers, progress }, carts, ask) {
  return Promise.all(
    carts.map(async (cart, at) => {
      const reply = await ask(servers[at % servers.length], cart);
      progress.step();
      return reply;
    }),
  );
}

/** As a shopper does: again, until there is an order. Resolves with every reply. */
export async function completeInTheEnd({ shop, progress }, server, cart, since) {
  const replies = [];
  for (;;) {
    const reply = await shop.complete(server, cart);
    replies.push({ ...reply, at: performance.now() });
    if (reply.outcome === "accepted") progress.step();
    if (reply.outcome === "accepted" || performance.now() - since > GIVES_UP_AFTER_MS) return replies;
    await sleep(SHOPPER_RETRIES_AFTER_MS);
  }
}

/** Ends a server at a moment at which it holds a lock: it is stopped first, so that it cannot release it meanwhile. */
export async function killWhileItHolds({ accounts }, server, lock) {
  const deadline = performance.now() + GIVES_UP_AFTER_MS;
  for (;;) {
    while (!(await accounts.isLocked(lock))) {
      if (performance.now() > deadline) throw new Error(`nobody locked ${lock}, so that there was nothing to kill`);
      await sleep(LOOK_EVERY_MS);
    }
    server.signal("SIGSTOP");
    await sleep(RELEASE_ARRIVES_WITHIN_MS);
    if (await accounts.isLocked(lock)) break;
    server.signal("SIGCONT");
  }
  server.signal("SIGKILL");
  await server.ended;
}
