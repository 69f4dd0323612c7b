/** The ACL line of the README grants nothing that is not needed: each right is used, and without it that use is denied. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { waitersOf } from "./support/fleet.mjs";
import { Locks, projectRoot } from "./support/product.mjs";
import { startProxy } from "./support/proxy.mjs";
import { redisServer } from "./support/redis.mjs";
import { settles, until } from "./support/waiting.mjs";

const rule = readFileSync(join(projectRoot, "README.md"), "utf8").match(/^ACL SETUSER store on >secret (.*)$/m)[1].split(" ");
/** What may be taken away; the others take away, so that the line is complete whatever the user was allowed before. */
const rights = rule.filter((part) => /^[+~&]/.test(part));

/** Users at work at a time. */
const AT_ONCE = 8;
const QUICK = { timeout: 2 };

describe("each right of the README's ACL line", () => {
  let server, admin;
  const denials = new Map();

  before(async () => {
    server = await redisServer(["--acllog-max-len", "10000"]);
    admin = server.connect();
    const users = [undefined, ...rights].map((missing, n) => ({ missing, name: `user${n}` }));
    for (const { name, missing } of users) {
      await admin.call("ACL", "SETUSER", name, "on", ">secret", ...rule.filter((part) => part !== missing));
    }
    const working = async () => {
      for (let user = users.shift(); user !== undefined; user = users.shift()) {
        await settles(everything(user.name), `the work of a user without ${user.missing}`, 60_000);
        denials.set(user.missing, await deniedTo(user.name));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, working));
  });
  after(() => server.stop());

  test("all together, they are enough for the work that is done here", () => assert.deepEqual(denials.get(undefined), []));

  for (const right of rights) {
    test(`${right} is needed`, () => {
      const denied = denials.get(right);
      const [kind, what] = [right[0], right.slice(1)];
      // The log of some versions names a command without its subcommand.
      const names = kind === "+" ? [what, what.split("|")[0]] : [];
      const prefix = what.replace("*", "");
      const isIt = ({ reason, object }) =>
        kind === "+" ? reason === "command" && names.includes(object) : reason === (kind === "~" ? "key" : "channel") && object.startsWith(prefix);
      assert.ok(denied.some(isIt), `without it, denied was ${JSON.stringify(denied)}`);
    });
  }

  async function deniedTo(user) {
    const entries = (await admin.call("ACL", "LOG", "10000")).map((entry) =>
      Object.fromEntries(Array.from({ length: entry.length / 2 }, (_, n) => [entry[2 * n], entry[2 * n + 1]])));
    const mine = entries.filter(({ username, object }) => username === user && object !== "client|setinfo");
    return mine.map(({ reason, object }) => ({ reason, object }));
  }

  /** All that the README's line is for, on keys of this user's own. What is denied fails; the rest is done all the same. */
  async function everything(user) {
    const options = (port, redisOptions = {}) => ({
      redisUrl: `redis://${user}:secret@127.0.0.1:${port}`,
      redisOptions: { commandTimeout: 2_000, ...redisOptions },
      localHandoffs: 0,
    });
    const opened = [];
    const open = (...args) => (opened.push(new Locks(options(...args))), opened.at(-1));
    const [one, two] = [open(server.port), open(server.port)];
    const key = (name) => `${user} ${name}`;
    const lock = (name) => `medusa_lock:${key(name)}`;

    await attempt(open(server.port, { db: 1, connectionName: user }).execute(key("k"), () => {}, QUICK));
    await attempt(contended(one, two, key));
    await attempt(owned(one, two, key, user));
    await attempt(behindAnOldNode(one, lock("old"), key("old")));
    await together(one, key);
    const proxy = await startProxy(server.port);
    await attempt(cut(proxy, open(proxy.port), lock("cut"), key("cut")));
    await Promise.all(opened.map((locks) => attempt(locks.close())));
    await proxy.stop();
  }

  async function contended(one, two, key) {
    await attempt(one.execute([key("a"), key("b")], () => sleep(700), { ...QUICK, expire: 0.6 })); // renewed
    const job = () => sleep(30);
    const waiting = [[one, ["a"]], [two, ["a", "b"]], [one, ["b"]], [two, ["a"]]].map(([locks, names]) =>
      attempt(locks.execute(names.map(key), job, QUICK)));
    const controller = new AbortController();
    waiting.push(attempt(two.execute(key("b"), job, { signal: controller.signal })));
    await sleep(10);
    controller.abort();
    await Promise.all(waiting);
  }

  async function owned(one, two, key, ownerId) {
    await attempt(one.acquire([key("c"), key("d")], { ownerId, expire: 60 }));
    await attempt(two.acquire(key("c"), { ownerId: "another" }));
    const waiting = attempt(two.acquire(key("c"), { ownerId: `${ownerId} too`, awaitQueue: true, timeout: 3 }));
    await sleep(30);
    await attempt(one.release([key("c"), key("d")], { ownerId }));
    await waiting;
    await attempt(two.inspect());
    await attempt(two.inspect([key("c"), key("d")]));
    await attempt(two.releaseAll({ ownerId: `${ownerId} too` }));
  }

  // So many that some share a script call, whenever the first are sent.
  async function together(locks, key) {
    const names = Array.from({ length: 200 }, (_, n) => key(`many${n}`));
    await Promise.all(names.map((name) => attempt(locks.execute(name, () => {}, QUICK))));
  }

  // It notes in the queue that such a node is about.
  async function behindAnOldNode(locks, lock, key) {
    await admin.set(lock, "*");
    const waiting = attempt(locks.execute(key, () => {}, QUICK));
    // Without some of the rights it never comes to that.
    await attempt(until(async () => (await waitersOf(admin, lock)).length === 1, "it waits", 1_000));
    await sleep(100);
    await admin.del(lock);
    await waiting;
  }

  // The connection breaks between a request and its reply.
  async function cut(proxy, locks, lock, key) {
    await attempt(locks.execute(key, () => {}, QUICK));
    proxy.loseReplyTo(lock);
    await attempt(locks.execute(key, () => {}, QUICK));
  }
});

/** What comes of it is not the question. */
const attempt = (promise) => promise.then(() => {}, () => {});
