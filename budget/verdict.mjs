// Holds counts against their budgets.

import { inWords } from "./counts.mjs";

/**
 * What is wrong with the counts of a scenario, one sentence for each, by name: "execute, 64 at once, on Redis: 2.40
 * commands an operation, budget 1.50 (why that much)".
 *
 * A count without a budget is wrong as well: it would be counted for nothing.
 */
export function excesses(scenario, counted, budgets) {
  return Object.entries(counted).flatMap(([name, value]) => {
    const [budget, why] = budgets[scenario.name]?.[name] ?? [];
    const said = `${scenario.name}: ${inWords(name, value)} an operation`;
    if (budget === undefined) return [`${said}, for which there is no budget`];
    return value <= budget ? [] : [`${said}, budget ${budget} (${why})`];
  });
}

/** The lesser of two counts of the same: what else the machine does can only add to them. */
export function leastOf(one, other) {
  return Object.fromEntries(
    Object.entries(one).map(([name, count]) => [name, Math.min(count, other[name] ?? Number.POSITIVE_INFINITY)]),
  );
}
