/** Whoever waits, or holds, while thousands of other requests come and go, is still told all that there is to tell. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { onEachBackend } from "./support/backends.mjs";
import { lockError } from "./support/errors.mjs";
import { holding } from "./support/held.mjs";
import { settles, until } from "./support/waiting.mjs";

/** More than the requests that the module keeps at hand: `provider/recipients.ts`. */
const OTHERS = 10_000;
const WIDTH = 100;

onEachBackend("while many others come and go", (backend) => {
  const open = () => {
    const locks = backend.locks();
    const others = async () => {
      const lane = async (n) => {
        for (let done = 0; done < OTHERS / WIDTH; done += 1) await locks.execute(`other_${n}`, () => {});
      };
      await Promise.all(Array.from({ length: WIDTH }, (_, n) => lane(n)));
    };
    return { locks, others };
  };

  test("waiters are served in their order, jobs end with their results, and who gives up is gone", async () => {
    const { locks, others } = open();
    const held = await holding(locks, "k");
    const served = [];
    const giveUp = new AbortController();
    const jobs = [1, 2].map((n) => locks.execute("k", () => served.push(n), { timeout: 300 }));
    const acquiring = locks.acquire("k", { ownerId: "me", awaitQueue: true }).then(() => served.push("me"));
    const leaving = assert.rejects(locks.execute("k", () => served.push("gone"), { timeout: 300, signal: giveUp.signal }), /changed my mind/);
    const last = locks.execute("k", () => served.push("last"), { timeout: 300 });
    await others();
    giveUp.abort(new Error("changed my mind"));
    await leaving;
    assert.equal(await held.end("result"), "result");
    await settles(Promise.all([...jobs, acquiring]), "those behind it");
    await locks.release("k", { ownerId: "me" });
    await settles(last, "the last one");
    assert.deepEqual(served, [1, 2, "me", "last"]);
  });

  test("whoever waits when the locks are closed is told so, whether it came before the others or after them", async () => {
    const { locks, others } = open();
    const held = await holding(locks, "k");
    const wait = () => assert.rejects(locks.execute("k", () => assert.fail("closed"), { timeout: 300 }), lockError("CLOSED"));
    const before = wait();
    await others();
    const after = wait();
    const closing = locks.close();
    await settles(Promise.all([before, after]), "both");
    await held.end();
    await closing;
  });

  if (backend.kind === "redis") {
    test("a job whose lock goes is told so", async () => {
      const { locks, others } = open();
      const held = await holding(locks, "k", { expire: 3 });
      await others();
      const admin = backend.server.connect();
      await admin.flushall();
      await until(() => held.signal.aborted, "the signal aborts");
      assert.ok(lockError("LOCK_LOST")(held.signal.reason));
      await assert.rejects(settles(held.end("must not count"), "execute"), (error) => error === held.signal.reason);
    });
  }
});
