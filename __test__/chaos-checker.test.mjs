/** The judge of chaos/ on histories made by hand: what it must find, and what it must let pass. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { check } from "../chaos/checker.mjs";
import { now, openJournal, readJournal } from "../chaos/journal.mjs";
import { FAULTS, schedule } from "../chaos/schedule.mjs";

let serial = 0;

/** A job of process `process` that was inside from `from` to `to`, under a lease of a second. */
const job = (process, from, to, rest = {}) => ({
  id: `${process}/${(serial += 1)}`,
  process,
  op: "execute",
  keys: ["k"],
  expire: 1000,
  timeout: 5000,
  ask: from - 10,
  in: from,
  token: 1000 + from,
  out: to,
  ans: to + 1,
  ok: true,
  writes: 0,
  stale: 0,
  ...rest,
});
const lost = (process, from, abort, to, rest = {}) => job(process, from, to, { abort, ok: false, code: "LOCK_LOST", ...rest });

const process_ = (rest) => ({ pid: 1, slot: 0, stops: [], halts: [], blocks: [], cuts: [], ...rest });

function history(calls, { a = {}, b = {}, outages = [], losses = [], provider = "native" } = {}) {
  return { provider, calls, processes: { a: process_(a), b: process_(b) }, server: { outages, losses }, events: [], end: 60_000 };
}

/** How often each property is violated, and what was counted. */
function verdict(calls, circumstances, end) {
  const found = {};
  for (const { property, violations, counts } of check(history(calls, circumstances), end)) {
    found[property] = violations.length;
    found[`${property} counts`] = counts;
  }
  return found;
}

