// The judge: proves or refutes, from a history alone, what README.md lists.

import { checkResidue, checkServed } from "./check/aftermath.mjs";
import { checkAnswers } from "./check/answers.mjs";
import { checkExclusion } from "./check/exclusion.mjs";
import { checkHandover } from "./check/handover.mjs";
import { knowledge } from "./check/knowledge.mjs";
import { checkLosses } from "./check/losses.mjs";
import { checkRegister } from "./check/register.mjs";
import { checkTokens } from "./check/tokens.mjs";

/** How long a call that does not wait for a lock may take, in ms, where the history's maker does not say. */
const COMMAND_TIMEOUT_MS = 2_000;

/**
 * The verdicts: per property `{ property, violations, counts }`.
 * `end`: `{ register, idle, served, left, waited }`, what was found when all was quiet; each part may be missing.
 */
export function check(history, end = {}, { commandTimeout = COMMAND_TIMEOUT_MS } = {}) {
  const knows = knowledge(history);
  const verdicts = {
    exclusion: checkExclusion(history, knows),
    tokens: checkTokens(history, knows),
    losses: checkLosses(history, knows),
    handover: checkHandover(history),
    answers: checkAnswers(history, knows, { commandTimeout }),
    ...(end.register && { register: checkRegister(history, end.register) }),
    ...(end.served && { served: checkServed(history, end) }),
    ...(end.left && { residue: checkResidue(history, end) }),
  };
  return Object.entries(verdicts).map(([property, verdict]) => ({ property, ...verdict }));
}
