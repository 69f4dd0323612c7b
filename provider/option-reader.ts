/**
 * Reads one object of options: each once, each with its range, and what nobody asked for by name.
 */

import { invalidOption, isLockError, type LockError } from "./errors.js";
import { render, renderGuarded, renderKind } from "./rendering.js";

/** A range of numbers and how to speak of it. */
export interface NumberRange {
  /** What is counted, as in "a number of seconds". */
  readonly of: string;
  readonly min: number;
  readonly max: number;
  /** Whether `min` itself is out of range. */
  readonly above?: boolean;
  readonly integer?: boolean;
  /** Whether a text that is a number will do: `locking-redis` takes these for its own timing options. */
  readonly orText?: boolean;
}

export class OptionReader {
  readonly #prefix: string;
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #known = new Set<string>();

  /**
   * `prefix` goes before the names of options in messages. Undefined and null are no options at all.
   *
   * @throws LockError `INVALID_OPTION`: not an object, or one that cannot be read
   */
  constructor(name: string, options: unknown, prefix = "") {
    this.#prefix = prefix;
    if (options === undefined || options === null) {
      this.#values = new Map();
      return;
    }
    if (typeof options !== "object") {
      throw invalidOption(name, "an object", renderGuarded(options));
    }
    try {
      if (Array.isArray(options)) {
        throw invalidOption(name, "an object", "an array");
      }
      this.#values = new Map(Object.entries(options));
    } catch (cause) {
      throw isLockError(cause)
        ? cause
        : invalidOption(name, "an object", "one that throws when it is read", { cause });
    }
  }

  /** The option as it was given; undefined also for null. */
  take(name: string): unknown {
    this.#known.add(name);
    return this.#values.get(name) ?? undefined;
  }

  /** A text that is not empty. */
  text(name: string): string | undefined {
    const value = this.take(name);
    if (value === undefined) {
      return undefined;
    }
    if (typeof value !== "string" || value === "") {
      throw this.refusal(name, "a non-empty string", render(value));
    }
    return value;
  }

  /** A text that messages must not show. Empty means none: that is what an unset variable often ends up as. */
  secret(name: string): string | undefined {
    const value = this.take(name);
    if (value !== undefined && typeof value !== "string") {
      throw this.refusal(name, "a string", renderKind(value));
    }
    return value || undefined;
  }

  flag(name: string): boolean | undefined {
    const value = this.take(name);
    if (value !== undefined && typeof value !== "boolean") {
      throw this.refusal(name, "true or false", render(value));
    }
    return value;
  }

  oneOf<T extends string | number>(name: string, choices: readonly T[]): T | undefined {
    const value = this.take(name);
    if (value === undefined) {
      return undefined;
    }
    const choice = choices.find((candidate) => candidate === value);
    if (choice === undefined) {
      throw this.refusal(name, choices.map((candidate) => JSON.stringify(candidate)).join(" or "), render(value));
    }
    return choice;
  }

  number(name: string, range: NumberRange): number | undefined {
    const value = this.take(name);
    if (value === undefined) {
      return undefined;
    }
    const number = range.orText === true ? numberOf(value) : value;
    if (typeof number !== "number" || !isWithin(number, range)) {
      throw this.refusal(name, describe(range), render(value));
    }
    return number;
  }

  /** The error for an option that is not what it must be. `got` must hold no secret. */
  refusal(name: string, expected: string, got: string, details?: { cause: unknown }): LockError {
    return invalidOption(this.#prefix + name, expected, got, details);
  }

  /** The names of the options that were given and that nobody has asked for. */
  unknown(): string[] {
    return [...this.#values]
      .filter(([name, value]) => value !== undefined && !this.#known.has(name))
      .map(([name]) => this.#prefix + name);
  }
}

function numberOf(value: unknown): unknown {
  return typeof value === "string" && value.trim() !== "" ? Number(value) : value;
}

function isWithin(number: number, { min, max, above, integer }: NumberRange): boolean {
  // NaN fails the comparisons.
  const isInRange = (above === true ? number > min : number >= min) && number <= max;
  return isInRange && (integer !== true || Number.isInteger(number));
}

function describe({ of, min, max, above, integer }: NumberRange): string {
  const kind = integer === true ? "a whole number" : "a number";
  const counted = of === "" ? kind : `${kind} of ${of}`;
  return above === true ? `${counted} above ${min}, at most ${max}` : `${counted} from ${min} to ${max}`;
}
