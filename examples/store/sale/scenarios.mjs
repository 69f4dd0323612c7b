// The sales. Each has carts prepared in peace, and then everybody comes at once.
//
// A scenario says which items it needs (`items`, how many are in stock by name) and what happens (`run`), which resolves
// with what the requests came to and with what must hold.

import { atOnce, completeAll, completeInTheEnd, killWhileItHolds, prepare } from "./crowd.mjs";
import { accountsHold, countOf, equal, holdsAfterDeath, nothingLocked, stockHolds } from "./holds.mjs";

const AMPLE = 1_000_000;
/** For how long somebody else keeps a cart: longer than anybody waits for it, and Medusa's step waits for 2 s. */
const FOREIGN_LOCK_MS = 60_000;

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
  return checkouts({
    title: `${limited} carts, ${stock} items in stock`,
    items: { shirt: stock },
    contents: Array(limited).fill(["shirt"]),
    sells: stock,
  });
}

function hotItem({ hot }) {
  return checkouts({
    title: `${hot} carts of one item, ample stock`,
    items: { mug: AMPLE },
    contents: Array(hot).fill(["mug"]),
    sells: hot,
  });
}

function oppositeOrders({ opposite }) {
  return checkouts({
    title: `${opposite} carts of two items, in both orders`,
    items: { pen: AMPLE, ink: AMPLE },
    contents: Array.from({ length: opposite }, (_, at) => (at % 2 === 0 ? ["pen", "ink"] : ["ink", "pen"])),
    sells: opposite,
  });
}

/** A cart of each of these contents is completed, all at once. `sells` of them can be. */
function checkouts({ title, items, contents, sells }) {
  return {
    title,
    items,
    async run(sale) {
      const carts = await prepare(sale, contents);
      const replies = await completeAll(sale, carts);
      const accepted = countOf(replies, "accepted");
      const sold = Object.fromEntries(Object.keys(items).map((item) => [item, accepted]));
      return {
        replies,
        holds: [
          equal("carts completed", sells, accepted),
          equal("carts refused because nothing is left", contents.length - sells, countOf(replies, "soldOut")),
          ...(await accountsHold(sale, carts, replies, sold)),
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
      const accepted = countOf(replies, "accepted");
      return {
        replies,
        holds: [
          equal("adds accepted", adds, accepted),
          equal("in the cart, of those accepted", accepted, await shop.quantityIn(servers[0], cart.id, name("sock"))),
          await nothingLocked(sale),
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
          await nothingLocked(sale),
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
          await nothingLocked(sale),
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
        note: sold.length > 0 ? `sells again after ${(sellsAgainMs / 1000).toFixed(1)} s` : "does not sell again",
        sellsAgainMs,
        holds: [
          equal("carts of the other server completed in the end", killed, sold.length),
          ...(await holdsAfterDeath(sale, "bag", { lost, kept, before, sold: sold.length })),
        ],
      };
    },
  };
}