describe("exclusion", () => {
  test("one after the other, and on different keys at once", () => {
    const calls = [job("a", 1000, 2000), job("b", 2001, 3000), job("a", 2002, 2500, { keys: ["other"] })];
    assert.equal(verdict(calls).exclusion, 0);
  });

  test("two at once, by a hair, on any key of their sets", () => {
    assert.equal(verdict([job("a", 1000, 2000), job("b", 1999.9, 3000)]).exclusion, 1);
    assert.equal(verdict([job("a", 1000, 2000, { keys: ["j", "k"] }), job("b", 1500, 1600, { keys: ["k", "l"] })]).exclusion, 1);
  });

  test("a long job that lasts for all of several short ones", () => {
    assert.equal(verdict([job("a", 1000, 9000), job("b", 2000, 2100), job("b", 3000, 3100)]).exclusion, 2);
  });

  test("whoever aborts or is killed before the next one comes is not inside", () => {
    const stopped = { a: { stops: [[1100, 2500]] } };
    assert.equal(verdict([lost("a", 1000, 2050, 5000), job("b", 2060, 3000)], stopped).exclusion, 0);
    assert.equal(verdict([job("a", 1000, undefined, { ans: undefined }), job("b", 2060, 3000)], { a: { killedAt: 1500 } }).exclusion, 0);
    assert.equal(verdict([job("a", 1000, undefined, { ans: undefined }), job("b", 2060, 3000)], { a: { killedAt: 2500 } }).exclusion, 1);
  });

  test("a process that was stopped past its lease, and told when it woke", () => {
    const stopped = { a: { stops: [[1100, 3000]] } };
    const found = verdict([lost("a", 1000, 3010, 3500), job("b", 2200, 5000)], stopped);
    assert.equal(found.exclusion, 0);
    assert.equal(found["exclusion counts"]["after a lapse"], 1);
  });

  test("the same, and not told when it woke", () => {
    assert.equal(verdict([job("a", 1000, 4500), job("b", 2200, 5000)], { a: { stops: [[1100, 3000]] } }).exclusion, 1);
  });

  test("the same, told by nobody: its execute succeeded, and so knew nothing of it", () => {
    const stopped = { a: { stops: [[1100, 3000]] } };
    assert.equal(verdict([job("a", 1000, 3010), job("b", 2200, 5000)], stopped).exclusion, 1);
    assert.equal(verdict([job("a", 1000, 3010, { ok: false, code: "LOCK_LOST" }), job("b", 2200, 5000)], stopped).exclusion, 0);
  });

  test("a stop, or a server that was away, while the older one still waited: its lease began later", () => {
    const calls = [lost("a", 4000, 4350, 4400, { ask: 1000 }), job("b", 4300, 4340)];
    assert.equal(verdict(calls, { a: { stops: [[1100, 3500]] } }).exclusion, 1);
    assert.equal(verdict(calls, { outages: [[1100, 2500]] }).exclusion, 1);
    // It may have been granted before the stop, and have heard of it behind it.
    const woken = [lost("a", 3600, 3650, 3700, { ask: 1000 }), job("b", 3610, 3640)];
    assert.equal(verdict(woken, { a: { stops: [[1100, 3500]] } }).exclusion, 0);
  });

  test("a stop that was too short for the lease to lapse", () => {
    assert.equal(verdict([job("a", 1000, 2000), job("b", 1350, 1500)], { a: { stops: [[1300, 1400]] } }).exclusion, 1);
  });

  test("the next one came long before the lease of a stopped process can have lapsed", () => {
    assert.equal(verdict([lost("a", 1000, 3010, 3500), job("b", 1500, 5000)], { a: { stops: [[1400, 3000]] } }).exclusion, 1);
  });

  test("a blocked event loop is no cause for a lapse, and one together with a hung server is", () => {
    const calls = [lost("a", 1000, 4010, 4500), job("b", 3800, 5000)];
    const blocked = { blocks: [[1100, 4000]], halts: [[1100, 4000]] };
    assert.equal(verdict(calls, { a: blocked }).exclusion, 1);
    assert.equal(verdict(calls, { a: blocked, outages: [[1500, 3700]] }).exclusion, 0);
    assert.equal(verdict(calls, { a: blocked, provider: "locking-redis" }).exclusion, 0);
  });

  test("while the server hangs, who can run must abort before the next one comes", () => {
    const outages = [[1100, 3000]];
    assert.equal(verdict([lost("a", 1000, 2100, 5000), job("b", 3010, 4000)], { outages }).exclusion, 0);
    assert.equal(verdict([lost("a", 1000, 3400, 5000), job("b", 3010, 4000)], { outages }).exclusion, 1);
    const late = verdict([lost("a", 1000, 3020, 5000), job("b", 3010, 4000)], { outages });
    assert.equal(late.exclusion, 0);
    assert.equal(late["exclusion counts"]["late by scheduling"], 1);
  });

  test("after the server lost its data, until the holder can know", () => {
    const losses = [{ from: 1500, to: 1501, kind: "flushall" }];
    const found = verdict([lost("a", 1000, 1840, 3000), job("b", 1510, 2000)], { losses });
    assert.equal(found.exclusion, 0);
    assert.equal(found["exclusion counts"]["after lost data"], 1);
    assert.equal(verdict([job("a", 1000, 4000), job("b", 1510, 4000)], { losses }).exclusion, 1);
    // Granted after the loss: it lost nothing.
    assert.equal(verdict([job("a", 2000, 3000), job("b", 2100, 2200)], { losses }).exclusion, 1);
    // The overlap was before it.
    assert.equal(verdict([job("a", 1000, 1600), job("b", 1200, 1300)], { losses }).exclusion, 1);
  });

  test("by token, and not by when they began: a job may begin long after its grant", () => {
    const late = lost("a", 3005, 3010, 3020, { ask: 1000, token: 5 });
    assert.equal(verdict([late, job("b", 2500, 3500, { token: 9 })], { a: { stops: [[1010, 3000]] } }).exclusion, 0);
    assert.equal(verdict([late, job("b", 2500, 3500, { token: 9 })]).exclusion, 1);
  });

  test("who acquired holds until it asks to release, or its lock expires", () => {
    const acquire = { ...job("a", 1000, undefined), op: "acquire", in: undefined, token: undefined, ask: 1000, ans: 1002 };
    const release = { ...acquire, id: "r", op: "release", of: acquire.id, ask: 1400, ans: 1401, value: true };
    assert.equal(verdict([acquire, job("b", 1500, 1600)]).exclusion, 1);
    assert.equal(verdict([acquire, release, job("b", 1500, 1600)]).exclusion, 0);
    assert.equal(verdict([acquire, job("b", 2005, 2600)]).exclusion, 0);
    assert.equal(verdict([acquire, job("b", 1500, 1600)], { losses: [{ from: 1100, to: 1101 }] }).exclusion, 0);
  });
});

