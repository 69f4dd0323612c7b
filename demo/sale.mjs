// The flash sale as one process of the shop sees it: its buyers arrive, each reads the stock, pays, and the
// stock is written back. With a Locking Module the purchase runs inside `execute` on the item's key.

import { setTimeout as sleep } from "node:timers/promises";

/** All buyers arrive within this time, in ms. */
const RUSH_MS = 1_000;
/** How long a payment takes, in ms: at least, and at random up to this much longer. */
const PAYMENT_MS = 6;
const PAYMENT_JITTER_MS = 10;
/** How long a buyer is ready to wait, in seconds. */
const PATIENCE_S = 60;

/**
 * Lets `buyers` buyers buy one item each.
 *
 * `locking` is Medusa's Locking Module, or null for a shop without locks. `onChange(tally)` is called on every
 * change with the running tally.
 */
export async function sell({ buyers, stock, locking, itemKey, onChange = () => {} }) {
  const tally = { sold: 0, served: 0, waiting: 0, errors: [], waitsMs: [], lastSaleAt: 0 };
  const startedAt = performance.now();
  const visits = Array.from({ length: buyers }, () => visit({ stock, locking, itemKey, tally, onChange }));
  await Promise.all(visits);
  const lastedMs = Math.max(0, tally.lastSaleAt - startedAt);
  return { sold: tally.sold, errors: tally.errors, waitsMs: tally.waitsMs, lastedMs };
}

async function visit({ stock, locking, itemKey, tally, onChange }) {
  await sleep(Math.random() * RUSH_MS);
  const askedAt = performance.now();
  const purchase = async () => {
    tally.waitsMs.push(performance.now() - askedAt);
    tally.waiting -= 1;
    if (await buyOne(stock)) {
      tally.sold += 1;
      tally.lastSaleAt = performance.now();
    }
  };
  tally.waiting += 1;
  onChange(tally);
  try {
    await (locking ? locking.execute(itemKey, purchase, { timeout: PATIENCE_S }) : purchase());
  } catch (error) {
    tally.errors.push(error.message);
  }
  tally.served += 1;
  onChange(tally);
}

// The read-check-write that a shop must not do unprotected: between the read and the write lies the payment.
async function buyOne(stock) {
  const left = await stock.read();
  if (left <= 0) return false;
  await sleep(PAYMENT_MS + Math.random() * PAYMENT_JITTER_MS);
  await stock.write(left - 1);
  return true;
}
