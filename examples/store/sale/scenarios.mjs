// The sales. Each has carts prepared in peace, and then everybody comes at once.
//
// A scenario says which items it needs (`items`, how many are in stock by name) and what happens (`run`), which resolves
// with what the requests came to and with what must hold: pairs of what was expected and what was seen.

import { setTimeout as sleep } from "node:timers/promises";

/** Carts that are prepared at a time. */
const PREPARED_AT_ONCE = 6;
const AMPLE = 1_000_000;
/** Medusa's `lock step` of a cart waits for 2 s; somebody else keeps this one for longer than anybody waits. */
const FOREIGN_LOCK_MS = 60_000;
/** How long the item of a dead server may be unsellable before it is given up on. */
const SELLS_AGAIN_WITHIN_MS = 180_000;
const SHOPPER_RETRIES_AFTER_MS = 100;

const equal = (what, expected, seen) => ({ what, expected, seen, holds: expected === seen });

/** How many come, in the full sale and in the quick one. */
const SIZES = {
  full: { limited: 60, stock: 30, hot: 80, opposite: 16, adds: 20, killed: 12 },
  quick: { limited: 16, stock: 8, hot: 20, opposite: 16, adds: 20, killed: 4 },
};

/** All scenarios, in the order in which they run. */
export function scenarios({ quick }) {
  const size = quick ? SIZES.quick : SIZES.full;
  return [
    limitedStock(size),
    hotItem(size),
    oppositeOrders(size),
    addsToOneCart(size),
    oneCartThreeTimes(),
    lockedCart(),
    killedServer(size),
  ];
}

function limitedStock({ limited, stock }) {
  return {
    title: `${limited} carts, ${stock} items in stock`,
    items: { shirt: stock },
    async run(sale) {
      const carts = await prepare(sale, Array(limited).fill(["shirt"]));
      const replies = await completeAll(sale, carts);
      return {
        replies,
        holds: [
          equal("carts completed", stock, countOf(replies, "accepted")),
          equal("carts refused because nothing is left", limited - stock, countOf(replies, "soldOut")),
          ...(await accountsHold(sale, carts, replies, { shirt: countOf(replies, "accepted") })),
        ],
      };
    },
  };
}

function hotItem({ hot }) {
  return {
    title: `${hot} carts of one item, ample stock`,
    items: { mug: AMPLE },
    async run(sale) {
      const carts = await prepare(sale, Array(hot).fill(["mug"]));
      const replies = await completeAll(sale, carts);
      return {
        replies,
        holds: [
          equal("carts completed", hot, countOf(replies, "accepted")),
          ...(await accountsHold(sale, carts, replies, { mug: countOf(replies, "accepted") })),
        ],
      };
    },
  };
}

function oppositeOrders({ opposite }) {
  return {
    title: `${opposite} carts of two items, in both orders`,
    items: { pen: AMPLE, ink: AMPLE },
    async run(sale) {
      const contents = Array.from({ length: opposite }, (_, at) => (at % 2 === 0 ? ["pen", "ink"] : ["ink", "pen"]));
      const carts = await prepare(sale, contents);
      const replies = await completeAll(sale, carts);
      const accepted = countOf(replies, "accepted");
      return {
        replies,
        holds: [
          equal("carts completed", opposite, accepted),
          ...(await accountsHold(sale, carts, replies, { pen: accepted, ink: accepted })),
        ],
      };
    },
  };
}

function addsToOneCart({ adds }) {
  return {
    title: `${adds} adds to one cart`,
    items: { sock: AMPLE },
    async run(sale) {
      const { shop, servers, name } = sale;
      const cart = await shop.newCart(servers[0], []);
      sale.progress.begin("adding", adds);
      const replies = await atOnce(sale, Array(adds).fill(cart.id), (server, id) => shop.add(server, id, name("sock")));
      return {
        replies,
        holds: [
          equal("adds accepted", adds, countOf(replies, "accepted")),
          equal("in the cart, of those accepted", countOf(replies, "accepted"), await shop.quantityIn(servers[0], cart.id, name("sock"))),
          equal("locks left", "", (await sale.accounts.locksLeft()).join(" ")),
        ],
      };
    },
  };
}

function oneCartThreeTimes() {
  return {
    title: "one cart, completed by three requests",
    items: { hat: AMPLE },
    async run(sale) {
      const [cart] = await prepare(sale, [["hat"]]);
      const replies = await completeAll(sale, [cart, cart, cart]);
      const orders = new Set(replies.map(({ order }) => order).filter(Boolean));
      return {
        replies,
        holds: [
          equal("requests answered with the order", 3, countOf(replies, "accepted")),
          equal("orders in the replies", 1, orders.size),
          equal("orders for the cart", "1", (await sale.accounts.ordersOf([cart])).join(" ")),
          ...(await stockHolds(sale, { hat: 1 })),
          equal("locks left", "", (await sale.accounts.locksLeft()).join(" ")),
        ],
      };
    },
  };
}

function lockedCart() {
  return {
    title: "an add to a cart that stays locked",
    items: { cap: AMPLE },
    async run(sale) {
      const { shop, servers, name } = sale;
      const cart = await shop.newCart(servers[0], []);
      const release = await sale.accounts.holdLock(cart.id, FOREIGN_LOCK_MS);
      sale.progress.begin("adding", 1);
      const replies = await atOnce(sale, [cart.id], (server, id) => shop.add(server, id, name("cap")));
      await release();
      return {
        replies,
        holds: [
          equal("adds answered with a conflict", 1, countOf(replies, "conflict")),
          equal("in the cart", 0, await shop.quantityIn(servers[0], cart.id, name("cap"))),
          equal("locks left", "", (await sale.accounts.locksLeft()).join(" ")),
        ],
      };
    },
  };
}

