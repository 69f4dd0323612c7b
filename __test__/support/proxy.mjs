/**
 * A TCP proxy on a free loopback port, in front of a Redis server, that does to connections what networks do: delays, holds and
 * swallows what passes, in either direction, and breaks off at any byte of it.
 */
import { once } from "node:events";
import net from "node:net";

/** The two directions: from the client to the server, and back. */
export const DIRECTIONS = ["requests", "replies"];

/** How a connection breaks off: closed in order, reset, or still open and silent in that direction from then on. */
export const BREAKS = ["end", "reset", "silence"];

/** One client's connection and the one that it was given to the server. */
function pairOf(client, port) {
  const upstream = net.connect(port, "127.0.0.1");
  const pair = {
    // Where the bytes of each direction go.
    to: { requests: upstream, replies: client },
    silent: { requests: false, replies: false },
    // What is held back, while it is.
    held: { requests: undefined, replies: undefined },
    losing: false,
    destroy() {
      client.destroy();
      upstream.destroy();
    },
  };
  for (const socket of [client, upstream]) socket.setNoDelay(true).on("error", () => {});
  return pair;
}

/** From here on nothing passes: what was swallowed is missing, so that nothing behind it can make sense. */
function silence(pair) {
  for (const direction of DIRECTIONS) pair.silent[direction] = true;
}

/** Ends both connections of a pair as `how` says, the one that `direction` leads to after it got `last`. */
function breakOff(pair, direction, last, how) {
  const [near, far] = direction === "requests" ? [pair.to.requests, pair.to.replies] : [pair.to.replies, pair.to.requests];
  if (how === "end") {
    near.end(last);
    far.end();
  } else {
    near.write(last, () => near.resetAndDestroy());
    far.resetAndDestroy();
  }
}

/**
 * @param {number} port the server's, on 127.0.0.1
 */
export async function startProxy(port) {
  const pairs = new Set();
  const passed = { requests: 0, replies: 0 };
  const delayMs = { requests: 0, replies: 0 };
  const breaks = { requests: undefined, replies: undefined };
  let trap;
  let refusing = false;
  let muted = false;
  let answering;
  let leadsTo = port;
  let lost = 0;

  function send(pair, direction, bytes) {
    const to = pair.to[direction];
    if (pair.held[direction] !== undefined) pair.held[direction].push(bytes);
    else if (delayMs[direction] > 0) setTimeout(() => to.write(bytes), delayMs[direction]);
    else to.write(bytes);
  }

  /** Passes on what `direction` brought, up to the byte at which the connection is to break. */
  function carry(pair, direction, bytes) {
    if (pair.silent[direction]) return;
    const due = breaks[direction];
    if (due === undefined || bytes.length < due.left) {
      if (due !== undefined) due.left -= bytes.length;
      passed[direction] += bytes.length;
      return send(pair, direction, bytes);
    }
    breaks[direction] = undefined;
    refusing = due.refuse;
    lost += 1;
    const last = bytes.subarray(0, due.left);
    passed[direction] += last.length;
    if (due.how === "silence") {
      pair.silent[direction] = true;
      send(pair, direction, last);
    } else {
      breakOff(pair, direction, last, due.how);
    }
    due.broken();
  }

  function onRequest(pair, bytes) {
    if (trap !== undefined && bytes.includes(trap.text)) {
      refusing = trap.refuse;
      trap = undefined;
      pair.losing = true;
    }
    if (answering === undefined) return carry(pair, "requests", bytes);
    const { text, answered } = answering;
    answering = undefined;
    pair.to.replies.write(text);
    answered(bytes);
  }

  function onReply(pair, bytes) {
    if (!pair.losing) return carry(pair, "replies", bytes);
    // The server has done what it was asked, and the caller will never hear of it.
    lost += 1;
    pair.destroy();
  }

  const server = net.createServer((client) => {
    if (refusing) return void client.destroy();
    const pair = pairOf(client, leadsTo);
    if (muted) silence(pair);
    pairs.add(pair);
    client.on("data", (bytes) => onRequest(pair, bytes));
    pair.to.requests.on("data", (bytes) => onReply(pair, bytes));
    client.on("close", () => {
      // What is held back may still be on its way to the server when the client is long gone.
      if (pair.held.requests === undefined) pair.to.requests.destroy();
    });
    pair.to.requests.on("close", () => {
      pairs.delete(pair);
      client.destroy();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");

  return {
    port: server.address().port,
    url: `redis://127.0.0.1:${server.address().port}`,
    /** How often it lost a reply, or broke off at a byte. */
    lost: () => lost,
    /** How many bytes of `direction` have been passed on. */
    passed: (direction) => passed[direction],
    /**
     * The next request that contains `text` is forwarded, its reply swallowed and its connection cut. With `refuse`, nobody
     * gets in from then on until `accept()`.
     */
    loseReplyTo(text, { refuse = false } = {}) {
      trap = { text, refuse };
    },
    /**
     * The connection breaks off after the next `bytes` bytes of `direction` (0: as soon as there is one). Resolves when it has.
     * With `refuse`, nobody gets in from then on until `accept()`.
     */
    breakAfter(direction, bytes, how, { refuse = false } = {}) {
      return new Promise((broken) => {
        breaks[direction] = { left: bytes, how, refuse, broken };
      });
    },
    /** Forgets a break that has not happened. */
    spare() {
      breaks.requests = breaks.replies = undefined;
    },
    /** The next request does not reach the server and is answered with `text`. Resolves to it when it has come. */
    answerNext(text) {
      return new Promise((answered) => {
        answering = { text, answered };
      });
    },
    /** Nothing gets in any more until `accept()`. */
    refuse() {
      refusing = true;
    },
    /** Connections stay open and are accepted, and nothing passes on them, nor on those that are made until `accept()`. */
    mute() {
      muted = true;
      pairs.forEach(silence);
    },
    accept() {
      refusing = false;
      muted = false;
    },
    /** What passes in `direction` does so this much later, from now on. */
    delay(direction, ms) {
      delayMs[direction] = ms;
    },
    /** Every reply from now on comes this much later. */
    delayReplies(ms) {
      delayMs.replies = ms;
    },
    /** Holds back what comes in `direction` over the connections that there are, until `deliver`. */
    hold(direction) {
      for (const pair of pairs) pair.held[direction] ??= [];
    },
    /** How many bytes are held back. */
    held: (direction) => [...pairs].reduce((sum, pair) => sum + Buffer.concat(pair.held[direction] ?? []).length, 0),
    /** Passes on what was held back. */
    deliver(direction) {
      for (const pair of pairs) {
        const held = pair.held[direction] ?? [];
        pair.held[direction] = undefined;
        for (const bytes of held) send(pair, direction, bytes);
      }
    },
    /** From here on new connections lead to another server. */
    leadTo(otherPort) {
      leadsTo = otherPort;
    },
    /** Cuts every client's connection. What is held back of its requests can still be delivered. */
    cut() {
      for (const pair of pairs) pair.to.replies.destroy();
    },
    async stop() {
      for (const pair of pairs) pair.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
