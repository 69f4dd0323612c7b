/** Fencing tokens: a late write is refused by them, and each grant of a key has a higher one than every grant before. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { startScript, stopScripts } from "./support/children.mjs";
import { lockError } from "./support/errors.mjs";
import { fleetServer, queued } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { projectRoot } from "./support/product.mjs";
import { settles, until, watch } from "./support/waiting.mjs";

/** Lapses soon, and not before a slow machine has looked at it. */
const LAPSES = { expire: 1 };

const upTo = (count) => Array.from({ length: count }, (_, n) => n);
const PATIENT = { timeout: 60 };

const EXAMPLE_TELLS = `A: has the lock, fencing token <token>
A: reads 5 shirts, sells 1
A is stopped, and its lease lapses
B: has the lock, fencing token <token>
B: reads 5 shirts, sells 2
B: writes 3
B: done
A goes on
A: wants to write 4: refused, a newer lock has been here
A: execute rejects with LOCK_LOST
the row: 3 shirts, fencing token <token>
`;

describe("the example", () => {
  const folder = join(projectRoot, "examples", "fencing");

  test("a job that is stopped past its lease writes too late and is refused; the newer one's write stands", async () => {
    // Its first run installs a package.
    const example = promisify(execFile)(process.execPath, [join(folder, "run.mjs")], { timeout: 120_000 });
    const { stdout, stderr } = await example;
    const tokens = [];
    const told = stdout.replace(/\b\d{16}\b/g, (token) => (tokens.push(Number(token)), "<token>"));
    assert.equal(told.slice(told.indexOf("A: has")), EXAMPLE_TELLS);
    assert.equal(stderr, "");
    const [older, newer, stored] = tokens;
    assert.ok(older < newer);
    assert.equal(stored, newer);
  });

  test("the README shows the SQL that it runs", () => {
    const inOneLine = (text) => text.replace(/\s+/g, " ");
    const [, sql] = readFileSync(join(projectRoot, "README.md"), "utf8").match(/^```sql\n([\s\S]*?)^```/m);
    const statements = sql.replace(/^--.*$/gm, "").split(";").map((one) => inOneLine(one).trim()).filter(Boolean);
    assert.equal(statements.length, 2);
    const stock = inOneLine(readFileSync(join(folder, "stock.mjs"), "utf8"));
    for (const statement of statements) assert.ok(stock.includes(`${statement}\``), statement);
  });
});

/** Is told of grants in their order, and fails where one has no higher token than every grant of its keys before it. */
function witness() {
  const highest = new Map();
  const self = {
    grants: 0,
    saw(keys, token, how) {
      self.grants += 1;
      assert.ok(Number.isSafeInteger(token), `${how}: ${token}`);
      for (const key of [keys].flat()) {
        const before = highest.get(key) ?? 0;
        assert.ok(token > before, `${how}: the token of "${key}" went from ${before} to ${token}`);
        highest.set(key, token);
      }
    },
    /** Who holds `keys` already and takes them again: the token does not fall. */
    async acquiredAgain(locks, keys, ownerId) {
      await locks.acquire(keys, { ownerId, expire: 90 });
      for (const lock of await locks.inspect(keys)) {
        assert.equal(lock.ownerId, ownerId);
        assert.ok(lock.fencingToken >= highest.get(lock.key), `taken again: ${lock.fencingToken}`);
        highest.set(lock.key, lock.fencingToken);
      }
    },
    /** A job that is in and out. */
    job: (locks, keys, how = "execute", inside = () => {}) =>
      locks.execute(
        keys,
        (_signal, lock) => {
          self.saw(lock.keys, lock.fencingToken, how);
          return inside(lock);
        },
        PATIENT,
      ),
    /** Waits for `keys` for a named owner. They stay locked. */
    async acquired(locks, keys, ownerId, options = {}) {
      await locks.acquire(keys, { ownerId, awaitQueue: true, timeout: 60, ...options });
      const held = await locks.inspect(keys);
      assert.deepEqual(held.map((lock) => lock.ownerId), [keys].flat().map(() => ownerId));
      assert.equal(new Set(held.map((lock) => lock.fencingToken)).size, 1, "one grant, one token");
      self.saw(keys, held[0].fencingToken, `acquire by ${ownerId}`);
    },
  };
  return self;
}

