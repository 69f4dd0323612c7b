/**
 * Where Redis is and how to talk to it: what `redisUrl` and `redisOptions` say, as one.
 *
 * The names and their meaning are those of ioredis, which `@medusajs/locking-redis` hands its `redisOptions` to. As
 * there, what the URL says goes before what `redisOptions` say.
 */

import type { NativeRedisOptions, NativeTlsOptions } from "./addon.js";
import { OptionReader } from "./option-reader.js";
import { renderGuarded, renderKind } from "./rendering.js";

/** How to connect to Redis. The names are those of ioredis; every other option of ioredis has no effect. */
export interface RedisConnectionOptions {
  /** Default: `localhost`. */
  host?: string | undefined;
  /** Default: 6379. */
  port?: number | undefined;
  /** A unix socket, instead of `host` and `port`. */
  path?: string | undefined;
  /** The ACL user. Default: Redis's `default` user. */
  username?: string | undefined;
  /** Default: none. */
  password?: string | undefined;
  /** The number of the database. Default: 0. */
  db?: number | undefined;
  /** Turns TLS on; `true` or `{}` do so with Node.js-like defaults. Default: as the URL's scheme says. */
  tls?: RedisTlsOptions | boolean | undefined;
  /** How long to wait for a connection, in milliseconds. 0: for ever. Default: 10000. */
  connectTimeout?: number | undefined;
  /** How long to wait for the answer to a command, in milliseconds. Default: 5000. */
  commandTimeout?: number | undefined;
  /** The name of the connection in `CLIENT LIST`. Default: none. */
  connectionName?: string | undefined;
  /** After how much silence the system probes the connection, in milliseconds. 0: as the system does. Default: 0. */
  keepAlive?: number | undefined;
  /** The version of IP: 4, 6, or 0 for either. Default: 0. */
  family?: 0 | 4 | 6 | undefined;
  /** Goes before `namespace`, as ioredis puts it before every key. Default: none. */
  keyPrefix?: string | undefined;
}

/** How to speak TLS with Redis. All texts are PEM. */
export interface RedisTlsOptions {
  /** Whom to trust instead of the well-known authorities. */
  ca?: string | Uint8Array | readonly (string | Uint8Array)[] | undefined;
  /** The certificate to show. */
  cert?: string | Uint8Array | undefined;
  /** The private key of `cert`. */
  key?: string | Uint8Array | undefined;
  /** The name that the server's certificate must have. Default: the host. */
  servername?: string | undefined;
  /** Whether an untrusted server is refused. Default: true. */
  rejectUnauthorized?: boolean | undefined;
}

/** The options beside the connection's that only Redis has use for. */
export type Pace = Pick<NativeRedisOptions, "retryMs" | "retryMaxMs" | "retryFactor" | "localHandoffs">;

/** What `redisUrl` and `redisOptions` come to. */
export interface RedisSettings {
  readonly connection: Omit<NativeRedisOptions, keyof Pace>;
  /** What goes before the namespace. */
  readonly keyPrefix: string;
  /** The options that have no effect, by name. */
  readonly ignored: readonly string[];
}

const TLS_SCHEME = /^(rediss|valkeys):/i;

const MILLISECONDS = { of: "milliseconds", min: 0, max: 3_600_000 } as const;
const PORT = { of: "", min: 1, max: 65_535, integer: true } as const;
const DATABASE = { of: "", min: 0, max: 2 ** 31 - 1, integer: true } as const;

/**
 * Checks the options by type and range. What `redisUrl` says is the addon's to read.
 *
 * @throws LockError `INVALID_OPTION`
 */
export function readRedisOptions(redisUrl: string | undefined, redisOptions: unknown): RedisSettings {
  const reader = new OptionReader("redisOptions", redisOptions, "redisOptions.");
  refuseSentinels(reader);
  const { tls, ignored } = readTls(reader, redisUrl !== undefined && TLS_SCHEME.test(redisUrl));
  const connection = {
    url: redisUrl,
    host: reader.text("host"),
    port: reader.number("port", PORT),
    path: reader.text("path"),
    username: reader.secret("username"),
    password: reader.secret("password"),
    db: reader.number("db", DATABASE),
    connectTimeoutMs: reader.number("connectTimeout", MILLISECONDS),
    commandTimeoutMs: reader.number("commandTimeout", { ...MILLISECONDS, above: true }),
    connectionName: reader.text("connectionName"),
    keepAliveMs: reader.number("keepAlive", MILLISECONDS),
    family: reader.oneOf("family", [0, 4, 6]),
    tls,
  };
  const keyPrefix = reader.secret("keyPrefix") ?? "";
  return { connection: withoutAbsent(connection), keyPrefix, ignored: [...reader.unknown(), ...ignored] };
}

/** Locks on another server than the one asked for would exclude nobody: better not to start. */
function refuseSentinels(reader: OptionReader): void {
  const sentinels = reader.take("sentinels");
  if (sentinels !== undefined) {
    throw reader.refusal("sentinels", "none, for Sentinel is not supported", renderKind(sentinels));
  }
}

function readTls(reader: OptionReader, required: boolean): { tls: NativeTlsOptions | undefined; ignored: string[] } {
  const given = reader.take("tls");
  if (given === false && required) {
    throw reader.refusal("tls", "TLS, for the scheme of redisUrl says so", "false");
  }
  if (given === true || given === undefined || given === false) {
    return { tls: given === true ? {} : undefined, ignored: [] };
  }
  if (typeof given !== "object") {
    throw reader.refusal("tls", "an object, true or false", renderGuarded(given));
  }
  const options = new OptionReader("redisOptions.tls", given, "redisOptions.tls.");
  const tls = {
    ca: readAuthorities(options),
    cert: readPem(options, "cert"),
    key: readPem(options, "key"),
    servername: options.text("servername"),
    rejectUnauthorized: options.flag("rejectUnauthorized"),
  };
  return { tls: withoutAbsent(tls), ignored: options.unknown() };
}

function readAuthorities(options: OptionReader): string[] | undefined {
  const given = options.take("ca");
  if (given === undefined) {
    return undefined;
  }
  return (Array.isArray(given) ? given : [given]).map((one: unknown) => pemOf(options, "ca", one));
}

function readPem(options: OptionReader, name: string): string | undefined {
  const given = options.take(name);
  return given === undefined ? undefined : pemOf(options, name, given);
}

function pemOf(options: OptionReader, name: string, value: unknown): string {
  const text = value instanceof Uint8Array ? Buffer.from(value).toString("utf8") : value;
  if (typeof text !== "string" || text === "") {
    throw options.refusal(name, "PEM, as a string or a Buffer", renderKind(value));
  }
  return text;
}

/** The same without the properties that are undefined. */
function withoutAbsent<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
