/**
 * A Redis server that answers with garbage, halves, floods or nothing, while a store makes calls: the store's process lives,
 * every call is answered within its time by a result or a stable code, memory stays bounded, and once a real server answers
 * on that port, calls are served again.
 *
 * `FUZZ_SEED=7 FUZZ_RUNS=500` looks further: so many rounds of calls against random replies.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startScript, stopScripts } from "./support/children.mjs";
import { pick, random } from "./support/fuzz.mjs";
import { anyPush, anyReply, array, bulk, hostileServer, int, message, politely, push } from "./support/hostile-server.mjs";
import { redisServer } from "./support/redis.mjs";

const SEED = Number(process.env.FUZZ_SEED ?? 1);
const ROUNDS = Number(process.env.FUZZ_RUNS ?? 8);

const MB = 1024 * 1024;
const FLOOD_BYTES = 100 * MB;
/** By how much a flood may let the store's memory grow. */
const FLOOD_GROWTH_MAX_MB = 64;
/** The same for one reply of the greatest size that is read at all, which has to be kept until it is whole. */
const REPLY_GROWTH_MAX_MB = 320;

const COMMAND_TIMEOUT_MS = 400;
/** Where a flood is to be read to its end. */
const LONG_COMMAND_TIMEOUT_MS = 20_000;
/** A call asks the server at most so often one after the other. */
const COMMANDS_MAX = 4;
/** What may be added to the time that a call is promised, on a slow machine. */
const MARGIN_MS = 5_000;

after(stopScripts);

/** A store: rounds of calls at once, then calls until one is served. Says what is wrong, and by how much its memory grew. */
const STORE = `
const { random, pick } = await import(input.fuzz);
const draw = random(input.seed);
const codes = ["LOCK_HELD", "LOCK_TIMEOUT", "LOCK_LOST", "REDIS_UNREACHABLE", "REDIS_ERROR"];
const redisOptions = { commandTimeout: input.commandTimeoutMs, connectTimeout: input.commandTimeoutMs };
const locks = new Locks({ redisUrl: input.url, waitLockingTimeout: 0.4, lease: 0.6, redisOptions });
const calls = {
  execute: () => locks.execute(pick(draw, ["a", ["a", "b"], "c"]), () => new Promise((done) => setTimeout(done, draw() * 300))),
  acquire: () => locks.acquire(pick(draw, ["a", "d"]), { ownerId: "me", expire: 1 }),
  queue: () => locks.acquire(["a", "d"], { ownerId: "you", awaitQueue: true, timeout: 0.4 }),
  release: () => locks.release(["a", "d"], { ownerId: pick(draw, ["me", "you"]) }),
  releaseAll: () => locks.releaseAll({ ownerId: "me" }),
  inspect: () => locks.inspect(pick(draw, [undefined, ["a", "b"]])),
};
for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, (thrown) => say("fault", event, thrown?.stack));

await locks.execute("warm", () => {}).catch(() => {});
const before = process.memoryUsage.rss();
let most = before;
setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 5).unref();

async function answered(name) {
  const began = performance.now();
  const late = setTimeout(() => say("fault", name, "has no answer"), input.answerMs);
  await calls[name]().then(
    () => {},
    (error) => {
      if (!(error instanceof LockError) || !codes.includes(error.code)) say("fault", name, String(error?.stack ?? error).slice(0, 500));
      if (String(error.message).length > 1_000) say("fault", name, "has a message of", error.message.length);
    },
  );
  clearTimeout(late);
}
for (let round = 0; round < input.rounds; round += 1) {
  const names = input.only ?? Array.from({ length: 8 }, () => pick(draw, Object.keys(calls)));
  await Promise.all(names.map(answered));
}
say("over", Math.round((most - before) / 1048576));
for (;;) if (await locks.execute("after", () => true).catch(() => {})) break;
say("served");
await locks.close();
process.exit(0);
`;