/** Takes the key "k" as a job, or as an owner, says its token, and holds on until it is killed, or for a moment. */
const CHILD = `
const locks = new Locks(input.options);
const stay = () => new Promise((done) => setTimeout(done, input.stays ? 600_000 : 50));
if (input.ownerId) {
  await locks.acquire("k", { ownerId: input.ownerId, expire: input.expire, awaitQueue: true, timeout: 60 });
  const [lock] = await locks.inspect("k");
  say("token", lock.fencingToken);
  await stay();
  await locks.release("k", { ownerId: input.ownerId });
} else {
  await locks.execute("k", (_signal, lock) => {
    say("token", lock.fencingToken);
    return stay();
  }, { expire: input.expire, timeout: 60 });
}
`;

describe("tokens rise with every grant of a key", () => {
  let server, admin, fleet, closeAll, leaveNothing;
  before(async () => {
    ({ server, admin, fleet, closeAll, leaveNothing } = await fleetServer());
  });
  afterEach(async () => {
    await stopScripts();
    await leaveNothing();
  });
  after(() => server.stop());

  const fence = (namespace) => `locking-native:fence:${namespace}`;

  test("over locks that expire", async () => {
    const { clients: [one, other] } = fleet(2);
    const seen = witness();
    for (const n of upTo(2)) {
      await seen.acquired(one, "k", "never releases", LAPSES);
      await seen.acquired(other, "k", "nor does this one", LAPSES);
      await seen.job(n % 2 === 0 ? one : other, "k");
    }
    assert.equal(seen.grants, 6);
  });

  test("over processes that end, and that are killed while they hold the lock", async () => {
    const { clients: [locks], options } = fleet(1);
    const seen = witness();
    for (const n of upTo(8)) {
      const stays = n % 2 === 1;
      const ownerId = n % 4 < 2 ? undefined : `owner ${n}`;
      const child = startScript(CHILD, { input: { options, ownerId, stays, ...LAPSES } });
      seen.saw("k", Number(await child.line("token", 30_000)), `process ${n}`);
      if (stays) child.kill();
      await child.ends();
    }
    await seen.job(locks, "k");
    assert.equal(seen.grants, 9);
  });

  for (const localHandoffs of [16, 1000]) {
    test(`over leases that pass from job to job, localHandoffs ${localHandoffs}`, async () => {
      const { clients, lock } = fleet(2, { localHandoffs });
      const seen = witness();
      let passed = 0;
      const job = async (own) => {
        if ((await admin.get(lock("k"))) !== own.ownerId) passed += 1;
      };
      const jobs = upTo(60).flatMap(() => clients.map((locks) => seen.job(locks, "k", "a job of many", job)));
      await settles(Promise.all(jobs), "all are served", 60_000);
      assert.equal(seen.grants, 120);
      assert.ok(passed > 0, "no lease was passed on");
    });
  }

  test("over handovers between instances, of jobs and of owners", async () => {
    const { clients, lock } = fleet(6, { localHandoffs: 0 });
    const seen = witness();
    const held = await holding(clients[0], "k");
    seen.saw("k", held.lock.fencingToken, "the first");
    const waiting = [];
    for (const n of upTo(20)) {
      const client = clients[1 + (n % 5)];
      const ownerId = `owner ${n}`;
      const owner = () => seen.acquired(client, "k", ownerId).then(() => client.release("k", { ownerId }));
      waiting.push(n % 3 === 0 ? owner() : seen.job(client, "k"));
    }
    await queued(admin, lock("k"), 5); // one place for each client
    await held.end();
    await settles(Promise.all(waiting), "all are served", 60_000);
    assert.equal(seen.grants, 21);
  });

  test("in a mix of jobs and owners, on sets that overlap, who also take again what they hold", async () => {
    const { clients } = fleet(3);
    const seen = witness();
    const sets = [["a"], ["b"], ["c"], ["a", "b"], ["b", "c"], ["a", "b", "c"]];
    const worker = async (locks, first) => {
      for (const n of upTo(12)) {
        const keys = sets[(first + 5 * n) % sets.length];
        if ((first + n) % 3 > 0) {
          await seen.job(locks, keys);
          continue;
        }
        const ownerId = `${first}/${n}`;
        await seen.acquired(locks, keys, ownerId, { expire: 60 });
        await seen.acquiredAgain(locks, keys, ownerId);
        assert.equal(await locks.release(keys, { ownerId }), true);
      }
    };
    const workers = upTo(12).map((n) => worker(clients[n % 3], n));
    await settles(Promise.all(workers), "all are served", 60_000);
    assert.equal(seen.grants, 12 * 12);
  });

  const WITH_ALL_DATA = "went with all of the data";
  const LOSSES = {
    "was deleted": (name) => admin.del(name),
    [WITH_ALL_DATA]: () => admin.flushall(),
    "has an older value": (name, older) => admin.set(name, older),
    "is 0": (name) => admin.set(name, 0),
    "is no number": (name) => admin.set(name, "none"),
  };
  for (const [what, lose] of Object.entries(LOSSES)) {
    test(`although the counter ${what}`, async () => {
      const { clients, namespace, lock } = fleet(2);
      const [one, other] = clients;
      const seen = witness();
      await seen.job(one, "k");
      const older = await admin.get(fence(namespace));
      for (const n of upTo(20)) await seen.job(clients[n % 2], "k");

      // Nobody holds or waits.
      await lose(fence(namespace), older);
      await seen.job(other, "k");
      await seen.acquired(one, "k", "owner");
      assert.equal(await one.release("k", { ownerId: "owner" }), true);

      // A job holds the lock, others wait that it may pass to, and another instance waits.
      const first = await holding(one, "k", PATIENT);
      seen.saw("k", first.lock.fencingToken, "the holder");
      const wait = (locks) => upTo(20).map(() => seen.job(locks, "k", "a waiter"));
      // Where the lock goes as well, the other instance comes first: then the lease passes to nobody here, who would be told of
      // the loss at its end.
      const order = what === WITH_ALL_DATA ? [other, one] : [one, other];
      const waiting = [];
      for (const locks of order) {
        waiting.push(...wait(locks));
        if (locks === other) await queued(admin, lock("k"), 1); // with one place for all of its jobs
      }
      await lose(fence(namespace), older);
      const outcome = watch(first.end("done"));
      await settles(Promise.all(waiting), "all are served", 60_000);
      await until(() => outcome.state !== "pending", "the holder has its answer");
      if (outcome.state === "rejected") assert.ok(lockError("LOCK_LOST")(outcome.reason));
      assert.equal(seen.grants, 1 + 20 + 2 + 1 + 40);
    });
  }

  test("although the server's clock was set back a minute, forged: the counter is a minute ahead", async () => {
    const { clients, namespace } = fleet(2);
    const seen = witness();
    await seen.job(clients[0], "k");
    // To a script it is the same: the last number is above the time.
    await admin.set(fence(namespace), Number(await admin.get(fence(namespace))) + 60_000_000);
    await grantsOfEveryKind(seen, clients);
    const [seconds] = await admin.time();
    const token = await clients[0].execute("k", (_signal, lock) => lock.fencingToken);
    assert.ok(token > (Number(seconds) + 30) * 1_000_000, "it goes on from the counter, not from the time");
  });

  test("although the server was restarted with an older snapshot", async () => {
    const folder = mkdtempSync(join(tmpdir(), "fencing-snapshot-"));
    const kept = ["--dir", folder, "--dbfilename", "dump.rdb"];
    const own = await fleetServer(kept);
    try {
      const { clients, namespace } = own.fleet(2);
      const seen = witness();
      await grantsOfEveryKind(seen, clients);
      await own.admin.save();
      copyFileSync(join(folder, "dump.rdb"), join(folder, "older.rdb"));
      const older = Number(await own.admin.get(fence(namespace)));
      await grantsOfEveryKind(seen, clients);
      assert.ok(Number(await own.admin.get(fence(namespace))) > older);
      await own.server.kill();
      copyFileSync(join(folder, "older.rdb"), join(folder, "dump.rdb"));
      await own.server.restart(kept);
      assert.equal(Number(await own.admin.get(fence(namespace))), older, "the older counter is back");
      await grantsOfEveryKind(seen, clients);
    } finally {
      await own.closeAll();
      await own.server.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  /** Jobs that pass their lease on, handovers between two clients, owners, and one who takes again what it holds. */
  async function grantsOfEveryKind(seen, clients) {
    const before = seen.grants;
    await settles(
      Promise.all(clients.flatMap((locks) => upTo(20).map(() => seen.job(locks, "k")))),
      "all jobs are served",
      60_000,
    );
    for (const locks of clients) {
      await seen.acquired(locks, "k", "owner", { expire: 60 });
      await seen.acquiredAgain(locks, "k", "owner");
      assert.equal(await locks.release("k", { ownerId: "owner" }), true);
    }
    assert.equal(seen.grants - before, 21 * clients.length);
  }
});
