/** The ways to reach a Redis server: each URL form and each of the connection's options does what it says. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startScript, stopScripts } from "./support/children.mjs";
import { lockError } from "./support/errors.mjs";
import { lockingModule, ours, recordingLogger } from "./support/medusa.mjs";
import { Locks } from "./support/product.mjs";
import { foreignConnections, redisServer } from "./support/redis.mjs";
import { pem, tlsServer } from "./support/tls-server.mjs";
import { settles, until } from "./support/waiting.mjs";

/** Locks a key with these options and gives what `look` sees meanwhile. */
async function locked(options, look, timeout = 5) {
  const locks = new Locks(options);
  try {
    return await settles(locks.execute("k", look, { timeout }), "execute");
  } finally {
    await locks.close();
  }
}

/** Fails unless no lock is to be had with these options, and the error says why. */
const unreachable = (options, why) =>
  assert.rejects(locked(options, () => assert.fail("ran"), 1), lockError("REDIS_UNREACHABLE", why));

describe("reaching a server", () => {
  let server, admin, folder;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "locking-native-test-"));
    server = await redisServer(["--unixsocket", join(folder, "redis.sock")]);
    admin = server.connect();
    await admin.call("ACL", "SETUSER", "store", "on", ">pass word/@:%", "~*", "&*", "+@all");
  });
  after(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const isHeld = (db = 0) => async (_signal, { ownerId }) => {
    const client = server.connect(`${server.url}/${db}`);
    assert.equal(await client.get("medusa_lock:k"), ownerId);
    return "held";
  };

  test("redis:// with a host and a port", async () => {
    assert.equal(await locked({ redisUrl: server.url }, isHeld()), "held");
    assert.equal(await locked({ redisUrl: `redis://localhost:${server.port}` }, isHeld()), "held");
  });

  test("redis:// with a database, a user and an encoded password", async () => {
    const login = `store:${encodeURIComponent("pass word/@:%")}`;
    assert.equal(await locked({ redisUrl: `redis://${login}@127.0.0.1:${server.port}/2` }, isHeld(2)), "held");
    const user = async () => (await foreignConnections(admin)).some((line) => /user=store/.test(line) && /db=2/.test(line));
    assert.equal(await locked({ redisUrl: `redis://${login}@127.0.0.1:${server.port}/2` }, user), true);
  });

  test("redisOptions alone: host, port, username, password, db", async () => {
    const redisOptions = { host: "127.0.0.1", port: server.port, username: "store", password: "pass word/@:%", db: 4 };
    assert.equal(await locked({ redisOptions }, isHeld(4)), "held");
  });

  test("redisOptions beside a URL fill in what they name", async () => {
    const redisOptions = { username: "store", password: "pass word/@:%", db: 5 };
    assert.equal(await locked({ redisUrl: server.url, redisOptions }, isHeld(5)), "held");
  });

  test("a unix socket, by URL and by path", async () => {
    const path = join(folder, "redis.sock");
    assert.equal(await locked({ redisUrl: `unix:${path}` }, isHeld()), "held");
    assert.equal(await locked({ redisUrl: `unix://${path}` }, isHeld()), "held");
    assert.equal(await locked({ redisOptions: { path, db: 1 } }, isHeld(1)), "held");
  });

  test("connectionName is what CLIENT LIST shows", async () => {
    const named = async () => (await foreignConnections(admin)).some((line) => / name=store-7 /.test(line));
    assert.equal(await locked({ redisUrl: server.url, redisOptions: { connectionName: "store-7" } }, named), true);
  });

  test("a new connection is like the one that broke: user, database and name", async () => {
    const redisOptions = { username: "store", password: "pass word/@:%", db: 6, connectionName: "again" };
    const locks = new Locks({ redisUrl: server.url, redisOptions });
    const ours = async () => (await foreignConnections(admin)).find((line) => / name=again /.test(line));
    await locks.execute("k", isHeld(6));
    const before = await ours();
    await admin.client("KILL", "SKIPME", "yes");
    await until(() => locks.execute("k", isHeld(6)).catch(() => undefined), "it is back");
    const after = await ours();
    assert.notEqual(after.match(/id=\d+/)[0], before.match(/id=\d+/)[0]);
    assert.match(after, / user=store /);
    await locks.close();
  });

  test("family 4 and 0 find a name's IPv4 address, 6 does not", async () => {
    for (const family of [0, 4]) {
      assert.equal(await locked({ redisOptions: { host: "localhost", port: server.port, family } }, isHeld()), "held");
    }
    await unreachable({ redisOptions: { host: "localhost", port: server.port, family: 6 } });
  });

  test("a wrong password is an error that says so, within the call's timeout", async () => {
    const locks = new Locks({ redisUrl: `redis://store:wrong@127.0.0.1:${server.port}` });
    const refused = assert.rejects(locks.execute("k", () => assert.fail("ran"), { timeout: 2 }), (error) => {
      assert.match(error.code, /^REDIS_/);
      assert.match(error.message, /WRONGPASS|password|NOAUTH/i);
      return true;
    });
    await settles(refused, "the refusal");
    await locks.close();
  });

  test("a user that may not run a command is told so by name, and nothing stays locked", async () => {
    await admin.call("ACL", "SETUSER", "reader", "on", ">r", "~*", "&*", "+@all", "-set", "-eval", "-evalsha");
    const locks = new Locks({ redisUrl: `redis://reader:r@127.0.0.1:${server.port}` });
    const refused = assert.rejects(locks.execute("k", () => assert.fail("ran"), { timeout: 2 }), lockError("REDIS_ERROR", /NOPERM/));
    await settles(refused, "the refusal");
    await locks.close();
    assert.equal(await admin.get("medusa_lock:k"), null);
  });

  test("close ends the connection", async () => {
    const locks = new Locks({ redisUrl: server.url, redisOptions: { connectionName: "closing" } });
    await locks.acquire("closing", { ownerId: "me" });
    const open = async () => (await foreignConnections(admin)).filter((line) => / name=closing /.test(line)).length;
    assert.ok((await open()) > 0);
    await locks.close();
    await until(async () => (await open()) === 0, "the connection is gone");
    assert.equal(await admin.get("medusa_lock:closing"), "me");
  });
});

