// Properties of the quiet end: every live waiter was served, and nothing of ours stays in Redis but the fence counter.

/** `served`: per process the failures of its `execute` on each key, undefined where it did not answer; `idle`: the same. */
export function checkServed(history, { idle, served }) {
  const violations = [];
  const fail = (message) => violations.push({ property: "served", at: history.end, ids: [], message });
  idle.forEach((reply, slot) => reply || fail(`store ${slot}: calls were still waiting long after the last fault`));
  served.forEach((reply, slot) => {
    if (!reply) fail(`store ${slot} did not answer`);
    else for (const { key, failure } of reply.failures) fail(`store ${slot} could not lock "${key}" when all was quiet: ${failure}`);
  });
  for (const [name, { crash }] of Object.entries(history.processes)) {
    if (crash) fail(`process ${name} ended by itself (${crash.signal ?? crash.code}): ${crash.stderr}`);
  }
  const ok = served.reduce((sum, reply) => sum + (reply ? 1 : 0), 0);
  return { violations, counts: { processes: ok } };
}

/**
 * `left`: what was found in the end, `{ name, type, ttl, text }` (ttl in ms, -1: none; text: value or members).
 * Without `waited`, what names only killed processes may be there, if it expires.
 */
export function checkResidue(history, { left, waited }) {
  const violations = [];
  const killed = new Set(Object.values(history.processes).filter(({ killedAt }) => killedAt !== undefined).map(({ pid }) => pid));
  const counts = { left: left.length };
  for (const { name, type, ttl, text } of left) {
    const pids = [...`${name} ${text}`.matchAll(/(?:execute:[^:\s]*|owner|inbox:[^:\s]*):(\d+):/g)].map(([, pid]) => Number(pid));
    const onlyMarks = type === "zset" && /^((since|gap|old) \d+ ?)+$/.test(text);
    const ofKilled = (pids.length > 0 || onlyMarks) && pids.every((pid) => killed.has(pid));
    if (!waited && ttl > 0 && ttl <= 61_000 && ofKilled) continue;
    violations.push({
      property: "residue",
      at: history.end,
      ids: [],
      message: `${name} (${type}, ${ttl < 0 ? "does not expire" : `expires in ${ttl} ms`}) is left: ${text.slice(0, 200)}`,
    });
  }
  return { violations, counts };
}