describe("tokens", () => {
  test("rise", () => {
    assert.equal(verdict([job("a", 1000, 1100, { token: 1 }), job("b", 1200, 1300, { token: 2 })]).tokens, 0);
    assert.equal(verdict([job("a", 1000, 1100, { token: 2 }), job("b", 1200, 1300, { token: 2 })]).tokens, 1);
    assert.equal(verdict([job("a", 1000, 1100, { token: 3 }), job("b", 1200, 1300, { token: 2 })]).tokens, 1);
  });

  test("also where the one before is not the highest, and the asking came before it", () => {
    const calls = [job("a", 1000, 1100, { token: 9 }), job("b", 1200, 1300, { token: 3 }), job("a", 1400, 1500, { token: 4, ask: 900 })];
    assert.equal(verdict(calls).tokens, 2);
  });

  test("a grant that began late because its process was stopped, or that the server forgot", () => {
    const calls = [job("b", 2500, 2600, { token: 9 }), lost("a", 3005, 3006, 3010, { ask: 1000, token: 5 })];
    assert.equal(verdict(calls, { a: { stops: [[1010, 3000]] } }).tokens, 0);
    assert.equal(verdict(calls).tokens, 1);
  });

  test("of acquires count, from their answers on, and nothing excuses a late one: it still had its lock", () => {
    const acquired = (ans, token, ask = ans - 5) => job("a", undefined, undefined, { op: "acquire", in: undefined, ask, ans, token });
    const found = verdict([job("b", 900, 950, { token: 9 }), acquired(1000, 10), job("b", 1400, 1500, { token: 11 })]);
    assert.equal(found.tokens, 0);
    assert.equal(found["tokens counts"]["of acquires"], 1);
    assert.equal(verdict([job("b", 900, 950, { token: 9 }), acquired(1000, 9)]).tokens, 1);
    assert.equal(verdict([acquired(1000, 9), job("b", 1400, 1500, { token: 8 })]).tokens, 1);
    const stopped = { a: { stops: [[1010, 3000]] } };
    assert.equal(verdict([job("b", 2500, 2600, { token: 9 }), acquired(3005, 5, 1000)], stopped).tokens, 1);
  });

  test("no fault excuses a token below that of a job that had begun before it was asked for", () => {
    const calls = [job("b", 900, 950, { token: 9 }), lost("a", 3005, 3006, 3010, { ask: 1000, token: 5 })];
    assert.equal(verdict(calls, { a: { stops: [[1010, 3000]] }, losses: [{ from: 960, to: 970 }] }).tokens, 1);
  });
});

describe("losses", () => {
  test("with and without a cause", () => {
    assert.equal(verdict([lost("a", 1000, 1500, 1600)]).losses, 1);
    assert.equal(verdict([job("a", 1000, 1500, { ok: false, code: "LOCK_LOST" })]).losses, 1);
    assert.equal(verdict([lost("a", 1000, 2500, 2600)], { outages: [[1400, 2400]] }).losses, 0);
    // Told a little before the end: a job goes by its own clock.
    assert.equal(verdict([lost("a", 1000, 1978, 2600)], { outages: [[1010, 3000]] }).losses, 0);
    assert.equal(verdict([lost("a", 1000, 1500, 1600)], { losses: [{ from: 1200, to: 1201 }] }).losses, 0);
    assert.equal(verdict([lost("a", 1000, 1500, 1600)], { outages: [[1400, 1410]], b: { stops: [[0, 9000]] } }).losses, 1);
  });

  test("a cause that was over before the lock was granted is none", () => {
    assert.equal(verdict([lost("a", 4000, 4500, 4600, { ask: 1000 })], { losses: [{ from: 1200, to: 1201 }] }).losses, 1);
    assert.equal(verdict([lost("a", 4000, 4500, 4600, { ask: 1000 })], { outages: [[1100, 2500]] }).losses, 1);
  });

  test("whoever was told that its lock is lost does not succeed", () => {
    const losses = [{ from: 1200, to: 1201 }];
    assert.equal(verdict([job("a", 1000, 1600, { abort: 1500 })], { losses }).losses, 1);
    assert.equal(verdict([lost("a", 1000, 1500, 1600)], { losses }).losses, 0);
  });

  test("a release frees what is its owner's and nothing else", () => {
    const acquire = { ...job("a", 1000, undefined), op: "acquire", in: undefined, token: undefined, ask: 1000, ans: 1002 };
    const release = { ...acquire, id: "r", op: "release", of: acquire.id, ask: 1400, ans: 1401 };
    assert.equal(verdict([acquire, { ...release, value: true }]).losses, 0);
    assert.equal(verdict([acquire, { ...release, value: false }]).losses, 1);
    assert.equal(verdict([acquire, { ...release, ask: 2000, ans: 2001, value: false }]).losses, 0);
    assert.equal(verdict([{ ...release, op: "foreign", of: undefined, value: true }]).losses, 1);
    assert.equal(verdict([{ ...release, op: "foreign", of: undefined, value: false }]).losses, 0);
  });
});

