/**
 * First come, first served between the clients of a fleet: who waits in Redis is served in order and by being told, and nobody
 * is overtaken or starved.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startScript, stopScripts } from "./support/children.mjs";
import { lockError, refusal, TIMED_OUT } from "./support/errors.mjs";
import { elapsed } from "./support/fleet-children.mjs";
import { fleetServer, median, queued, queueName, RARE_POLLS, waitersOf } from "./support/fleet.mjs";
import { holding } from "./support/held.mjs";
import { deferred, settles, until, watch } from "./support/waiting.mjs";

/** Every lease goes back to Redis, so every grant is one of its queue. */
const STRICT = { localHandoffs: 0 };
/** Who asks of two callers first is certain where this much time lies between them. */
const APART_MS = 100;

let server, admin, fleet, leaveNothing;
before(async () => {
  ({ server, admin, fleet, leaveNothing } = await fleetServer());
});
afterEach(async () => {
  await stopScripts();
  await leaveNothing();
});
after(() => server.stop());

const upTo = (count) => Array.from({ length: count }, (_, n) => n);

describe("the order", () => {
  test("clients are served in the order in which they asked", async () => {
    const { clients, lock } = fleet(9, RARE_POLLS);
    const [first, ...others] = clients;
    const held = await holding(first, "k");
    const served = [];
    const waiting = [];
    for (const [n, client] of others.entries()) {
      waiting.push(client.execute("k", () => void served.push(n), { timeout: 60 }));
      await queued(admin, lock("k"), n + 1);
    }
    await held.end();
    await settles(Promise.all(waiting), "all are served");
    assert.deepEqual(served, upTo(8));
  });

  test("jobs and acquires stand in one queue", async () => {
    const { clients, lock } = fleet(7, RARE_POLLS);
    const [first, ...others] = clients;
    await first.acquire("k", { ownerId: "first" });
    const served = [];
    const waiting = [];
    for (const [n, client] of others.entries()) {
      const ownerId = `owner ${n}`;
      const queuedAcquire = async () => {
        await client.acquire("k", { ownerId, awaitQueue: true });
        served.push(n);
        assert.equal(await client.release("k", { ownerId }), true);
      };
      waiting.push(n % 2 === 0 ? queuedAcquire() : client.execute("k", () => void served.push(n), { timeout: 60 }));
      await queued(admin, lock("k"), n + 1);
    }
    assert.equal(await first.release("k", { ownerId: "first" }), true);
    await settles(Promise.all(waiting), "all are served");
    assert.deepEqual(served, upTo(6));
  });

  test("processes are served in the order in which they asked", async () => {
    const { clients, lock, options } = fleet(1);
    const held = await holding(clients[0], "k");
    const waiters = [];
    for (const n of upTo(4)) {
      const waiter = startScript(
        `
        const locks = new Locks(input);
        await locks.execute("k", (_signal, lock) => say("token", lock.fencingToken), { timeout: 60 });
        `,
        { input: options },
      );
      waiters.push(waiter);
      await queued(admin, lock("k"), n + 1);
    }
    await held.end();
    const tokens = await Promise.all(waiters.map(async (waiter) => Number(await waiter.line("token"))));
    assert.deepEqual(tokens, [...tokens].sort((one, other) => one - other));
    assert.ok(tokens[0] > held.lock.fencingToken);
    for (const waiter of waiters) assert.deepEqual(await waiter.ends(), { code: 0, signal: null, errors: "" });
  });

  test("localHandoffs 0: the callers of three clients are served in exactly the order in which they asked", async () => {
    const { clients } = fleet(4, { ...STRICT, ...RARE_POLLS });
    const held = await holding(clients[3], "k");
    const served = [];
    const waiting = [];
    for (const [n, client] of [0, 0, 1, 2, 2, 2, 1, 0, 1, 0, 0, 2, 0, 1, 2].entries()) {
      waiting.push(clients[client].execute("k", () => void served.push(n), { timeout: 60 }));
      await sleep(APART_MS);
    }
    await held.end();
    await settles(Promise.all(waiting), "all are served");
    assert.deepEqual(served, upTo(15));
  });

  /** Queues for these sets in this order, each through one of the clients; resolves with the order in which they were served. */
  async function servedInTurn(holder, clients, sets, hasAsked) {
    const held = await holding(holder, ["a", "b", "c", "d"]);
    const served = [];
    const inside = new Set();
    const waiting = [];
    for (const [n, keys] of sets.entries()) {
      const job = async () => {
        served.push(n);
        for (const key of keys) assert.ok(!inside.has(key), `two at once on "${key}"`);
        for (const key of keys) inside.add(key);
        await sleep(20);
        for (const key of keys) inside.delete(key);
      };
      waiting.push(clients[n % clients.length].execute(keys, job, { timeout: 60 }));
      await hasAsked(n);
    }
    await held.end();
    await settles(Promise.all(waiting), "all are served");
    return served;
  }

  const SETS = ["ab", "bc", "c", "acd", "d", "bd", "a", "cd", "abcd", "b", "ad", "bcd"].map((letters) => letters.split(""));

  /** Fails where a set was served before one that had asked earlier and wants one of the same keys. */
  function nobodyOvertaken(served) {
    assert.equal(served.length, SETS.length);
    for (const [early, keys] of SETS.entries()) {
      for (const [late, others] of SETS.entries()) {
        if (early >= late || !keys.some((key) => others.includes(key))) continue;
        assert.ok(served.indexOf(early) < served.indexOf(late), `${others} (${late}) overtook ${keys} (${early}): ${served}`);
      }
    }
  }

  test("nobody is overtaken by another client's set that asked later and wants one of the same keys", async () => {
    const { clients, lock } = fleet(1 + SETS.length, RARE_POLLS);
    const inQueue = (n) => {
      const [key] = SETS[n];
      return queued(admin, lock(key), SETS.slice(0, n + 1).filter((keys) => keys.includes(key)).length);
    };
    nobodyOvertaken(await servedInTurn(clients[0], clients.slice(1), SETS, inQueue));
  });

  test("localHandoffs 0: nor where a client waits for several sets that overlap", async () => {
    const { clients } = fleet(4, { ...STRICT, ...RARE_POLLS });
    nobodyOvertaken(await servedInTurn(clients[0], clients.slice(1), SETS, () => sleep(APART_MS)));
  });

  test("a free key that a set waits for with another is not to be had by who comes later", async () => {
    const { clients: [holder, patient, late], lock } = fleet(3, RARE_POLLS);
    const held = await holding(holder, "a");
    const waiting = patient.execute(["a", "b"], () => "the set", { timeout: 60 });
    await queued(admin, lock("b"), 1);
    await assert.rejects(late.acquire("b", { ownerId: "late" }), lockError("LOCK_HELD", refusal("b")));
    await assert.rejects(late.execute("b", () => assert.fail("ran"), { timeout: 0 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    await assert.rejects(late.execute("b", () => assert.fail("ran"), { timeout: 0.3 }), lockError("LOCK_TIMEOUT", TIMED_OUT));
    assert.equal(await admin.get(lock("b")), null);
    await held.end();
    assert.equal(await settles(waiting, "the set"), "the set");
    assert.equal(await late.execute("b", () => "free", { timeout: 0 }), "free");
  });

  test("a set that is not wanted by anybody else passes those who wait", async () => {
    const { clients, lock } = fleet(3, RARE_POLLS);
    const held = await holding(clients[0], "a");
    const waiting = clients[1].execute(["a", "b"], () => "served", { timeout: 60 });
    await queued(admin, lock("b"), 1);
    assert.equal(await clients[2].execute(["c", "d"], () => "served", { timeout: 1 }), "served");
    await held.end();
    assert.equal(await settles(waiting, "the set that waited"), "served");
  });

  test("a large set is served after those who came before it, however many ask for single keys all the time", async () => {
    const { clients, lock } = fleet(4, STRICT);
    const [holder, patient, ...busy] = clients;
    const held = await holding(holder, "a");
    let served = 0;
    let over = false;
    const loop = async (client, key) => {
      while (!over) await client.execute(key, () => void (served += 1), { timeout: 60 });
    };
    const loops = busy.flatMap((client) => ["a", "b", "c"].map((key) => loop(client, key)));
    await queued(admin, lock("a"), busy.length);
    await until(() => served > 50, "the others loop");

    let before;
    const large = patient.execute(["a", "b", "c"], () => served - before, { timeout: 60 });
    await queued(admin, lock("a"), busy.length + 1);
    // Those that ask for the other two keys end what they had begun, and then are behind it.
    await until(async () => {
      before = served;
      await sleep(300);
      return served === before;
    }, "nobody overtakes it");
    await held.end();
    const ahead = await settles(large, "the large set's turn");
    over = true;
    await settles(Promise.all(loops), "the loops end");
    assert.equal(ahead, busy.length, "turns between its asking and its own");
  });

  test("sixteen callers for two items, in the same and in opposite orders: all succeed within the default timeout", async () => {
    const { clients } = fleet(4);
    for (const orders of [[["a", "b"]], [["a", "b"], ["b", "a"]]]) {
      let stock = 16;
      const reserve = async () => {
        const seen = stock;
        await sleep(20);
        stock = seen - 1;
      };
      const calls = upTo(16).map((n) => clients[n % 4].execute(orders[n % orders.length], reserve));
      const outcomes = await Promise.allSettled(calls);
      assert.deepEqual(outcomes.filter(({ status }) => status === "rejected"), []);
      assert.equal(stock, 0);
    }
  });
});

describe("handing over", () => {
  test("a lock that somebody waits for is never free, and nobody else can have it between two of them", async () => {
    const { clients, lock } = fleet(6, { ...STRICT, ...RARE_POLLS });
    const [first, stranger, ...others] = clients;
    const held = await holding(first, "k");
    const waiting = others.flatMap((client) => upTo(10).map(() => client.execute("k", () => sleep(2), { timeout: 60 })));
    await queued(admin, lock("k"), others.length);
    const queue = await queueName(admin, lock("k"));
    const all = watch(Promise.all(waiting));

    // A pause that is left on purpose, for nodes that know no queues, says so in the queue.
    const look = `
      local waiters, marks = redis.call("ZCOUNT", KEYS[2], 0, "+inf"), redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", "(0")
      return { redis.call("EXISTS", KEYS[1]), waiters, marks }
    `;
    let seen = 0;
    const looking = (async () => {
      while (all.state === "pending") {
        const [locked, count, marks] = await admin.eval(look, 2, lock("k"), queue);
        if (count === 0 || marks.some((mark) => mark.startsWith("gap "))) continue;
        assert.equal(locked, 1, `free, though ${count} wait`);
        seen += 1;
      }
    })();
    const barging = (async () => {
      while ((await waitersOf(admin, lock("k"))).length > 1) {
        await assert.rejects(stranger.acquire("k", { ownerId: "stranger" }), lockError("LOCK_HELD", refusal("k")));
      }
    })();
    await held.end();
    await settles(Promise.all([looking, barging, all.promise]), "all are served", 30_000);
    assert.ok(seen > 20, `looked ${seen} times`);
  });

  test("what one process releases, another one gets promptly: it is told, and does not find out by asking", async () => {
    const { clients, lock, options } = fleet(1, { ...STRICT, ...RARE_POLLS });
    const held = await holding(clients[0], "k");
    const processes = upTo(2).map(() =>
      startScript(
        `
        import { setTimeout as sleep } from "node:timers/promises";
        const locks = new Locks(input);
        for (let round = 0; round < 25; round += 1) {
          await locks.execute("k", async () => {
            const enter = process.hrtime.bigint();
            await sleep(5);
            say("turn", enter, process.hrtime.bigint());
          }, { timeout: 60 });
        }
        await locks.close();
        say("done");
        `,
        { input: options },
      ),
    );
    await queued(admin, lock("k"), 2);
    await held.end();
    await Promise.all(processes.map((process_) => process_.line("done", 30_000)));
    const turns = processes.flatMap(({ pid, lines }) =>
      lines.filter((line) => line.startsWith("turn ")).map((line) => {
        const [enter, leave] = line.split(" ").slice(1).map(BigInt);
        return { pid, enter, leave };
      }),
    );
    turns.sort((one, other) => (one.enter < other.enter ? -1 : 1));
    const handovers = [];
    for (let n = 1; n < turns.length; n += 1) {
      const [before, now] = [turns[n - 1], turns[n]];
      if (before.pid !== now.pid) handovers.push(Number(now.enter - before.leave) / 1e6);
    }
    assert.ok(handovers.length >= 20, `${handovers.length} handovers between the processes`);
    assert.ok(handovers.every((ms) => ms >= 0), "one at a time");
    assert.ok(median(handovers) < 200, `median of ${handovers.map((ms) => ms.toFixed(1))} ms`);
  });

  test("what several waiters of one client wait for, and one release frees, they all get promptly", async () => {
    const { clients: [holder, other], lock } = fleet(2, RARE_POLLS);
    const times = [];
    for (let round = 0; round < 5; round += 1) {
      const keys = ["a", "b", "c", "d"];
      const held = await holding(holder, keys);
      const jobs = keys.map((key) => other.execute(key, () => performance.now(), { timeout: 60 }));
      for (const key of keys) await queued(admin, lock(key), 1);
      const start = performance.now();
      await held.end();
      times.push(Math.max(...(await settles(Promise.all(jobs), "all of them"))) - start);
    }
    assert.ok(median(times) < 300, `${times} ms`);
  });

  test("callers of many clients for sets that overlap do not wait for polls", async () => {
    const { clients } = fleet(4, RARE_POLLS);
    const sets = ["a", "b", "ab", "bc", "c", "abc", "cd", "ad"].map((letters) => letters.split(""));
    const waits = [];
    const caller = async (client, first) => {
      for (let n = 0; n < 20; n += 1) {
        const start = performance.now();
        await client.execute(sets[(first + 3 * n) % sets.length], () => void waits.push(performance.now() - start), { timeout: 60 });
      }
    };
    await Promise.all(clients.flatMap((client, n) => upTo(3).map((m) => caller(client, 2 * n + m))));
    assert.equal(waits.length, 240);
    assert.ok(median(waits) < 300, `median of ${median(waits)} ms`);
  });

  test("whatever keys and namespaces are called, a release hands over to who waits", async () => {
    const keys = ["a:queue:b", "}:waiter:{", "{a}b", "a{", "}", "since 1", "gap 99999999999999999", "*", " ", "\n\0", "é\u{1F512}", "%s[?]", "0"];
    for (const namespace of ["n{s}:queue:", "lock:{}", "old 5:waiter:"]) {
      const { clients: [holder, other], lock } = fleet(2, { ...RARE_POLLS, namespace });
      for (const call of ["execute", "acquire"]) {
        const held = await holding(holder, keys);
        const take = async (key) => {
          if (call === "execute") return other.execute(key, () => key, { timeout: 60 });
          await other.acquire(key, { ownerId: "since 1", awaitQueue: true });
          assert.equal(await admin.get(lock(key)), "since 1");
          assert.equal(await holder.release(key, { ownerId: "since 1" }), true);
          return key;
        };
        const waiting = keys.map(take);
        for (const key of keys) await queued(admin, lock(key), 1);
        const ms = await elapsed(Promise.all([held.end(), ...waiting]), "all are served");
        assert.deepEqual((await Promise.all(waiting)).sort(), [...keys].sort());
        assert.ok(ms < 900, `${ms} ms: they were not told`);
      }
    }
  });

  test("a thousand keys are waited for and handed over as a whole", async () => {
    const { clients: [holder, ...others], lock } = fleet(4, RARE_POLLS);
    const keys = upTo(1_000).map((n) => `k${n}`);
    const held = await holding(holder, keys);
    const served = [];
    const waiting = [];
    for (const [n, client] of others.entries()) {
      const job = () => void served.push(n);
      waiting.push(n === 1 ? client.acquire(keys, { ownerId: "me", awaitQueue: true }).then(job) : client.execute(keys, job, { timeout: 60 }));
      await queued(admin, lock("k999"), n + 1);
    }
    await held.end();
    await until(() => served.length === 2, "two are served");
    assert.equal(await admin.get(lock("k500")), "me");
    assert.equal(await holder.release(keys, { ownerId: "me" }), true);
    await settles(Promise.all(waiting), "all are served");
    assert.deepEqual(served, upTo(3));
  });

  test("inspect shows who holds the lock next as soon as it has been released", async () => {
    const { clients, lock } = fleet(3, RARE_POLLS);
    const end = deferred();
    const held = await holding(clients[0], "k");
    const waiting = clients[1].execute("k", (_signal, granted) => end.promise.then(() => granted), { timeout: 60 });
    await queued(admin, lock("k"), 1);
    await held.end();
    const [shown] = await clients[2].inspect("k");
    assert.notEqual(shown.ownerId, held.lock.ownerId);
    assert.ok(shown.expiresIn > 0);
    await until(async () => (await clients[2].inspect("k"))[0].fencingToken > held.lock.fencingToken, "the token of the next one");
    end.resolve();
    const granted = await settles(waiting, "the one that waited");
    assert.ok(granted.fencingToken > held.lock.fencingToken);
  });
});
