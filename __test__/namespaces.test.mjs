/**
 * What callers choose, namespaces, keys and owners, is data: no namespace reaches another's locks, no key is taken for one of
 * our records, and no text becomes a command, a pattern or Lua.
 */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { lockError } from "./support/errors.mjs";
import { fleetServer, queued } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { incumbent, lockingModule } from "./support/medusa.mjs";
import { Locks, projectRoot } from "./support/product.mjs";
import { luaFile } from "./support/scripts.mjs";
import { settles } from "./support/waiting.mjs";

/** Pairs of which the first, taken for a pattern or cut short, would match the second. Neither begins with the other. */
const PAIRS = [
  ["shop*", "shop_b:"],
  ["*", "shop:"],
  ["sh?p:", "shop:"],
  ["[st]hop:", "shop:"],
  ["[^x]hop:", "shop:"],
  ["sh[a-z]p:", "shop:"],
  ["sh\\op:", "shop:"],
  ["shop\\", "shop*"],
  ["shop:", "SHOP:"],
  ["{shop}:", "{shop}_"],
  ["shop\u0000:", "shop\u0000\u0000:"],
  ["a:", "b:a:"],
  ["%73hop:", "shop:"],
];

onEachBackend("namespaces", (backend) => {
  for (const pair of PAIRS) {
    for (const [own, other] of [pair, pair.toReversed()]) {
      test(`${JSON.stringify(own)} does not reach the locks of ${JSON.stringify(other)}`, async () => {
        const mine = backend.locks({ namespace: own });
        const theirs = backend.locks({ namespace: other });
        const job = await holding(theirs, "job");
        await theirs.acquire("named", { ownerId: "me" });
        await theirs.acquire("nobodys");
        const waiting = theirs.execute("job", () => "served", { timeout: 60 });

        assert.deepEqual(await mine.inspect(), []);
        assert.deepEqual(await mine.inspect(["job", "named", "nobodys"]), []);
        assert.equal(await mine.release("named", { ownerId: "me" }), false);
        assert.equal(await mine.release("nobodys"), false);
        assert.equal(await mine.release("job", { ownerId: job.lock.ownerId }), false);
        await mine.releaseAll({ ownerId: "me" });
        await mine.releaseAll({ ownerId: job.lock.ownerId });
        await mine.releaseAll();
        // Nor does what is held there keep anybody here from holding the same.
        assert.equal(await mine.execute(["job", "named", "nobodys"], () => "held here too", { timeout: 0 }), "held here too");

        assert.deepEqual((await theirs.inspect()).map(({ key }) => key).sort(), ["job", "named", "nobodys"]);
        assert.equal(job.signal.aborted, false);
        assert.equal(await job.end("done"), "done");
        assert.equal(await settles(waiting, "the one that waits there"), "served");
        await theirs.releaseAll();
        assert.deepEqual(await theirs.inspect(), []);
      });
    }
  }

  test("one that would hold our own records is refused", () => {
    for (const namespace of ["", "l", "locking-native", "locking-native:", "locking-native:fence:", "locking-native:{0}:queue:"]) {
      assert.throws(() => new Locks(backend.options({ namespace })), lockError("INVALID_OPTION", /"namespace"/), namespace);
    }
    const prefixed = { namespace: "fence:", redisOptions: { keyPrefix: "locking-native:" } };
    assert.throws(() => new Locks(prefixed), lockError("INVALID_OPTION", /"namespace"/));
  });

  test("keys and owners that look like commands, patterns, Lua or our records are only that", async () => {
    const namespace = "plain:";
    const locks = backend.locks({ namespace });
    const bystander = await holding(locks, "bystander");
    const waiting = locks.execute("bystander", () => "served", { timeout: 60 });
    const texts = [
      ...["*", "plain:*", "bystande?", "[b]ystander", "{bystander}", "}{", "\\", "%", "\u0000", " ", "bystander\u0000", "plain:bystander"],
      ...[`locking-native:fence:${namespace}`, `locking-native:{0}:queue:${namespace}bystander`, bystander.lock.ownerId, "since 17", "gap 1"],
      ...["k\r\n*1\r\n$8\r\nFLUSHALL\r\n", "*1\r\n$8\r\nFLUSHALL\r\n", "') redis.call('FLUSHALL') --", "]] redis.call('FLUSHALL') --[["],
      ...["\" .. redis.call('FLUSHALL') .. \"", "0 -1", "-1", "1e309", "nan", "nil", "execute:h:1:n:7#9", "execute:h:1:n:7#0"],
    ];
    for (const text of texts) {
      const ownerId = text === bystander.lock.ownerId ? "me" : text;
      const named = ownerId === "*" ? undefined : ownerId;
      await locks.acquire(text, { ownerId, expire: 60 });
      await assert.rejects(locks.acquire(text, { ownerId: "another" }), lockError("LOCK_HELD"), text);
      const [seen] = await locks.inspect([text]);
      assert.deepEqual([seen.key, seen.ownerId], [text, named ?? null]);
      const next = locks.acquire(text, { ownerId: `${ownerId}, next`, expire: 60, awaitQueue: true, timeout: 60 });
      assert.equal(await locks.release(text, { ownerId }), true, `${text} of ${ownerId}`);
      await settles(next, "the next one");
      assert.equal(await locks.execute([text, "more"], () => assert.fail("ran"), { timeout: 0 }).catch(({ code }) => code), "LOCK_TIMEOUT");
      await locks.releaseAll({ ownerId: `${ownerId}, next` });
      assert.equal(await locks.execute([text, "more"], (_signal, { keys }) => keys.includes(text), { timeout: 5 }), true, text);
    }
    assert.deepEqual((await locks.inspect()).map(({ key }) => key), ["bystander"]);
    assert.equal(await bystander.end("done"), "done");
    assert.equal(await settles(waiting, "the one that waits"), "served");
  });
});

