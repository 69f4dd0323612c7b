/**
 * Several processes on one Redis, some of which are killed or stopped on the way. What they record is checked afterwards: no two
 * jobs that succeeded held a key at once, tokens rise in the order of the grants, and everyone alive was served.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { Locks } from "./support/product.mjs";
import { nothingLeft, redisServer } from "./support/redis.mjs";
import { stays, until } from "./support/waiting.mjs";

let server, admin;
before(async () => {
  server = await redisServer();
  admin = server.connect();
});
afterEach(stopScripts);
after(() => server.stop());

const LEASE_S = 1.5;

/** Locks random sets of the keys, and records when each job that counts was inside. The clock is the same for all processes. */
const WORKER = `
import { setTimeout as sleep } from "node:timers/promises";
const locks = new Locks(input.options);
for (let round = 0; round < input.rounds; round += 1) {
  const keys = input.keys.filter(() => Math.random() < 0.5);
  let span;
  try {
    await locks.execute(keys.length ? keys : [input.keys[0]], async (signal, lock) => {
      const enter = String(process.hrtime.bigint());
      await sleep(Math.random() * 4);
      span = { keys: lock.keys, token: lock.fencingToken, enter, leave: String(process.hrtime.bigint()) };
    }, { timeout: 60 });
    say("span", JSON.stringify(span));
  } catch (error) {
    say("failed", error.code);
  }
}
say("done");
`;

function startWorkers(count, rounds) {
  const namespace = freshNamespace();
  const options = { redisUrl: server.url, namespace, lease: LEASE_S };
  const input = { options, rounds, keys: ["a", "b", "c"] };
  return { options, workers: Array.from({ length: count }, () => startScript(WORKER, { input })) };
}

const told = (worker, word) => worker.lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));

/** Fails where two spans of one key overlap, or a later one has no higher token. */
function checkHistory(workers) {
  const spans = workers
    .flatMap((worker) => told(worker, "span").map((line) => JSON.parse(line)))
    .map((span) => ({ ...span, enter: BigInt(span.enter), leave: BigInt(span.leave) }))
    .sort((one, other) => (one.enter < other.enter ? -1 : 1));
  const last = new Map();
  for (const span of spans) {
    for (const key of span.keys) {
      const before = last.get(key);
      if (before) {
        assert.ok(before.leave <= span.enter, `two jobs held "${key}" at once`);
        assert.ok(before.token < span.token, `the token of "${key}" fell from ${before.token} to ${span.token}`);
      }
      last.set(key, span);
    }
  }
  return spans.length;
}

async function everythingFree(options) {
  const locks = new Locks(options);
  await until(async () => (await locks.inspect()).length === 0, "nothing stays locked");
  await locks.close();
  await nothingLeft(admin, options.namespace);
}

test("four processes on overlapping key sets: one at a time, tokens rise, all are served", async () => {
  const { options, workers } = startWorkers(4, 60);
  await Promise.all(workers.map((worker) => worker.line("done", 40_000)));
  assert.deepEqual(workers.flatMap((worker) => told(worker, "failed")), []);
  assert.equal(checkHistory(workers), 240);
  for (const worker of workers) assert.deepEqual(await worker.ends(), { code: 0, signal: null, errors: "" });
  await everythingFree(options);
});

test("processes killed and stopped on the way: no job that succeeded was ever inside with another", async () => {
  const { options, workers } = startWorkers(5, 60);
  const [killed, killedToo, stopped, ...rest] = workers;
  const served = (worker, count) => until(() => told(worker, "span").length >= count, `${count} served`);
  await served(killed, 5);
  killed.kill();
  await served(stopped, 10);
  stopped.kill("SIGSTOP");
  await stays(() => true, "it is stopped for longer than its lease", 2 * LEASE_S * 1_000);
  stopped.kill("SIGCONT");
  await served(killedToo, 15);
  killedToo.kill();
  await Promise.all([stopped, ...rest].map((worker) => worker.line("done", 60_000)));
  for (const worker of rest) assert.deepEqual(told(worker, "failed"), []);
  for (const code of told(stopped, "failed")) assert.equal(code, "LOCK_LOST");
  assert.ok(checkHistory(workers) > 180);
  await everythingFree(options);
});

test("a process stopped inside its job past the lease: another takes over, and it is told when it goes on", async () => {
  const namespace = freshNamespace();
  const options = { redisUrl: server.url, namespace, lease: LEASE_S };
  const child = startScript(
    `
    const locks = new Locks(input.options);
    const outcome = await locks.execute("k", async (signal) => {
      say("inside");
      const alive = setInterval(() => {}, 1_000);
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      clearInterval(alive);
      say("aborted", signal.reason.code);
      return "finished";
    }).catch((error) => error.code);
    say("outcome", outcome);
    `,
    { input: { options } },
  );
  await child.line("inside");
  child.kill("SIGSTOP");
  const locks = new Locks(options);
  assert.equal(await locks.execute("k", () => "took over", { timeout: 60 }), "took over");
  await locks.acquire("k", { ownerId: "the new owner" });
  child.kill("SIGCONT");
  assert.equal(await child.line("aborted"), "LOCK_LOST");
  assert.equal(await child.line("outcome"), "LOCK_LOST");
  assert.equal(await admin.get(`${namespace}k`), "the new owner");
  await child.ends();
  await locks.releaseAll();
  await locks.close();
});