describe("handover", () => {
  const waited = (ask, from, rest) => job("b", from, from + 10, { ask, ...rest });

  test("a lock stands free while somebody waits for it", () => {
    assert.equal(verdict([job("a", 1000, 1100), waited(1050, 1150)]).handover, 0);
    assert.equal(verdict([job("a", 1000, 1100), waited(1050, 2000)]).handover, 1);
    assert.equal(verdict([job("a", 1000, 1100), waited(1050, 2000, { keys: ["other", "k"] })]).handover, 1);
  });

  test("it does not stand free, or others go before, or something was disturbed", () => {
    // One of two must be served; who wants more may be the one before it.
    const more = job("a", 2000, 2010, { ask: 1040, keys: ["k", "l"] });
    assert.equal(verdict([job("a", 1000, 1100), more, waited(1050, 2100)]).handover, 1);
    assert.equal(verdict([job("a", 1000, 1100), job("b", 1000, 1990, { keys: ["l"] }), more, waited(1050, 2100)]).handover, 0);
    assert.equal(verdict([job("a", 1000, 1990), waited(1050, 2000)]).handover, 0);
    assert.equal(verdict([job("a", 1000, 1990, { keys: ["other"] }), waited(1050, 2000, { keys: ["other", "k"] })]).handover, 0);
    assert.equal(verdict([job("a", 1000, 1100), waited(1050, 2000)], { outages: [[900, 950]] }).handover, 0);
    assert.equal(verdict([job("a", 1000, 1100), waited(1050, 2000)], { a: { cuts: [[1500, 1501]] } }).handover, 0);
    assert.equal(verdict([job("a", 1000, 1100), waited(1050, 2000)], { provider: "locking-redis" }).handover, 0);
  });
});

describe("handover behind a process that was killed", () => {
  const killed = { a: { killedAt: 1500 } };
  const unanswered = (rest) => job("a", undefined, undefined, { ans: undefined, ok: undefined, ...rest });

  test("it holds until its lease ends, and no longer", () => {
    const held = job("a", 1000, undefined, { ans: undefined, ok: undefined });
    // Looked at again when what the kill disturbed is over.
    assert.equal(verdict([held, job("b", 9000, 9010, { ask: 8200 })], killed).handover, 1);
    assert.equal(verdict([held, job("b", 8300, 8310, { ask: 8200 })], killed).handover, 0);
  });

  test("what it waited for is nobody's business any more", () => {
    const calls = [unanswered({ ask: 1400 }), job("b", 59_000, 59_100)];
    assert.equal(verdict(calls, killed).handover, 0);
  });
});

describe("answers", () => {
  test("none, and too late", () => {
    assert.equal(verdict([job("a", 1000, undefined, { ans: undefined })]).answers, 1);
    assert.equal(verdict([job("a", 1000, undefined, { ans: undefined })], { a: { killedAt: 1100 } }).answers, 0);
    assert.equal(verdict([job("a", 7000, 7100, { ask: 1000 })]).answers, 1);
    assert.equal(verdict([job("a", 6500, 6600, { ask: 1000 })]).answers, 0);
    assert.equal(verdict([job("a", 1000, 1100, { ans: 4000 })]).answers, 1);
  });

  test("the time of a stopped process does not count", () => {
    assert.equal(verdict([job("a", 7000, 7100, { ask: 1000 })], { a: { stops: [[2000, 3000]] } }).answers, 0);
    assert.equal(verdict([job("a", 7000, 7100, { ask: 1000 })], { b: { stops: [[2000, 3000]] } }).answers, 1);
  });

  test("that do not fit what became of the job", () => {
    assert.equal(verdict([job("a", 1000, 1100, { starts: 1 })]).answers, 0);
    assert.equal(verdict([job("a", 1000, 1100, { starts: 2 })]).answers, 1);
    assert.equal(verdict([job("a", undefined, undefined, { ask: 1000, ans: 1100 })]).answers, 1, "it succeeded and did not run");
    assert.equal(verdict([job("a", 1000, 1100, { starts: 1, ok: false, code: "LOCK_TIMEOUT" })]).answers, 1);
    assert.equal(verdict([lost("a", 1000, 1050, 1300, { ans: 1100 })], { losses: [{ from: 1010, to: 1011 }] }).answers, 1);
  });

  test("none before its process was killed, long after it was due", () => {
    const unanswered = job("a", undefined, undefined, { ask: 1000, ans: undefined });
    assert.equal(verdict([unanswered], { a: { killedAt: 6000 } }).answers, 0);
    assert.equal(verdict([unanswered], { a: { killedAt: 9000 } }).answers, 1);
    assert.equal(verdict([unanswered], { a: { killedAt: 9000, stops: [[2000, 6000]] } }).answers, 0);
  });

  test("an acquire that waits for as long as it takes", () => {
    const queue = { ...job("a", 1000, undefined), op: "queue", in: undefined, token: undefined, timeout: undefined, ask: 1000, ans: 50_000 };
    assert.equal(verdict([queue]).answers, 0);
    assert.equal(verdict([{ ...queue, ans: undefined }]).answers, 1);
  });
});

