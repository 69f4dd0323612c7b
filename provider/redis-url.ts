/**
 * The option `redisUrl`. Messages never show it: it often holds a password.
 */

import { invalidOption } from "./errors.js";

/** What a URL says. Absent: nothing about that. */
export interface RedisUrl {
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
  readonly username?: string;
  readonly password?: string;
  readonly db?: number;
  readonly family?: 0 | 4 | 6;
  readonly tls?: boolean;
  /** Parameters that have no effect, as names of options. */
  readonly ignored: readonly string[];
}

const EXPECTED =
  "redis://, rediss:// (TLS) or unix:// with a host or a socket, such as redis://user:password@host:6379/0";

/** The schemes; true: over TLS. */
const NETWORK: Readonly<Record<string, boolean>> = {
  "redis:": false,
  "rediss:": true,
  "valkey:": false,
  "valkeys:": true,
};

/**
 * Reads a URL as ioredis does: also `host:port` and `/path/to/socket` without a scheme.
 *
 * @throws LockError `INVALID_OPTION`
 */
export function readRedisUrl(text: string): RedisUrl {
  const url = parse(text);
  const tls = NETWORK[url.protocol];
  if (tls === undefined) {
    return readSocket(url);
  }
  const port = url.port === "" ? {} : { port: Number(url.port) };
  const host = url.hostname === "" ? {} : { host: decoded(url.hostname.replace(/^\[|\]$/g, "")) };
  const db = url.pathname.length > 1 ? { db: database(url.pathname.slice(1)) } : {};
  return { tls, ...host, ...port, ...credentials(url), ...parameters(url), ...db };
}

function readSocket(url: URL): RedisUrl {
  if (url.protocol !== "unix:" && url.protocol !== "redis+unix:") {
    throw refusal(`the scheme "${url.protocol.slice(0, 20)}"`);
  }
  if (url.pathname.length < 2 || url.hostname !== "") {
    throw refusal("no path to a socket");
  }
  return { path: decoded(url.pathname), ...credentials(url), ...parameters(url) };
}

function parse(text: string): URL {
  try {
    return new URL(withScheme(text));
  } catch {
    // No cause: it holds the whole text.
    throw refusal("something that is not a URL");
  }
}

function withScheme(text: string): string {
  if (/^(unix:|[a-z][a-z0-9+.-]*:\/\/)/i.test(text)) {
    return text;
  }
  if (text.startsWith("//")) {
    return `redis:${text}`;
  }
  return text.startsWith("/") ? `unix://${text}` : `redis://${text}`;
}

function credentials(url: URL): Pick<RedisUrl, "username" | "password"> {
  return {
    ...(url.username === "" ? {} : { username: decoded(url.username) }),
    ...(url.password === "" ? {} : { password: decoded(url.password) }),
  };
}

function parameters(url: URL): Pick<RedisUrl, "db" | "family" | "ignored"> {
  const known: { db?: number; family?: 0 | 4 | 6 } = {};
  const ignored = new Set<string>();
  for (const [name, value] of url.searchParams) {
    if (name === "db") {
      known.db = database(value);
    } else if (name === "family") {
      known.family = family(value);
    } else {
      ignored.add(`redisUrl?${name}`);
    }
  }
  return { ...known, ignored: [...ignored] };
}

function database(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 2 ** 31 - 1) {
    throw refusal("a database that is not a whole number from 0");
  }
  return number;
}

function family(text: string): 0 | 4 | 6 {
  if (text === "0") {
    return 0;
  }
  if (text !== "4" && text !== "6") {
    throw refusal("a family other than 0, 4 or 6");
  }
  return text === "4" ? 4 : 6;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw refusal('a "%" that is not followed by two hexadecimal digits');
  }
}

function refusal(got: string): Error {
  return invalidOption("redisUrl", EXPECTED, got);
}
