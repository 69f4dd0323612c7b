/** What an error must be: checks to give to `assert.rejects`. */
import assert from "node:assert/strict";
import { MedusaError } from "@medusajs/framework/utils";
import { LockError } from "./product.mjs";

/** Callers match on these two texts, word for word. */
export const refusal = (key) => `Failed to acquire lock for key "${key}"`;
export const TIMED_OUT = "Timed-out acquiring lock.";

const TYPES = {
  LOCK_HELD: "conflict",
  LOCK_TIMEOUT: "conflict",
  LOCK_SELF_WAIT: "conflict",
  LOCK_LOST: "conflict",
  INVALID_ARGUMENT: "invalid_data",
  INVALID_OPTION: "invalid_data",
  LIMIT_EXCEEDED: "unexpected_state",
  REDIS_UNREACHABLE: "unexpected_state",
  REDIS_ERROR: "unexpected_state",
  CLOSED: "unexpected_state",
  INTERNAL: "unexpected_state",
};

function matchMessage(error, message) {
  if (message instanceof RegExp) assert.match(error.message, message);
  else if (message !== undefined) assert.equal(error.message, message);
}

/** From `Locks`: a `LockError` with this code and, where given, this message (a string is compared word for word). */
export const lockError = (code, message) => (error) => {
  assert.ok(error instanceof LockError, `a LockError, not ${error?.stack ?? error}`);
  assert.equal(error.code, code, error.stack);
  matchMessage(error, message);
  return true;
};

/** From the Locking Module: a `MedusaError` of the type that belongs to the code. */
export const medusaError = (code, message) => (error) => {
  assert.ok(MedusaError.isMedusaError(error), `a MedusaError, not ${error?.stack ?? error}`);
  assert.equal(error.code, code, error.stack);
  assert.equal(error.type, TYPES[code], error.stack);
  matchMessage(error, message);
  return true;
};
