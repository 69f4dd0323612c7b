/**
 * Our errors as Medusa's: their type decides the status of the HTTP response.
 */

import { MedusaError } from "@medusajs/framework/utils";

import type { LockError, LockErrorCode } from "./errors.js";

const { CONFLICT, INVALID_DATA, UNEXPECTED_STATE } = MedusaError.Types;

const TYPES: Readonly<Record<LockErrorCode, string>> = {
  LOCK_HELD: CONFLICT,
  LOCK_TIMEOUT: CONFLICT,
  LOCK_SELF_WAIT: CONFLICT,
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
  // The rest goes to Error's constructor, whose first parameter stays empty, as always with MedusaErrors: a message
  // that is set there is not enumerable, and would be missing where Medusa logs the error as JSON.
  const details = "cause" in error ? [undefined, { cause: error.cause }] : [];
  return new MedusaError(TYPES[code], message, code, ...details);
}