/**
 * Has a store talk to a server that answers as `answer(command, connection)` does, then to a real one on the same port.
 * Resolves to by how many MB the store grew meanwhile.
 */
async function survives(answer, { rounds = 1, only, greet, commandTimeoutMs = COMMAND_TIMEOUT_MS } = {}) {
  // The first call finds everything in order, so that what memory it takes does not count.
  const isFirst = (command) => command.some((part) => part === "medusa_lock:warm");
  const server = await hostileServer((...said) => (isFirst(said[0]) ? said[1].say(int(1)) : answer(...said)), { greet });
  const answerMs = COMMANDS_MAX * commandTimeoutMs + MARGIN_MS;
  const fuzz = import.meta.resolve("./support/fuzz.mjs");
  const input = { url: server.url, seed: SEED, fuzz, commandTimeoutMs, rounds, only, answerMs };
  const store = startScript(STORE, { input });
  const faults = () => store.lines.filter((line) => line.startsWith("fault"));
  let redis;
  try {
    const grew = Number(await store.line("over", rounds * answerMs));
    await server.stop();
    redis = await redisServer(["--port", String(server.port)]);
    await store.line("served");
    const { code, errors } = await store.ends();
    assert.deepEqual([faults(), code, errors], [[], 0, ""], `seed ${SEED}`);
    return grew;
  } catch (error) {
    error.message += `\nseed ${SEED}; ${faults().join("\n")}`;
    throw error;
  } finally {
    store.kill();
    await server.stop();
    await redis?.stop();
  }
}

/** One command's answer, of a server that is at least polite in the handshake of most connections. */
function hostileAnswer(draw) {
  const rude = new Map();
  const isRude = (connection) => {
    if (!rude.has(connection)) rude.set(connection, draw() < 0.25);
    return rude.get(connection);
  };
  return (command, connection) => {
    while (draw() < 0.3) connection.say(anyPush(draw, connection.channel));
    if (!isRude(connection) && politely(command, connection.say)) return;
    const reply = anyReply(draw);
    const ways = [
      () => connection.say(reply),
      () => connection.say(reply),
      () => connection.say(reply),
      () => connection.say(reply + anyReply(draw)),
      () => connection.say(reply.slice(0, Math.floor(draw() * reply.length))) && draw() < 0.5 && connection.end(),
      () => void setTimeout(() => connection.say(reply), draw() * 2 * COMMAND_TIMEOUT_MS),
      () => [...reply].forEach((byte, n) => setTimeout(() => connection.say(byte), n)),
      () => connection.end(),
      () => undefined,
    ];
    pick(draw, ways)();
  };
}

test("random replies, halves of them, late ones, pushes in between, in the handshake as well", () =>
  survives(hostileAnswer(random(SEED)), { rounds: ROUNDS }));

test("random replies of the right kind after a polite handshake", () => {
  const draw = random(SEED + 1);
  const replies = {
    one: () => int(pick(draw, [0, 1, 2 ** 53 - 1, 2 ** 53])),
    busy: () => array(int(1), int(pick(draw, [-2, -1, 0, 5, "9223372036854775807"]))),
    waits: () => array(int(1), int(pick(draw, [0, 1, 50])), int(pick(draw, [1, "9223372036854775807"])), int(pick(draw, [0, 1]))),
    error: () => `-${pick(draw, ["NOSCRIPT no", "OOM x", "LOADING x", "READONLY x", "ERR x", "WRONGTYPE medusa_lock:a"])}\r\n`,
  };
  return survives(
    (command, connection) => {
      if (politely(command, connection.say)) return;
      if (draw() < 0.3) connection.say(anyPush(draw, connection.channel));
      connection.say(command[0] === "SCAN" ? array(bulk("0"), array(bulk("medusa_lock:a"))) : pick(draw, Object.values(replies))());
    },
    { rounds: ROUNDS },
  );
});

