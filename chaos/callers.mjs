// What a store does with its locks. Each call is written down when it is asked, when its job is inside and out again,
// when its signal aborts, and when it is answered; docs in README.md.

import { setTimeout as sleep } from "node:timers/promises";

const SECOND = 1000;

/** Calls one after the other until the store is to be quiet. */
export async function caller(store) {
  const { random } = store;
  const kinds = { execute: 72, acquire: 8, queue: 6, step: 10, foreign: 4 };
  while (!store.quiet) {
    const kind = random.weighted(kinds);
    if (kind === "execute") await execute(store, drawJob(store));
    else if (kind === "foreign") await releaseForeign(store, random.pick(store.keys));
    else if (kind === "step") await lockStep(store);
    else await acquireAndRelease(store, kind === "queue");
    await sleep(random.between(0, 20));
  }
}

/** At the end: one `execute` for each key, which must succeed. Resolves with what failed. */
export async function serveEach(store) {
  const failures = [];
  for (const key of store.keys) {
    const job = { keys: [key], expire: 2, timeout: 20, workMs: 1, heedsSignal: true, final: true };
    const failure = await execute(store, job);
    if (failure) failures.push({ key, failure });
  }
  return failures;
}

function drawJob({ random, keys, timeouts }) {
  const expire = random.pick([1, 1, 2]);
  const length = random.weighted({ short: 78, medium: 20, long: 2 });
  const longest = { short: [0, 12], medium: [20, 120], long: [1.2 * expire * SECOND, 2.4 * expire * SECOND] };
  return {
    keys: someKeys(random, keys),
    expire,
    timeout: random.pick(timeouts),
    workMs: random.between(...longest[length]),
    // Not every job looks at its signal.
    heedsSignal: random.chance(0.7),
  };
}

function someKeys(random, keys) {
  const first = random.pick(keys);
  if (random.chance(0.85)) return [first];
  return keys.filter((key) => key === first || random.chance(0.25));
}

/** Answers with the failure, or undefined. */
async function execute(store, { keys, expire, timeout, workMs, heedsSignal, final }) {
  const { record, locking, counts } = store;
  const id = store.nextId();
  const job = async (signal, lock) => {
    const token = lock?.fencingToken ?? 0;
    record({ e: "in", id, token });
    counts.granted += 1;
    const onAbort = () => record({ e: "abort", id, code: signal.reason?.code });
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort);
    await work(store, { id, keys, token, workMs, signal: heedsSignal ? signal : undefined });
    signal.removeEventListener("abort", onAbort);
    record({ e: "out", id });
  };
  record({ e: "ask", id, op: "execute", keys, expire: expire * SECOND, timeout: timeout * SECOND, final });
  return answered(store, id, () => locking.execute(keys, job, { timeout, expire }));
}

/** The job: reads the registers of its keys, takes its time, and writes them one higher. */
async function work({ register, record }, { id, keys, token, workMs, signal }) {
  const read = await register.read(keys, token);
  if (!read) record({ e: "stale", id, at: "read" });
  await sleep(workMs, undefined, { signal }).catch(() => {});
  if (!read || signal?.aborted) return;
  record({ e: "write", id });
  const written = await register.write(keys, token, id, read.map((value) => value + 1));
  record(written ? { e: "wrote", id } : { e: "stale", id, at: "write" });
}

async function acquireAndRelease(store, awaitQueue) {
  const { random, record, locking, counts } = store;
  const id = store.nextId();
  const keys = someKeys(random, store.keys);
  const ownerId = `owner:${process.pid}:${id}`;
  const expire = random.pick([1, 1, 2]);
  // Some wait for as long as it takes; with the other provider, all do.
  const timeout = awaitQueue && store.provider === "native" ? random.pick([0.5, 2, 5, undefined]) : undefined;
  record({ e: "ask", id, op: awaitQueue ? "queue" : "acquire", keys, expire: expire * SECOND, ...(timeout && { timeout: timeout * SECOND }) });
  const args = { ownerId, expire, ...(awaitQueue && { awaitQueue, ...(timeout && { timeout }) }) };
  if (await answered(store, id, () => locking.acquire(keys, args))) return;
  counts.granted += 1;
  await recordToken(store, id, keys, ownerId);
  await sleep(random.between(0, 60));
  // Some are left to expire.
  if (random.chance(0.15)) return;
  const releaseId = store.nextId();
  record({ e: "ask", id: releaseId, op: "release", keys, of: id });
  await answered(store, releaseId, () => locking.release(keys, { ownerId }));
}

/** How long Medusa's lock step sleeps between two tries. */
const STEP_PAUSE_MS = 300;
/** How long our provider lets it wait at the most, while the lock changes hands. */
const STEP_WAIT_MS = 30 * SECOND;

/** As a workflow of Medusa does: asks without an owner, again and again until its own time is over, works, and releases. */
async function lockStep(store) {
  const { random, record, locking, counts } = store;
  const keys = [random.pick(store.keys)];
  const expire = random.pick([1, 1, 2]);
  const until = performance.now() + random.pick([2, 2, 2, 10]) * SECOND;
  for (;;) {
    const id = store.nextId();
    const longest = store.provider === "native" ? { timeout: STEP_WAIT_MS } : {};
    record({ e: "ask", id, op: "step", keys, expire: expire * SECOND, ...longest });
    const refused = await answered(store, id, () => locking.acquire(keys, { expire, ownerId: undefined, provider: undefined }));
    if (!refused) {
      counts.granted += 1;
      await sleep(random.between(0, 60));
      const releaseId = store.nextId();
      record({ e: "ask", id: releaseId, op: "release", keys, of: id });
      await answered(store, releaseId, () => locking.release(keys, { ownerId: undefined, provider: undefined }));
      return;
    }
    if (store.quiet || performance.now() >= until) return;
    await sleep(STEP_PAUSE_MS);
  }
}

/** The token of an acquired lock is told by `inspect`, for as long as it is held. Without the server it stays unknown. */
async function recordToken({ look, record }, id, keys, ownerId) {
  const seen = (await look?.inspect(keys).catch(() => [])) ?? [];
  const [token, ...others] = new Set(seen.filter((lock) => lock.ownerId === ownerId).map(({ fencingToken }) => fencingToken));
  if (seen.length !== keys.length || others.length > 0) return;
  if (typeof token === "number") record({ e: "token", id, token });
}

/** Somebody who holds nothing releases: that must free nothing. */
async function releaseForeign(store, key) {
  const id = store.nextId();
  store.record({ e: "ask", id, op: "foreign", keys: [key] });
  await answered(store, id, () => store.locking.release([key], { ownerId: `nobody:${process.pid}` }));
}

/** Runs the call and records its answer; the failure's code, or undefined. */
async function answered({ record, counts }, id, call) {
  try {
    const value = await call();
    record({ e: "ans", id, ok: true, ...(typeof value === "boolean" && { value }) });
    return undefined;
  } catch (error) {
    const code = error.code ?? error.message;
    counts.refused += 1;
    record({ e: "ans", id, ok: false, code, why: error.message });
    return code;
  }
}
