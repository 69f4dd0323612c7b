/**
 * A server on a free loopback port that speaks as much of the Redis protocol as a test wants, and then whatever it says:
 * garbage, halves, floods, nothing.
 */
import { once } from "node:events";
import net from "node:net";
import { pick } from "./fuzz.mjs";

const CRLF = "\r\n";
export const bulk = (text) => `$${Buffer.byteLength(text)}${CRLF}${text}${CRLF}`;
export const array = (...parts) => `*${parts.length}${CRLF}${parts.join("")}`;
export const push = (...parts) => `>${parts.length}${CRLF}${parts.join("")}`;
export const int = (number) => `:${number}${CRLF}`;

/** What arrives at the inbox of a client, as `PUBLISH` would bring it. */
export const message = (channel, text) => push(bulk("message"), bulk(channel), bulk(text));

/** How a Redis server answers what is said before any command of ours; undefined: the command is one of ours. */
export function politely([name, second], say) {
  switch (name.toUpperCase()) {
    case "HELLO":
      return say(`%2${CRLF}${bulk("server")}${bulk("redis")}${bulk("proto")}${int(3)}`);
    case "CLIENT":
      if (second.toUpperCase() === "INFO") return say(bulk("id=7 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name="));
      return say(second.toUpperCase() === "KILL" ? int(0) : `+OK${CRLF}`);
    case "SUBSCRIBE":
      return say(push(bulk("subscribe"), bulk(second), int(1)));
    case "PING":
      return say(`+PONG${CRLF}`);
    default:
      return undefined;
  }
}

/** The whole commands in `data`, and what is left of it. */
function readCommands(data) {
  const commands = [];
  for (;;) {
    const parts = [];
    let at = data.indexOf(CRLF);
    if (at < 0) return { commands, rest: data };
    const count = Number(data.toString("latin1", 1, at));
    at += 2;
    while (parts.length < count) {
      const end = data.indexOf(CRLF, at);
      const from = end + 2;
      const length = end < 0 ? NaN : Number(data.toString("latin1", at + 1, end));
      if (!(from + length + 2 <= data.length)) return { commands, rest: data };
      parts.push(data.toString("utf8", from, from + length));
      at = from + length + 2;
    }
    commands.push(parts);
    data = data.subarray(at);
  }
}

/**
 * Starts one. `answer(command, connection)` is called for each command of each connection; a connection has `say(bytes)`,
 * `flood(bytes, text)`, `end()`, its number and the `channel` that it subscribed to.
 */
export async function hostileServer(answer, { greet = () => {} } = {}) {
  const sockets = new Set();
  const self = { answer, greet, connections: 0 };
  const server = net.createServer((socket) => {
    sockets.add(socket);
    let resume = () => {};
    socket.setNoDelay(true).on("error", () => {}).on("drain", () => resume());
    socket.on("close", () => (sockets.delete(socket), resume()));
    self.connections += 1;
    const connection = {
      number: self.connections,
      channel: undefined,
      say: (bytes) => (socket.writable && socket.write(bytes), true),
      end: () => (socket.end(), true),
      /** Writes `text` over and over, as fast as it is read, until there were so many bytes. Resolves to how many there were. */
      async flood(bytes, text) {
        const block = Buffer.from(text.repeat(Math.ceil(65_536 / text.length)));
        let sent = 0;
        while (sent < bytes && socket.writable) {
          sent += block.length;
          if (!socket.write(block)) await new Promise((resolve) => (resume = resolve));
        }
        return sent;
      },
    };
    let rest = Buffer.alloc(0);
    socket.on("data", (data) => {
      const read = readCommands(Buffer.concat([rest, data]));
      rest = read.rest;
      for (const command of read.commands) {
        if (command[0].toUpperCase() === "SUBSCRIBE") connection.channel = command[1];
        self.answer(command, connection);
      }
    });
    self.greet(connection);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return Object.assign(self, {
    port: server.address().port,
    url: `redis://127.0.0.1:${server.address().port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        for (const socket of sockets) socket.destroy();
      }),
  });
}

const LARGEST = "9223372036854775807";
const NUMBERS = [-2, -1, 0, 1, 2, 3, 7, 1_000, 2 ** 53 - 1, 2 ** 53, LARGEST, "9223372036854775808", `-${LARGEST}`, "x", ""];
const TEXTS = [
  ...["", "0", "7", "*", "me", "execute:host:1:n:7#9", "me 12", "granted 7", "look 7 1", "18446744073709551616", "\u0000\r\n"],
  "k".repeat(5_000),
];
const ERRORS = [
  ...["ERR", "NOSCRIPT no", "LOADING x", "READONLY x", "NOAUTH x", "OOM x", "BUSY x", "WRONGTYPE medusa_lock:a", "WRONGTYPE"],
  ...["MOVED 1 h:1", "NOPERM", "", `WRONGTYPE ${"k".repeat(5_000)}`],
];
const VALUES = ["_\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "#t\r\n", ",nan\r\n", "(123\r\n", "=7\r\ntxt:abc\r\n", "%0\r\n", "~1\r\n+a\r\n"];
const NONSENSE = [
  ...["$-2\r\n", "*1048577\r\n", "$67108865\r\n", "*?\r\n", ">0\r\n", "\r\n", "+OK\n", "\u0016\u0003\u0001"],
  "HTTP/1.1 400 Bad Request\r\n\r\n",
];

/** A reply that may be one to anything: right, nearly right, or nonsense. */
export function anyReply(draw, depth = 0) {
  const kinds = [
    () => int(pick(draw, NUMBERS)),
    () => int(pick(draw, NUMBERS)),
    () => array(int(1), int(pick(draw, NUMBERS))),
    () => array(int(pick(draw, [1, 2, 0])), int(pick(draw, NUMBERS)), int(pick(draw, NUMBERS)), int(pick(draw, [0, 1]))),
    () => array(bulk(pick(draw, ["0", "x", "-1"])), array(bulk("medusa_lock:a"), bulk("other"), int(1))),
    () => array(array(bulk(pick(draw, TEXTS)), int(pick(draw, NUMBERS)), bulk(pick(draw, TEXTS)))),
    () => bulk(pick(draw, TEXTS)),
    () => `-${pick(draw, ERRORS)}${CRLF}`,
    () => pick(draw, VALUES),
    () => pick(draw, NONSENSE),
    () => "*1\r\n".repeat(Math.floor(draw() * 12)) + int(1),
    () => (depth > 2 ? int(1) : array(...Array.from({ length: Math.floor(draw() * 4) }, () => anyReply(draw, depth + 1)))),
  ];
  return pick(draw, kinds)();
}

/** A push that may be one to the inbox `channel`: right, nearly right, or nonsense. */
export function anyPush(draw, channel = "none") {
  const text = pick(draw, ["granted 1", "granted 18446744073709551615", "look 1 0", "look 1 18446744073709551615", "look", "", "\u0000"]);
  const kinds = [
    () => message(channel, text),
    () => message("another", text),
    () => push(bulk("subscribe"), bulk(channel), int(pick(draw, NUMBERS.slice(0, 10)))),
    () => push(bulk("unsubscribe"), bulk(channel), int(0)),
    () => push(bulk("invalidate"), "_\r\n"),
    () => push(anyReply(draw), anyReply(draw)),
    () => ">0\r\n",
  ];
  return pick(draw, kinds)();
}
