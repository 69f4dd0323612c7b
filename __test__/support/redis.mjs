/** Real Redis servers for the tests, each on a free loopback port, with what a test does to them. */
import { createRequire } from "node:module";
import { startRedis } from "../../scripts/redis-server.mjs";
import { until } from "./waiting.mjs";

// The client that the incumbent provider brings: the tests look at the server through it, the product does not use it.
const require = createRequire(createRequire(import.meta.url).resolve("@medusajs/locking-redis"));
export const { Redis } = require("ioredis");

/** What the tests' own connections are called in `CLIENT LIST`. */
const OWN_NAME = "the-tests";

/** A connection to look at a server with. It reconnects by itself and is closed with the server that it came from. */
function connect(url) {
  const client = new Redis(url, { connectionName: OWN_NAME, maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on("error", () => {});
  return client;
}

/**
 * Starts a server.
 * @param {string[]} [args] more of the server's own options, e.g. `["--requirepass", "secret"]`
 */
export async function redisServer(args = []) {
  let server = await startRedis({ args });
  let running = true;
  const clients = [];
  const { url, port } = server;

  const self = {
    url,
    port,
    pid: () => server.pid,
    /** A connection for the test itself. */
    connect(target = url) {
      const client = connect(target);
      clients.push(client);
      return client;
    },
    /** The server answers nobody until `thaw()`, though its connections stay open. */
    freeze: () => process.kill(server.pid, "SIGSTOP"),
    thaw: () => running && process.kill(server.pid, "SIGCONT"),
    /** Ends the server at once; its data is gone. */
    async kill() {
      process.kill(server.pid, "SIGKILL");
      running = false;
      await server.stop();
    },
    /** Starts an empty server in its place, on the same port. */
    async restart(moreArgs = args) {
      server = await startRedis({ args: [...moreArgs, "--port", String(port)] });
      running = true;
    },
    async stop() {
      for (const client of clients) client.disconnect();
      self.thaw();
      running = false;
      await server.stop();
    },
  };
  return self;
}

/** The connections to the server that are not the tests' own, as `CLIENT LIST` lines. */
export async function foreignConnections(admin) {
  const list = await admin.client("LIST");
  return list.split("\n").filter((line) => line !== "" && !line.includes(` name=${OWN_NAME} `));
}

/** Every key of the server. */
export async function allKeys(admin) {
  const keys = [];
  let cursor = "0";
  do {
    const [next, page] = await admin.scan(cursor, "COUNT", 1000);
    keys.push(...page);
    cursor = next;
  } while (cursor !== "0");
  return keys.sort();
}

/** Our own bookkeeping beside the locks of `namespace`, the fence counter aside: nothing may be left of it after work. */
export async function bookkeeping(admin, namespace) {
  const keys = await allKeys(admin);
  const ours = keys.filter((key) => key === "locking-native:queues" || (key.startsWith("locking-native:") && key.includes(namespace)));
  return ours.filter((key) => !key.startsWith("locking-native:fence:"));
}

/** Waits until the bookkeeping of `namespace` is gone. */
export const nothingLeft = (admin, namespace) =>
  until(async () => (await bookkeeping(admin, namespace)).length === 0, "nothing of ours is left in Redis beside the fence counter");
