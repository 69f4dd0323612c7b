// Property: fencing tokens rise with every grant of a key.
//
// When a grant was made is known to lie between the asking and the job's first statement, or the answer of an acquire.
// Whatever began before another was asked for was granted before it, without exception. Of two that were asked for at
// once, who began later was granted later, unless its process could not run, or its lease was gone, before it began; an
// acquire whose token is known still had its lock when it began.

/** @returns {{ violations: object[], counts: object }} */
export function checkTokens(history, knows) {
  const violations = [];
  const counts = { tokens: 0, "of acquires": 0, "late starts": 0 };
  for (const [key, grants] of grantsByKey(history.calls)) {
    counts.tokens += grants.length;
    counts["of acquires"] += grants.filter(({ op }) => op !== "execute").length;
    grants.sort((a, b) => began(a) - began(b));
    const highest = []; // of the grants up to each
    grants.forEach((grant, at) => highest.push(at > 0 && highest[at - 1].token >= grant.token ? highest[at - 1] : grant));
    grants.forEach((grant, at) => {
      if (at === 0) return;
      const before = highest[at - 1];
      if (before.token < grant.token) return;
      const strictly = lastBefore(grants, highest, grant.ask);
      if (strictly && strictly.token >= grant.token) violations.push(violation(key, strictly, grant));
      else if (before.token > grant.token && mayBeLate(grant, knows)) counts["late starts"] += 1;
      else violations.push(violation(key, before, grant));
    });
  }
  return { violations, counts };
}

const began = (grant) => grant.in ?? grant.ans;

/** Whether it may have been granted long before it began, and have lost its lease since. */
const mayBeLate = (grant, knows) =>
  grant.op === "execute" && (knows.mayHaveLapsed(grant, grant.in) || knows.lossesBefore(grant, grant.in).length > 0);

function grantsByKey(calls) {
  const groups = new Map();
  for (const call of calls) {
    if (began(call) === undefined || call.token === undefined) continue;
    for (const key of call.keys) {
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(call);
    }
  }
  return groups;
}

/** The highest grant of those that began before `t`. */
function lastBefore(grants, highest, t) {
  let [low, high] = [0, grants.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (began(grants[middle]) < t) low = middle + 1;
    else high = middle;
  }
  return highest[low - 1];
}

const violation = (key, before, grant) => ({
  property: "tokens",
  at: began(grant),
  ids: [before.id, grant.id],
  key,
  message: `"${key}": ${grant.id} was granted after ${before.id} with token ${grant.token}, which is not above ${before.token}`,
});
