// What must hold after a sale: the replies, the orders and the stock agree, and nothing stays locked.
//
// Each is a pair of what was expected and what was seen.

/** Expected is what is seen, exactly. */
export function equal(what, expected, seen) {
  return { what, expected, seen, holds: expected === seen };
}

/** Expected is what is seen, or less, or more, within bounds. */
function between(what, least, most, seen) {
  return { what, expected: `${least} to ${most}`, seen, holds: seen >= least && seen <= most };
}

/** How many of the replies are of this kind. */
export function countOf(replies, outcome) {
  return replies.filter((reply) => reply.outcome === outcome).length;
}

/** Every cart that was completed has one order, every item was reserved as often as `sold` says, nothing is locked. */
export async function accountsHold(sale, carts, replies, sold) {
  const orders = await sale.accounts.ordersOf(carts);
  return [
    equal("carts with an order, of those completed", countOf(replies, "accepted"), orders.length),
    equal("carts with two orders", 0, twoOrMore(orders)),
    ...(await stockHolds(sale, sold)),
    await nothingLocked(sale),
  ];
}

/** Each of these items was sold that often, and its reservations say so. */
export async function stockHolds(sale, sold) {
  const checks = Object.entries(sold).map(async ([item, count]) => {
    const { stocked, reserved, reservations } = await stockOf(sale, item);
    return [
      notOversold(item, stocked, reservations),
      equal(`${item}s reserved, of those sold`, count, reservations),
      equal(`${item}s reserved, as the stock level says`, reservations, reserved),
    ];
  });
  return (await Promise.all(checks)).flat();
}

/** Nothing is locked or waited for any more. */
export async function nothingLocked({ accounts }) {
  return equal("locks left", "", (await accounts.locksLeft()).join(" "));
}

/**
 * The same where a server died: its workflows, those of the carts `lost`, may have made their order and their reservation
 * and never said so. `before` of them had an answer, and `sold` of the carts `kept` of the other server.
 */
export async function holdsAfterDeath(sale, item, { lost, kept, before, sold }) {
  const { accounts } = sale;
  const [ofLost, ofKept] = [await accounts.ordersOf(lost), await accounts.ordersOf(kept)];
  const { stocked, reserved, reservations } = await stockOf(sale, item);
  return [
    equal("carts with two orders", 0, twoOrMore([...ofLost, ...ofKept])),
    equal("carts of the other server with an order", sold, ofKept.length),
    notOversold(item, stocked, reservations),
    equal(`${item}s reserved, as the stock level says`, reservations, reserved),
    between(`${item}s reserved`, sold + before, sold + lost.length, reservations),
    // Medusa locks a cart for 2 minutes while it is completed, whatever becomes of the server.
    equal("locks left, but those of the dead server's carts", "", (await accounts.locksLeft({ except: lost })).join(" ")),
  ];
}

function notOversold(item, stocked, reservations) {
  return { ...equal(`${item}s oversold`, 0, Math.max(0, reservations - stocked)), oversold: true };
}

function twoOrMore(orders) {
  return orders.filter((count) => count > 1).length;
}

function stockOf({ accounts, shop, name }, item) {
  return accounts.stockOf(shop.item(name(item)).inventoryItemId);
}