describe("reaching a server by TLS", () => {
  let server, tlsPort;
  before(async () => {
    server = await tlsServer();
    ({ tlsPort } = server);
  });
  after(() => server.stop());

  const encrypted = async () => {
    const admin = server.connect();
    return (await foreignConnections(admin)).filter((line) => line.includes(`laddr=127.0.0.1:${tlsPort} `)).length > 0;
  };

  test("rediss:// with a certificate authority", async () => {
    const redisUrl = `rediss://localhost:${tlsPort}`;
    assert.equal(await locked({ redisUrl, redisOptions: { tls: { ca: pem("authority") } } }, encrypted), true);
    assert.equal(await locked({ redisUrl, redisOptions: { tls: { ca: [pem("authority")] } } }, encrypted), true);
    assert.equal(await locked({ redisUrl, redisOptions: { tls: { ca: Buffer.from(pem("authority")) } } }, encrypted), true);
  });

  test("redisOptions.tls without a rediss:// URL", async () => {
    const redisOptions = { host: "127.0.0.1", port: tlsPort, tls: { ca: pem("authority") } };
    assert.equal(await locked({ redisOptions }, encrypted), true);
  });

  test("a client certificate", async () => {
    const admin = server.connect();
    await admin.config("SET", "tls-auth-clients", "yes");
    const tls = { ca: pem("authority"), cert: pem("redis"), key: pem("redis-key") };
    assert.equal(await locked({ redisUrl: `rediss://127.0.0.1:${tlsPort}`, redisOptions: { tls } }, encrypted), true);
    await admin.config("SET", "tls-auth-clients", "optional");
  });

  test("servername is the name that the certificate must have", async () => {
    const redisUrl = `rediss://127.0.0.1:${tlsPort}`;
    const ca = pem("authority");
    assert.equal(await locked({ redisUrl, redisOptions: { tls: { ca, servername: "redis.test" } } }, encrypted), true);
    await unreachable({ redisUrl, redisOptions: { tls: { ca, servername: "other.test" } } }, /certificate|name/i);
  });

  test("an unknown authority is refused, unless rejectUnauthorized is false", async () => {
    const redisUrl = `rediss://127.0.0.1:${tlsPort}`;
    await unreachable({ redisUrl }, /certificate|issuer/i);
    assert.equal(await locked({ redisUrl, redisOptions: { tls: { rejectUnauthorized: false } } }, encrypted), true);
  });

  describe("a server whose certificate is not looked at is warned of, once", () => {
    const WARNING = /not verified.*rejectUnauthorized/;
    const unverified = () => ({ redisUrl: `rediss://127.0.0.1:${tlsPort}`, redisOptions: { tls: { rejectUnauthorized: false } } });
    const verified = () => ({ redisUrl: `rediss://127.0.0.1:${tlsPort}`, redisOptions: { tls: { ca: pem("authority") } } });

    test("by the provider, in Medusa's log", async () => {
      for (const [options, count] of [[unverified(), 1], [verified(), 0]]) {
        const logger = recordingLogger();
        const { locking, close } = await lockingModule([ours(options)], { logger });
        await locking.execute("k", () => {});
        assert.equal(logger.at("warn").filter((text) => WARNING.test(text)).length, count, logger.text());
        await close();
      }
    });

    test("by Locks, as a warning of the process; also where the environment says so", async (t) => {
      t.after(stopScripts);
      const script = `
        if (input.environment) process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
        process.on("warning", ({ name, code, message }) => say("warned", name, code, message));
        const locks = new Locks(input.options);
        await locks.execute("k", () => {});
        await locks.close();
        say("done");
      `;
      const byEnvironment = { redisUrl: `rediss://127.0.0.1:${tlsPort}` };
      for (const input of [{ options: unverified() }, { options: byEnvironment, environment: true }, { options: verified() }]) {
        const child = startScript(script, { input });
        await child.line("done");
        await child.ends();
        const warnings = child.lines.filter((line) => line.startsWith("warned LockWarning"));
        assert.equal(warnings.length, input.options.redisOptions?.tls.ca === undefined ? 1 : 0, warnings.join("\n"));
        for (const warning of warnings) assert.match(warning, WARNING);
      }
    });
  });
});
