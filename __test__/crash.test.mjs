/**
 * One of two store processes ends while it sells an item, with the defaults of everything: when the other one can. The numbers of
 * both providers: `node chaos/crash.mjs`.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crash } from "../chaos/crash.mjs";

/** The default lease. It is the time for which nobody else can have the item, for nobody can know that the process is dead. */
const LEASE_MS = 15_000;
/** How late a busy machine may be. */
const LATE_MS = 2_000;

test("killed: the other sells when the lease has lapsed, which is at most 15 s later", async () => {
  const ms = await crash({ provider: "native", signal: "SIGKILL" });
  assert.ok(ms <= LEASE_MS + LATE_MS, `${ms} ms`);
  assert.ok(ms > LEASE_MS / 2, `${ms} ms: it did not wait for the lease`);
});

test("ended by SIGTERM, as Medusa does it with process.exit: the other sells at once", async () => {
  const ms = await crash({ provider: "native", signal: "SIGTERM" });
  assert.ok(ms <= 500 + LATE_MS, `${ms} ms`);
});
