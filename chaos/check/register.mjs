// Property: each register is exactly as high as writes to it were let through, and those are the ones that were reported,
// but for what processes had sent when they were killed.

/** @returns {{ violations: object[], counts: object }} `register`: per key `{ value, log }` */
export function checkRegister(history, register) {
  const violations = [];
  const counts = { writes: 0, "of killed processes": 0, "refused by an older token": 0 };
  const jobs = new Map(history.calls.filter(({ op }) => op === "execute").map((call) => [call.id, call]));
  for (const call of jobs.values()) counts["refused by an older token"] += call.stale;
  for (const [key, { value, log }] of Object.entries(register)) {
    counts.writes += log.length;
    const fail = (message, ids = []) => violations.push({ property: "register", at: history.end, ids, key, message: `"${key}": ${message}` });
    if (value !== log.length) fail(`the register is ${value} after ${log.length} writes: ${log.length - value} were overwritten`);
    const logged = new Set(log);
    if (logged.size !== log.length) fail("a write was let through twice");
    for (const id of logged) {
      const call = jobs.get(id);
      if (call?.writes === 1) continue;
      if (call?.tried && history.processes[call.process].killedAt !== undefined && call.stale === 0) counts["of killed processes"] += 1;
      else fail(`the write of ${id} was let through and not reported`, [id]);
    }
    for (const { id, keys, writes } of jobs.values()) {
      if (writes > 0 && keys.includes(key) && !logged.has(id)) fail(`the write of ${id} was reported and is not there`, [id]);
    }
  }
  return { violations, counts };
}