describe("on a server", () => {
  let server, admin, fleet, leaveNothing;
  before(async () => {
    ({ server, admin, fleet, leaveNothing } = await fleetServer());
  });
  // The record of a lock that a node of the other provider released stays for a while.
  afterEach(() => leaveNothing((name) => name.endsWith(":lock:a:b:k")));
  after(() => server.stop());

  // A lock is called `<namespace><key>`, and nodes of the other provider must find it under that name.
  test('"a:" and "a:b:" are not apart, as the README says: "b:k" there and "k" here are one lock, for the other provider too', async () => {
    const outer = fleet(1, { namespace: "a:" }).clients[0];
    const inner = fleet(1, { namespace: "a:b:" }).clients[0];
    await inner.acquire("k");
    assert.deepEqual((await outer.inspect()).map(({ key }) => key), ["b:k"]);
    await assert.rejects(outer.acquire("b:k"), lockError("LOCK_HELD"));
    await outer.releaseAll();
    assert.deepEqual(await inner.inspect(), []);

    const old = await lockingModule([incumbent({ redisUrl: server.url, namespace: "a:" })]);
    await inner.acquire("k");
    await old.locking.releaseAll({ provider: "incumbent" });
    assert.deepEqual(await inner.inspect(), []);
    await old.close();
  });

  test("a script touches what its KEYS name, the queues of those locks, and what waiters named when they came", async () => {
    const namespace = "watched:";
    const monitor = await server.connect().monitor();
    const said = [];
    monitor.on("monitor", (_time, words, source) => said.push({ words, isLua: source === "lua" }));
    await busyWithEverything(fleet, namespace, admin);
    await admin.echo("the end");
    while (!said.some(({ words }) => words[1] === "the end")) await new Promise(setImmediate);
    monitor.disconnect();

    // Names that are made by a script are made of a lock's, which some call had among its KEYS: its queue, and the record of
    // that. Or of an attempt's that asked: its waiter.
    const known = new Set();
    const isKnown = (name) => known.has(name) || known.has(name.match(/^locking-native:\{[0-9a-z]{1,4}\}:(?:queue|lock|waiter):([^]*)$/)?.[1]);
    let [declared, scripts, touched] = [new Set(), 0, 0];
    for (const { words: [command, ...args], isLua } of said) {
      if (/^eval(sha)?$/i.test(command)) {
        declared = new Set(args.slice(2, 2 + Number(args[1])));
        for (const name of declared) known.add(name);
        for (const arg of args) if (/^execute:[^#]*$/.test(arg)) known.add(arg);
        scripts += 1;
      }
      if (!isLua) continue;
      for (const name of keysOf(command, args)) {
        touched += 1;
        assert.ok(declared.has(name) || isKnown(name), `${command} touched ${name}, and KEYS were ${[...declared]}`);
      }
    }
    assert.ok(scripts > 30 && touched > 200, `${scripts} scripts, ${touched} keys`);
  });

  test("no script makes Lua from data, or calls a command whose name is not written in it", () => {
    const files = readdirSync(join(projectRoot, "src", "backend", "redis", "lua"));
    assert.ok(files.length >= 10);
    for (const file of files) {
      const code = luaFile(file).replace(/--.*$/gm, "");
      assert.doesNotMatch(code, /\b(load|loadstring|loadfile|dofile|setfenv|getfenv|require|_G)\b/, file);
      for (const [call, first] of code.matchAll(/redis\.p?call\s*\(\s*([^,)]*)/g)) assert.match(first, /^'[A-Z]+'$/, `${file}: ${call}`);
      assert.doesNotMatch(code, /redis\.p?call(?!\s*\()/, `${file}: a call under another name`);
    }
  });
});

/** The keys of a command that a script calls. */
function keysOf(command, args) {
  switch (command.toUpperCase()) {
    case "TIME":
    case "PUBLISH":
    case "PUBSUB":
      return [];
    case "MGET":
    case "DEL":
    case "EXISTS":
      return args;
    case "MSET":
      return args.filter((_, n) => n % 2 === 0);
    default:
      return [args[0]];
  }
}

/** Every script, alone and contended, handing over as well. */
async function busyWithEverything(fleet, namespace, admin) {
  const { clients: [one, two], lock } = fleet(2, { namespace, localHandoffs: 0 });
  const held = await holding(one, ["a", "b"], { expire: 0.4 });
  const jobs = [["a"], ["b", "c"], ["a", "b", "c"]].map((keys) => two.execute(keys, () => {}, { timeout: 60 }));
  const owned = (key) => two.acquire(key, { ownerId: "you", expire: 60, awaitQueue: true, timeout: 60 });
  const owners = [owned("d"), owned("a").then(() => two.release("a", { ownerId: "you" }))];
  await queued(admin, lock("a"), 2); // one place for each set
  const given = new AbortController();
  const givenUp = one.execute(["a", "c"], () => {}, { signal: given.signal }).catch(() => {});
  await queued(admin, lock("a"), 3);
  given.abort();
  await givenUp;
  await assert.rejects(two.acquire("b", { ownerId: "you" }), lockError("LOCK_HELD"));
  await new Promise((resolve) => setTimeout(resolve, 500)); // for a renewal
  await held.end();
  await Promise.all([...jobs, ...owners]);
  await two.acquire("a", { ownerId: "you", expire: 60 });
  await one.inspect();
  await two.release("a", { ownerId: "you" });
  const last = one.acquire("d", { ownerId: "me", awaitQueue: true, timeout: 60 });
  await queued(admin, lock("d"), 1);
  await two.releaseAll({ ownerId: "you" });
  await last;
  await one.releaseAll();
}
