// One run: servers and stores are started, hurt as scheduled, left in peace, and judged.

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { startRedis } from "../scripts/redis-server.mjs";
import { check } from "./checker.mjs";
import { Fleet } from "./fleet.mjs";
import { readHistory } from "./history.mjs";
import { now, openJournal } from "./journal.mjs";
import { COMMAND_TIMEOUT_MS } from "./medusa.mjs";
import { seeded } from "./random.mjs";
import { Register } from "./register.mjs";
import { leftAfter } from "./residue.mjs";
import { schedule } from "./schedule.mjs";
import { DisturbedServer } from "./server.mjs";

const NAMESPACE = "chaos:";
const KEYS = ["apple", "birch", "cedar", "daisy", "elder"];
const CALLERS = 6;
const CONDUCTOR = "conductor.jsonl";
const RESULT = "result.json";
/** How long calls may take to end after the last fault, and the last calls of all. */
const PEACE_MS = 45_000;
/** What killed processes left expires within this time. */
const RESIDUE_MS = 66_000;

/** How long callers wait, in s; the other provider knows no less than one. */
const TIMEOUTS = { native: [0.05, 0.5, 2, 2, 5], "locking-redis": [1, 2, 2, 5] };

/**
 * Runs and judges. `options`: `{ seconds, seed, processes, provider, faults, wait, keep, env }`, `env`: what is added to the
 * environment of stores; `onStart(plan)` and `onProgress({ seconds, faults, granted })` are told how it goes.
 */
export async function run(options, { onStart = () => {}, onProgress = () => {} } = {}) {
  const { seconds, seed, processes, provider, faults, wait } = options;
  const plan = schedule({ seed, seconds, processes, faults });
  onStart(plan);
  const folder = mkdtempSync(join(tmpdir(), "locking-native-chaos-"));
  const cleanups = [() => options.keep || rmSync(folder, { recursive: true, force: true })];
  const cleanUp = async () => {
    while (cleanups.length > 0) await cleanups.pop()();
  };
  const onSignal = () => void cleanUp().finally(() => process.exit(130));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    const record = openJournal(join(folder, CONDUCTOR));
    mkdirSync(join(folder, "redis"));
    const server = await DisturbedServer.start(join(folder, "redis"), record);
    cleanups.push(() => server.stop());
    const undisturbed = await startRedis();
    cleanups.push(() => undisturbed.stop());
    const register = new Register(undisturbed.url);
    cleanups.push(() => register.close());

    const setup = { folder, seed, processes, provider, redisUrl: server.url, registerUrl: undisturbed.url };
    const fleet = new Fleet({ ...setup, namespace: NAMESPACE, keys: KEYS, callers: CALLERS, timeouts: TIMEOUTS[provider] }, record, options.env);
    cleanups.push(() => fleet.end());
    await fleet.start();
    await hurt({ plan, seconds, seed, fleet, server, onProgress });

    const idle = await fleet.order("quiet", "idle", PEACE_MS);
    const served = await fleet.order("serve", "served", PEACE_MS);
    const fence = `locking-native:fence:${NAMESPACE}`;
    const left = await leftAfter(server.admin, fence, wait ? RESIDUE_MS : 0);
    const end = { idle, served, left, waited: wait, register: await register.contents(KEYS) };
    await fleet.end();
    writeFileSync(join(folder, RESULT), JSON.stringify({ options, plan, end }));
    return judge(folder);
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    await cleanUp();
  }
}

/** Judges the journals that a run has kept in `folder`. */
export function judge(folder) {
  const { options, plan, end } = JSON.parse(readFileSync(join(folder, RESULT), "utf8"));
  const stores = readdirSync(folder).filter((name) => name.startsWith("store-")).sort();
  const history = readHistory({
    provider: options.provider,
    conductor: join(folder, CONDUCTOR),
    stores: stores.map((name) => join(folder, name)),
  });
  const verdicts = check(history, end, { commandTimeout: COMMAND_TIMEOUT_MS });
  return { options, plan, history, end, verdicts, folder };
}

/** Carries out the schedule: what concerns the server one after the other, all else at its time. */
async function hurt({ plan, seconds, seed, fleet, server, onProgress }) {
  const random = seeded(seed ^ 0x5eed);
  const begin = now();
  const elapsed = () => (now() - begin) / 1000;
  const pending = new Set();
  let atServer = Promise.resolve();
  let faults = 0;
  let failed;
  const tellProgress = () => onProgress({ seconds: elapsed(), faults, granted: fleet.granted });
  const progress = setInterval(tellProgress, 500);
  const start = (work) => {
    const settled = work.catch((error) => (failed ??= error)).finally(() => pending.delete(settled));
    pending.add(settled);
    return settled;
  };
  try {
    for (const fault of plan) {
      const pick = random.next();
      await sleep(Math.max(0, (fault.at - elapsed()) * 1000));
      faults += 1;
      if (fault.slot !== undefined) start(fleet.suffer(fault));
      else atServer = start(atServer.then(() => server.suffer({ ...fault, pick })));
    }
    await sleep(Math.max(0, (seconds - elapsed()) * 1000));
    await Promise.all(pending);
  } finally {
    clearInterval(progress);
  }
  if (failed) throw failed;
  tellProgress();
}
