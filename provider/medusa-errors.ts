/**
 * Our errors as Medusa's: their type decides the status of the HTTP response.
 */

import { MedusaError } from "@medusajs/framework/utils";

import type { LockError, LockErrorCode } from "./errors.js";

const { CONFLICT, INVALID_DATA, UNEXPECTED_STATE } = MedusaError.Types;

const TYPES: Readonly<Record<LockErrorCode, string>> = {
  LOCK_HELD: CONFLICT,
  LOCK_TIMEOUT: CONFLICT,
  LOCK_LOST: CONFLICT,
  INVALID_ARGUMENT: INVALID_DATA,
  INVALID_OPTION: INVALID_DATA,
  LIMIT_EXCEEDED: UNEXPECTED_STATE,
  REDIS_UNREACHABLE: UNEXPECTED_STATE,
  REDIS_ERROR: UNEXPECTED_STATE,
  CLOSED: UNEXPECTED_STATE,
  INTERNAL: UNEXPECTED_STATE,
};

/** The same error for Medusa: message, cause, and the code in `code`. */
export function toMedusaError(error: LockError): MedusaError {
  const { code, message } = error;
  const details = "cause" in error ? [message, { cause: error.cause }] : [message];
  return new MedusaError(TYPES[code], message, code, ...details);
}
