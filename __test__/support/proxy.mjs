/** A TCP proxy on a free loopback port, in front of a Redis server, that can lose or delay replies and refuse connections. */
import { once } from "node:events";
import net from "node:net";

/**
 * @param {number} port the server's, on 127.0.0.1
 */
export async function startProxy(port) {
  const pairs = new Set();
  let trap;
  let refusing = false;
  let lost = 0;
  let delayMs = 0;

  const server = net.createServer((client) => {
    if (refusing) return void client.destroy();
    const upstream = net.connect(port, "127.0.0.1");
    const pair = { client, upstream, losing: false };
    pairs.add(pair);
    const end = () => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.setNoDelay(true).on("error", end).on("close", end);
    client.on("data", (request) => {
      if (trap !== undefined && request.includes(trap.text)) {
        refusing = trap.refuse;
        trap = undefined;
        pair.losing = true;
      }
      upstream.write(request);
    });
    upstream.on("data", (reply) => {
      if (!pair.losing) return void (delayMs > 0 ? setTimeout(() => client.write(reply), delayMs) : client.write(reply));
      // The server has done what it was asked, and the caller will never hear of it.
      lost += 1;
      end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  const cut = () => {
    for (const { client, upstream } of pairs) {
      client.destroy();
      upstream.destroy();
    }
  };
  return {
    port: server.address().port,
    url: `redis://127.0.0.1:${server.address().port}`,
    /** How many replies were swallowed so far. */
    lost: () => lost,
    /**
     * The next request that contains `text` is forwarded, its reply swallowed and its connection cut. With `refuse`, nobody
     * gets in from then on until `accept()`.
     */
    loseReplyTo(text, { refuse = false } = {}) {
      trap = { text, refuse };
    },
    accept() {
      refusing = false;
    },
    /** Every reply from now on comes this much later. */
    delayReplies(ms) {
      delayMs = ms;
    },
    async stop() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
