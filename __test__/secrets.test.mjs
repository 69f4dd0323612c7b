/**
 * The password of Redis, however it is given, is in nothing that a store logs, reports or shows, whatever goes wrong: errors
 * and their causes, stacks, warnings, log lines, the objects themselves, the title of the process and the server's lists.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { inspect } from "node:util";
import { after, afterEach, before, describe, test } from "node:test";
import { lockError } from "./support/errors.mjs";
import { lockingModule, ours, recordingLogger } from "./support/medusa.mjs";
import { Locks } from "./support/product.mjs";
import { foreignConnections, redisServer } from "./support/redis.mjs";
import { tlsServer } from "./support/tls-server.mjs";
import { settles } from "./support/waiting.mjs";

/** With what a URL must encode, and something else, so that no part of it is found by chance. */
const PASSWORD = "s3cr3t /p%4@:w?#é";
/** A password as long as what it stands for, as URLs may have it. */
const everyByte = (text) => [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
const ENCODED = encodeURIComponent(PASSWORD);
/** None of these may be seen. The first is what survives any way of escaping the others. */
const TRACES = ["s3cr3t", PASSWORD, ENCODED, everyByte(PASSWORD), everyByte(PASSWORD).toUpperCase(), Buffer.from(PASSWORD).toString("base64")];

const QUICK = { connectTimeout: 500, commandTimeout: 500 };
const GIVEN = {
  "in the URL": ({ port, scheme = "redis" }) => ({ redisUrl: `${scheme}://store:${ENCODED}@127.0.0.1:${port}` }),
  "in the URL, every byte encoded": ({ port, scheme = "redis" }) => ({ redisUrl: `${scheme}://:${everyByte(PASSWORD)}@127.0.0.1:${port}/0` }),
  "in a parameter of the URL": ({ port, scheme = "redis" }) => ({ redisUrl: `${scheme}://127.0.0.1:${port}?password=${ENCODED}` }),
  "in redisOptions": ({ port, scheme }) => ({
    redisOptions: { host: "127.0.0.1", port, username: "store", password: PASSWORD, ...(scheme && { tls: true }) },
  }),
  "in redisOptions, beside a URL": ({ port, scheme = "redis" }) => ({
    redisUrl: `${scheme}://127.0.0.1:${port}`,
    redisOptions: { password: PASSWORD },
  }),
};

/** Everything that can be seen of a value: hidden and inherited parts, causes, getters, what JSON makes of it. */
function shown(value) {
  const texts = [inspect(value, { depth: 12, showHidden: true, getters: true, maxStringLength: Infinity })];
  for (let one = value; one instanceof Error; one = one.cause) texts.push(one.stack, one.message, String(one), JSON.stringify(one));
  if (!(value instanceof Error)) texts.push(String(value), JSON.stringify(value) ?? "");
  return texts.join("\n");
}

function hidden(what, text) {
  for (const trace of TRACES) assert.ok(!text.includes(trace), `${what} shows ${trace}: ${text.slice(0, 2_000)}`);
}

const warnings = [];
const onWarning = (warning) => warnings.push(warning);

describe("a password", () => {
  const places = {};
  const stops = [];

  before(async () => {
    process.on("warning", onWarning);
    const locked = await redisServer(["--requirepass", "another one"]);
    const plain = await redisServer();
    const tls = await tlsServer();
    const gone = await redisServer();
    await gone.stop();
    const frozen = await redisServer();
    frozen.freeze();
    stops.push(locked, plain, tls, frozen);
    Object.assign(places, {
      "nobody listens": { port: gone.port },
      "the password is wrong": { port: locked.port },
      "the server hangs": { port: frozen.port },
      "the certificate is not trusted": { port: tls.tlsPort, scheme: "rediss" },
      "the server speaks no TLS": { port: plain.port, scheme: "rediss" },
      "the server speaks TLS only": { port: tls.tlsPort },
    });
  });
  afterEach(() => warnings.splice(0));
  after(async () => {
    process.off("warning", onWarning);
    await Promise.all(stops.map((server) => server.stop()));
  });

  for (const situation of ["nobody listens", "the password is wrong", "the server hangs", "the certificate is not trusted", "the server speaks no TLS", "the server speaks TLS only"]) {
    test(`is not shown where ${situation}, by Locks and by the provider, however it is given`, async () => {
      await settles(Promise.all(Object.entries(GIVEN).map(async ([how, options]) => {
        const given = options(places[situation]);
        await neverShown(`${how}`, { ...given, redisOptions: { ...QUICK, ...given.redisOptions } });
      })), "all calls have failed", 30_000);
      hidden("a warning", warnings.map(shown).join("\n"));
    });
  }

  /** Calls that cannot succeed, through the class and through Medusa. */
  async function neverShown(how, options) {
    const locks = new Locks(options);
    const calls = [
      locks.execute("k", () => assert.fail("ran"), { timeout: 0.3 }),
      locks.acquire("k", { ownerId: "me" }),
      locks.acquire("k", { awaitQueue: true, timeout: 0.3 }),
      locks.release("k"),
      locks.releaseAll(),
      locks.inspect(),
    ];
    for (const { status, reason } of await Promise.allSettled(calls)) {
      assert.equal(status, "rejected", how);
      assert.ok(lockError(reason.code)(reason) && /^(REDIS_|LOCK_TIMEOUT)/.test(reason.code), reason.stack);
      hidden(`${how}: an error`, shown(reason));
    }
    hidden(`${how}: the object`, shown(locks));
    hidden(`${how}: statistics and address`, shown([locks.stats(), locks.endpoint]));
    await locks.close();

    const logger = recordingLogger();
    const { locking, provider, close } = await lockingModule([ours(options)], { logger });
    const reason = await locking.execute("k", () => assert.fail("ran"), { timeout: 0.3 }).catch((error) => error);
    hidden(`${how}: the provider's error`, shown(reason));
    hidden(`${how}: the provider`, shown(provider("native")));
    assert.ok(logger.lines.length > 0, "something was logged");
    hidden(`${how}: the log`, logger.text());
    await close();
    await assert.rejects(locking.acquire("k"), (error) => (hidden(`${how}: after the end`, shown(error)), true));
  }

  test("that is right is not shown either: not by the process, nor by the server's lists", async () => {
    const server = await redisServer(["--requirepass", PASSWORD]);
    stops.push(server);
    const admin = server.connect(`redis://:${ENCODED}@127.0.0.1:${server.port}`);
    const title = process.title;
    const logger = recordingLogger();
    const options = { redisUrl: `redis://:${ENCODED}@127.0.0.1:${server.port}` };
    const { locking, provider, close } = await lockingModule([ours(options)], { logger });
    const locks = new Locks(options);
    await locking.execute("k", async (_signal, lock) => {
      assert.equal(process.title, title);
      const own = ["/proc/self/cmdline", "/proc/self/comm", ...readdirSync("/proc/self/task").map((task) => `/proc/self/task/${task}/comm`)];
      hidden("the process or a thread", own.map((path) => readFileSync(path, "utf8")).join("\n"));
      hidden("CLIENT LIST", (await foreignConnections(admin)).join("\n"));
      hidden("a channel", (await admin.pubsub("CHANNELS")).join("\n"));
      hidden("a key or its value", `${await admin.keys("*")} ${lock.ownerId}`);
      hidden("what is held", shown(await locks.inspect()));
    });
    hidden("the objects and the log", shown([locks, provider("native"), locks.stats()]) + logger.text());
    await Promise.all([close(), locks.close()]);
    hidden("what is left in Redis", String(await admin.keys("*")));
  });
});

describe("options that cannot be used are refused without the password in them", () => {
  const U = `u:${PASSWORD}`;
  const REFUSED = {
    "a URL without a port": { redisUrl: `redis://:${ENCODED}@:notaport` },
    "a URL with one slash too few": { redisUrl: `rediss//user:${PASSWORD}@host` },
    "a URL with a port too high": { redisUrl: `redis://u:${ENCODED}@host:99999/0` },
    "a URL whose password is not encoded": { redisUrl: `redis://${U}@host:6379` },
    "a URL of another scheme": { redisUrl: `http://${U}@host` },
    "a number as the password": { redisOptions: { password: 12345678 } },
    "an array as the password": { redisOptions: { password: [PASSWORD] } },
    "a URL as the host": { redisOptions: { host: `redis://u:${ENCODED}@host` } },
    "a login as the host": { redisOptions: { host: `${U}@host` } },
    "a URL as the path": { redisOptions: { path: `redis://u:${ENCODED}@host` } },
    "a login as a parameter's host": { redisUrl: `redis:///0?host=${encodeURIComponent(`${U}@host`)}` },
    "a URL as TLS": { redisOptions: { tls: `rediss://${U}@host` } },
    "a URL as the options": { redisOptions: `redis://${U}@host` },
  };
  for (const [what, options] of Object.entries(REFUSED)) {
    test(what, async () => {
      assert.throws(() => new Locks(options), (error) => {
        assert.ok(lockError("INVALID_OPTION", /redis(Url|Options)/)(error));
        hidden("the error", shown(error));
        return !shown(error).includes("12345678");
      });
    });
  }
});