function killedServer({ killed }) {
  return {
    title: "one of two servers killed while it sells",
    items: { bag: AMPLE },
    async run(sale) {
      const [first, second] = sale.servers;
      const carts = await prepare(sale, Array(2 * killed).fill(["bag"]));
      const [lost, kept] = [carts.slice(0, killed), carts.slice(killed)];
      const dying = lost.map((cart) => sale.shop.complete(first, cart));
      await killWhileItHolds(sale, first, sale.shop.item(sale.name("bag")).inventoryItemId);
      const killedAt = performance.now();
      sale.progress.begin("selling again", killed);
      const attempts = await Promise.all(kept.map((cart) => completeInTheEnd(sale, second, cart, killedAt)));
      const before = (await Promise.all(dying)).filter(({ outcome }) => outcome === "accepted").length;
      const replies = attempts.flat();
      const sold = replies.filter(({ outcome }) => outcome === "accepted");
      const sellsAgainMs = Math.min(...sold.map(({ at }) => at)) - killedAt;
      return {
        replies,
        note: `sells again after ${(sellsAgainMs / 1000).toFixed(1)} s`,
        sellsAgainMs,
        holds: [
          equal("carts of the other server completed in the end", killed, sold.length),
          ...(await killedHolds(sale, { lost, kept, before, sold: sold.length })),
        ],
      };
    },
  };
}

/** A cart of each of these contents, ready to be completed, through both servers. */
async function prepare(sale, contents) {
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

function completeAll(sale, carts) {
  sale.progress.begin("checking out", carts.length);
  return atOnce(sale, carts, (server, cart) => sale.shop.complete(server, cart));
}

/** All at once, through the servers in turn. */
function atOnce({ servers, progress }, carts, ask) {
  return Promise.all(
    carts.map(async (cart, at) => {
      const reply = await ask(servers[at % servers.length], cart);
      progress.step();
      return reply;
    }),
  );
}

/** As a shopper does: again, until there is an order. Resolves with every reply. */
async function completeInTheEnd({ shop, progress }, server, cart, since) {
  const replies = [];
  for (;;) {
    const reply = await shop.complete(server, cart);
    replies.push({ ...reply, at: performance.now() });
    if (reply.outcome === "accepted") progress.step();
    if (reply.outcome === "accepted" || performance.now() - since > SELLS_AGAIN_WITHIN_MS) return replies;
    await sleep(SHOPPER_RETRIES_AFTER_MS);
  }
}

/** Ends a server at a moment at which it holds a lock: it is stopped first, so that it cannot release it meanwhile. */
async function killWhileItHolds({ accounts }, server, lock) {
  const deadline = performance.now() + SELLS_AGAIN_WITHIN_MS;
  for (;;) {
    while (!(await accounts.isLocked(lock))) {
      if (performance.now() > deadline) throw new Error(`nobody locked ${lock}, so that there was nothing to kill`);
      await sleep(1);
    }
    server.signal("SIGSTOP");
    await sleep(20); // a release that was on its way arrives
    if (await accounts.isLocked(lock)) break;
    server.signal("SIGCONT");
  }
  server.signal("SIGKILL");
  await server.ended;
}

function countOf(replies, outcome) {
  return replies.filter((reply) => reply.outcome === outcome).length;
}

/** What must hold after every sale: orders, stock and replies agree, and nothing stays locked. */
async function accountsHold(sale, carts, replies, sold) {
  const orders = await sale.accounts.ordersOf(carts);
  return [
    equal("carts with an order, of those completed", countOf(replies, "accepted"), orders.length),
    equal("carts with two orders", 0, orders.filter((count) => count > 1).length),
    ...(await stockHolds(sale, sold)),
    equal("locks left", "", (await sale.accounts.locksLeft()).join(" ")),
  ];
}

/** That each of these items was sold that often, and that its reservations say so. */
async function stockHolds(sale, sold) {
  const checks = await Promise.all(
    Object.entries(sold).map(async ([item, count]) => {
      const { stocked, reserved, reservations } = await sale.accounts.stockOf(sale.shop.item(sale.name(item)).inventoryItemId);
      return [
        { ...equal(`${item}s oversold`, 0, Math.max(0, reservations - stocked)), oversold: true },
        equal(`${item}s reserved, of those sold`, count, reservations),
        equal(`${item}s reserved, as the stock level says`, reservations, reserved),
      ];
    }),
  );
  return checks.flat();
}

// A workflow that died with its server may have made its order, and its reservation, and never said so.
async function killedHolds(sale, { lost, kept, before, sold }) {
  const { accounts, shop, name } = sale;
  const [ofLost, ofKept] = [await accounts.ordersOf(lost), await accounts.ordersOf(kept)];
  const { stocked, reserved, reservations } = await accounts.stockOf(shop.item(name("bag")).inventoryItemId);
  const most = sold + lost.length;
  return [
    equal("carts with two orders", 0, [...ofLost, ...ofKept].filter((count) => count > 1).length),
    equal("carts of the other server with an order", sold, ofKept.length),
    { ...equal("bags oversold", 0, Math.max(0, reservations - stocked)), oversold: true },
    equal("bags reserved, as the stock level says", reservations, reserved),
    {
      what: "bags reserved",
      expected: `${sold + before} to ${most}`,
      seen: reservations,
      holds: reservations >= sold + before && reservations <= most,
    },
    // Medusa locks a cart for 2 minutes while it is completed, whatever becomes of the server.
    equal("locks left, but those of the dead server's carts", "", (await accounts.locksLeft({ except: lost })).join(" ")),
  ];
}
