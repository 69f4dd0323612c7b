// What a storefront asks of the store, over HTTP, and what became of it.

import { randomUUID } from "node:crypto";

const SHIPPING_ADDRESS = {
  first_name: "Ada",
  last_name: "Buyer",
  address_1: "Hafen 1",
  city: "Hamburg",
  country_code: "de",
  postal_code: "20457",
};
/** How long a reply may take. Longer than any wait for a lock. */
const REPLY_TIMEOUT_MS = 120_000;

/** What a request can come to. */
export const OUTCOMES = ["accepted", "soldOut", "conflict", "other"];

/** The storefront of a seeded store. Every call names the server that it goes to. */
export class Shop {
  #seeded;

  constructor(seeded) {
    this.#seeded = seeded;
  }

  item(name) {
    return this.#seeded.items[name];
  }

  /** A cart of one of each of these items, with everything that it needs to be completed. Resolves with its id. */
  async prepareCart(server, names) {
    const cart = await this.newCart(server, names);
    await this.#make(server, `/store/carts/${cart.id}/shipping-methods`, { option_id: this.#seeded.optionId });
    const { payment_collection: payment } = await this.#make(server, "/store/payment-collections", { cart_id: cart.id });
    const sessions = `/store/payment-collections/${payment.id}/payment-sessions`;
    await this.#make(server, sessions, { provider_id: "pp_system_default" });
    return cart.id;
  }

  async newCart(server, names) {
    const { regionId, channelId } = this.#seeded;
    const { cart } = await this.#make(server, "/store/carts", {
      region_id: regionId,
      sales_channel_id: channelId,
      email: `shopper-${randomUUID()}@example.com`, // two carts of one new shopper at once are refused
      shipping_address: SHIPPING_ADDRESS,
      items: names.map((name) => ({ variant_id: this.item(name).variantId, quantity: 1 })),
    });
    return cart;
  }

  /** How many of an item are in a cart. */
  async quantityIn(server, cartId, name) {
    const { status, body } = await this.#send(server, "GET", `/store/carts/${cartId}?fields=*items`);
    if (status !== 200) throw new Error(`GET of cart ${cartId}: expected 200, got ${status} ${JSON.stringify(body)}`);
    const lines = body.cart.items.filter(({ variant_id: id }) => id === this.item(name).variantId);
    return lines.reduce((sum, { quantity }) => sum + quantity, 0);
  }

  /** One more of an item into a cart. */
  add(server, cartId, name) {
    const line = { variant_id: this.item(name).variantId, quantity: 1 };
    return this.#timed(server, `/store/carts/${cartId}/line-items`, line);
  }

  /** The order for a cart. `reply.order` is its id. */
  complete(server, cartId) {
    return this.#timed(server, `/store/carts/${cartId}/complete`, {});
  }

  /** Only the id is asked for: what these replies hold by default costs the servers as much as what is asked of them. */
  async #make(server, path, body) {
    const reply = await this.#send(server, "POST", `${path}?fields=id`, body);
    if (reply.status === 200) return reply.body;
    throw new Error(`POST ${path}: expected 200, got ${reply.status} ${JSON.stringify(reply.body)}`);
  }

  async #timed(server, path, body) {
    const started = performance.now();
    const reply = await this.#send(server, "POST", path, body).catch(noReply);
    const ms = performance.now() - started;
    return { outcome: outcomeOf(reply), ms, order: reply.body.order?.id, said: `${reply.status} ${reply.body.message}` };
  }

  async #send(server, method, path, body) {
    const response = await fetch(`${server.url}${path}`, {
      method,
      headers: { "content-type": "application/json", "x-publishable-api-key": this.#seeded.publishableKey },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(REPLY_TIMEOUT_MS),
    });
    return { status: response.status, body: await response.json() };
  }
}

function outcomeOf({ status, body }) {
  if (status === 200) return body.type === "cart" ? "other" : "accepted"; // a cart: it has not become an order
  if (status === 409) return "conflict";
  return status === 400 && /stock|inventory/i.test(body.message ?? "") ? "soldOut" : "other";
}

function noReply(error) {
  return { status: 0, body: { message: `no reply: ${error.cause?.message ?? error.message}` } };
}
