/**
 * Values in error messages: short, on one line, and without ever running a method of the value.
 */

/** The most characters of a value that a message shows. */
const CHARS_MAX = 60;

/** Beyond this a bigint is not printed: writing out millions of digits would take longer than the call. */
const BIGINT_MAX = 10n ** 40n;

/** How much of a key a message shows, in characters: keys that people choose are shown in full. */
const KEY_CHARS_MAX = 200;

/** A key as messages show it: in full unless it is very long. What has the whole one is the error's `key`. */
export function shownKey(key: string | undefined): string {
  if (key === undefined || key.length <= KEY_CHARS_MAX) {
    return key ?? "";
  }
  // A character has two units at most.
  const characters = [...key.slice(0, 2 * KEY_CHARS_MAX + 2)];
  return characters.length > KEY_CHARS_MAX ? `${characters.slice(0, KEY_CHARS_MAX).join("")}...` : key;
}

/** Describes any value in a few words. Never throws, whatever the value is. */
export function render(value: unknown): string {
  switch (typeof value) {
    case "string":
      return renderText(value);
    case "bigint":
      return value > BIGINT_MAX || value < -BIGINT_MAX ? "a huge bigint" : `${value}n`;
    case "symbol":
      return shortened(String(value));
    case "function":
      return "a function";
    case "object":
      return renderObject(value);
    default:
      return String(value);
  }
}

/** Describes what a value is, and nothing of what it holds: for passwords and private keys. */
export function renderKind(value: unknown): string {
  if (typeof value === "string") {
    return value === "" ? "an empty string" : "a string";
  }
  return typeof value === "object" || typeof value === "function" ? render(value) : `a ${typeof value}`;
}

/** Describes a value that may hold a secret by mistake: a URL with a password, a private key. */
export function renderGuarded(value: unknown): string {
  return typeof value === "string" && /@|-----/.test(value) ? renderKind(value) : render(value);
}

function renderText(text: string): string {
  if (text === "") {
    return "an empty string";
  }
  // Cut before quoting: the text may be megabytes long.
  return text.length > CHARS_MAX ? `${JSON.stringify(text.slice(0, CHARS_MAX))}...` : JSON.stringify(text);
}

function renderObject(value: object | null): string {
  if (value === null) {
    return "null";
  }
  try {
    return Array.isArray(value) ? "an array" : "an object";
  } catch {
    // The one object that Array.isArray refuses.
    return "a revoked proxy";
  }
}

function shortened(text: string): string {
  return text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX)}...` : text;
}
