/**
 * Every call with every kind of value that JavaScript has, in any order, from the package's own class and from Medusa's
 * provider: no value crashes or hangs the process, every call is answered with a result, a stable code or the caller's own
 * error, and nothing stays locked.
 *
 * `FUZZ_SEED=7 FUZZ_RUNS=5000` looks further. A plan that fails is printed, made as small as it was possible to make it;
 * `FUZZ_PLAN='{...}'` runs that one alone.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { freshNamespace } from "./support/backends.mjs";
import { startScript, stopScripts } from "./support/children.mjs";
import { plansOf, shrink } from "./support/fuzz.mjs";
import { allKeys, redisServer } from "./support/redis.mjs";

const SEED = Number(process.env.FUZZ_SEED ?? 1);
const RUNS = Number(process.env.FUZZ_RUNS ?? 60);
const ONE_PLAN = process.env.FUZZ_PLAN;

/** How long one plan may take, its child's start included. */
const PLAN_TIMEOUT_MS = 20_000;

const module = (name) => import.meta.resolve(`./support/${name}.mjs`);

/** Says `begin <n>` and `end <n> <faults>` of each plan; what goes wrong outside of any call is a fault as well. */
const RUNNER = `
const { runPlan } = await import(input.runner);
const { plansOf } = await import(input.plans);
let stray = [];
for (const event of ["uncaughtException", "unhandledRejection"]) {
  process.on(event, (thrown) => {
    let text = "something that cannot be shown";
    try { text = String(thrown?.stack ?? thrown); } catch {}
    stray.push(event + ": " + text);
  });
}
for (const [n, plan] of plansOf(input.which).entries()) {
  say("begin", n);
  const namespace = input.namespace + n + ":";
  const faults = await runPlan(plan, input.connection, namespace).catch((thrown) => ["the plan failed: " + thrown?.stack]);
  await new Promise(setImmediate);
  say("end", n, JSON.stringify([...faults, ...stray.splice(0)]));
}
process.exit(0);
`;

/** Runs the plans of `which` in one process. Resolves to the first that fails, as `{ plan, faults }`, or to undefined. */
async function firstFailure(which, connection) {
  const plans = plansOf(which);
  const input = { which, connection, namespace: freshNamespace(), plans: module("fuzz"), runner: module("fuzz-run") };
  const child = startScript(RUNNER, { input });
  for (const [n, plan] of plans.entries()) {
    let faults;
    try {
      faults = JSON.parse(await child.line(`end ${n}`, PLAN_TIMEOUT_MS));
    } catch (error) {
      faults = [`the process crashed or hung: ${error.message}`];
    }
    if (faults.length > 0) {
      child.kill();
      return { plan, faults };
    }
  }
  const { code, signal } = await child.ends();
  return code === 0 ? undefined : { plan: plans.at(-1), faults: [`the process ended with ${code ?? signal}`] };
}

async function allHold(which, connection) {
  const failure = await firstFailure(which, connection);
  if (failure === undefined) return;
  const smallest = await shrink(failure.plan, async (plan) => (await firstFailure({ plan }, connection)) !== undefined);
  const again = (await firstFailure({ plan: smallest }, connection)) ?? failure;
  assert.fail(`${again.faults.join("\n")}\n\nseed ${failure.plan.seed ?? "none"}; FUZZ_PLAN='${JSON.stringify(again.plan)}'`);
}

for (const kind of ["memory", "redis"]) {
  describe(`fuzzed calls, ${kind} backend`, () => {
    let server;
    const connection = () => (server === undefined ? {} : { redisUrl: server.url });
    before(async () => {
      if (kind === "redis") server = await redisServer();
    });
    after(async () => {
      await stopScripts();
      await server?.stop();
    });

    if (ONE_PLAN !== undefined) {
      test("the plan that the environment names", () => allHold({ plan: JSON.parse(ONE_PLAN) }, connection()));
    } else {
      test("every kind of value in every place", () => allHold({ sweeps: true }, connection()));

      test(`${RUNS} plans from seed ${SEED} on`, () => allHold({ from: SEED * 1_000_003, count: RUNS }, connection()));
    }

    if (kind === "redis") {
      test("Redis is as empty as before, but for the counters of fencing tokens", async () => {
        const left = (await allKeys(server.connect())).filter((key) => !key.startsWith("locking-native:fence:"));
        assert.deepEqual(left, []);
      });
    }
  });
}