describe("the end", () => {
  const wrote = (process, from, rest) => job(process, from, from + 10, { writes: 1, tried: true, ...rest });

  test("the register is what was written to it", () => {
    const [one, two] = [wrote("a", 1000), wrote("b", 2000)];
    const judged = (value, log) => verdict([one, two], { b: {} }, { register: { k: { value, log } } }).register;
    assert.equal(judged(2, [one.id, two.id]), 0);
    assert.equal(judged(1, [one.id, two.id]), 1, "one was overwritten");
    assert.equal(judged(1, [one.id]), 1, "one is missing");
    assert.equal(judged(3, [one.id, two.id, "a/none"]), 1, "one is nobody's");
  });

  test("what a killed process had sent may be there or not", () => {
    const sent = job("a", 1000, undefined, { ans: undefined, tried: true });
    const judged = (circumstances, value, log) => verdict([sent], circumstances, { register: { k: { value, log } } }).register;
    assert.equal(judged({ a: { killedAt: 1005 } }, 1, [sent.id]), 0);
    assert.equal(judged({ a: { killedAt: 1005 } }, 0, []), 0);
    assert.equal(judged({}, 1, [sent.id]), 1);
  });

  test("every process is served", () => {
    const judged = (end, circumstances) => verdict([], circumstances, end).served;
    assert.equal(judged({ idle: [{}, {}], served: [{ failures: [] }, { failures: [] }] }), 0);
    assert.equal(judged({ idle: [{}, undefined], served: [{ failures: [] }, { failures: [] }] }), 1);
    assert.equal(judged({ idle: [{}, {}], served: [{ failures: [{ key: "k", failure: "LOCK_TIMEOUT" }] }, undefined] }), 2);
    assert.equal(judged({ idle: [], served: [] }, { a: { crash: { code: 1, stderr: "boom" } } }), 1);
  });

  test("nothing is left", () => {
    const waiter = (pid, ttl) => ({ name: `locking-native:{1}:waiter:execute:host:${pid}:nonce:7`, type: "hash", ttl, text: "{}" });
    const judged = (left, waited = false) => verdict([], { a: { pid: 71, killedAt: 5 } }, { left, waited }).residue;
    assert.equal(judged([]), 0);
    assert.equal(judged([waiter(71, 59_000)]), 0, "of a killed process");
    assert.equal(judged([waiter(71, 59_000)], true), 1, "it had time to expire");
    assert.equal(judged([waiter(71, -1)]), 1, "it does not expire");
    assert.equal(judged([waiter(1, 59_000)]), 1, "of a live process");
    const key = (type, text) => ({ name: "locking-native:{1}:queue:chaos:k", type, ttl: 1_500, text });
    assert.equal(judged([key("zset", "since 17 old 18")]), 0, "marks, which name nobody");
    assert.equal(judged([key("string", "somebody")]), 1, "it names nobody, and is no mark");
  });
});

test("a journal of a killed process lacks half of its last line at most", () => {
  const folder = mkdtempSync(join(tmpdir(), "locking-native-journal-"));
  try {
    const path = join(folder, "one");
    const record = openJournal(path);
    const before = now();
    record({ e: "a" });
    record({ e: "b" });
    writeFileSync(path, '{"t":1,"e"', { flag: "a" });
    const events = readJournal(path);
    assert.deepEqual(events.map(({ e }) => e), ["a", "b"]);
    assert.ok(events[0].t >= before && events[1].t >= events[0].t);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a seed repeats its schedule; nothing in it lasts beyond the end, and no process is hurt twice at once", () => {
  const options = { seed: 7, seconds: 300, processes: 4 };
  const plan = schedule(options);
  assert.deepEqual(schedule(options), plan);
  assert.notDeepEqual(schedule({ ...options, seed: 8 }), plan);
  assert.deepEqual([...new Set(plan.map(({ kind }) => kind))].sort(), [...FAULTS].sort());
  assert.ok(plan.every(({ at, lasts = 0 }) => at + lasts <= 300));
  for (let slot = 0; slot < 4; slot += 1) {
    const own = plan.filter((fault) => fault.slot === slot);
    own.slice(1).forEach(({ at }, before) => assert.ok(at > own[before].at + (own[before].lasts ?? 0)));
  }
  assert.deepEqual([...new Set(schedule({ ...options, faults: ["hang"] }).map(({ kind }) => kind))], ["hang"]);
});