test("what is no Redis server: nothing, an end, a greeting of another protocol, an endless line", async () => {
  const protocols = ["HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-x\r\n", "\u0015\u0003\u0001", ">0\r\n", "+"];
  const refusals = ["-ERR max number of clients reached\r\n", "-DENIED protected\r\n"];
  const greetings = [() => {}, ({ end }) => end(), ...[...protocols, ...refusals].map((text) => ({ say }) => say(text))];
  let next = 0;
  const greet = (connection) => greetings[(next += 1) % greetings.length](connection);
  await survives(() => {}, { rounds: 6, greet, only: ["execute", "acquire", "inspect", "release"] });
});

const grows = async (most, run) => {
  const grew = await run;
  assert.ok(grew <= most, `the store grew by ${grew} MB`);
};

test("a flood of pushes to the inbox, for unknown requests: calls are answered meanwhile, and memory stays bounded", async () => {
  let flooding;
  let flooded = 0;
  const answer = (command, connection) => {
    if (politely(command, connection.say)) return;
    flooding ??= connection.flood(FLOOD_BYTES, message(connection.channel, "granted 1") + message(connection.channel, "look 2 0"));
    void flooding.then((bytes) => (connection.say(int(1)), (flooded = bytes)));
  };
  const options = { rounds: 2, only: ["execute", "queue", "release"], commandTimeoutMs: LONG_COMMAND_TIMEOUT_MS };
  await grows(FLOOD_GROWTH_MAX_MB, survives(answer, options));
  assert.ok(flooded >= FLOOD_BYTES, `only ${flooded} bytes were read`);
});

test("a flood of large pushes that are no messages, and of remarks, while commands are answered: they go on", async () => {
  let flooded = 0;
  const noise = push(bulk("invalidate"), bulk("k".repeat(300_000))) + "|1\r\n+ttl\r\n:1\r\n" + message("another", "granted 1");
  const answer = (command, connection) => {
    if (politely(command, connection.say)) return;
    void connection.flood(FLOOD_BYTES / 4, noise).then((bytes) => (connection.say(int(1)), (flooded += bytes)));
  };
  await grows(FLOOD_GROWTH_MAX_MB, survives(answer, { rounds: 4, only: ["release"], commandTimeoutMs: LONG_COMMAND_TIMEOUT_MS }));
  assert.ok(flooded >= FLOOD_BYTES, `only ${flooded} bytes were read`);
});

test("a flood of messages before the handshake is over: it ends in time, and memory stays bounded", async () => {
  const answer = (command, connection) => {
    if (command[0] === "SUBSCRIBE") void connection.flood(4 * FLOOD_BYTES, message(command[1], "granted 1"));
    else politely(command, connection.say);
  };
  await grows(FLOOD_GROWTH_MAX_MB, survives(answer, { rounds: 3, only: ["execute", "inspect"] }));
});

for (const [title, head, bytes, text] of [
  ["one string of 64 MB", `$${64 * MB}\r\n`, 64 * MB, "x"],
  ["arrays of nothing in an array", "*1048576\r\n", 120 * MB, `*10000\r\n${"_\r\n".repeat(10_000)}`],
  ["arrays of short texts in an array", "*1048576\r\n", 120 * MB, `*10000\r\n${"+a\r\n".repeat(10_000)}`],
  ["an endless line", "+", 8 * MB, "a"],
]) {
  test(`a reply that is no answer, ${title}: memory stays bounded`, async () => {
    let flooding;
    const answer = (command, connection) => {
      if (politely(command, connection.say)) return;
      if (flooding !== undefined) return void connection.say(int(1));
      connection.say(head);
      flooding = connection.flood(bytes, text).then(() => connection.say("\r\n"));
    };
    await grows(REPLY_GROWTH_MAX_MB, survives(answer, { only: ["release"], commandTimeoutMs: LONG_COMMAND_TIMEOUT_MS }));
  });
}
