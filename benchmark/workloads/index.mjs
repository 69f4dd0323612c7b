import { churn } from "./churn.mjs";
import { hold, waitFor } from "./handover.mjs";
import { endLeases, growLeases, holdLocks, keepLeases, letGoOfLocks, releaseAllOf } from "./held.mjs";
import { crowd, crowdOfMany, hotKey } from "./hot-key.mjs";
import { lanes } from "./lanes.mjs";
import { reserve } from "./reserve.mjs";
import { inThreads } from "./threads.mjs";
import { takeTurns } from "./turns.mjs";

/** What a contestant's process can be told to do, by name. */
export const workloads = {
  churn,
  crowd,
  crowdOfMany,
  endLeases,
  growLeases,
  hold,
  holdLocks,
  hotKey,
  inThreads,
  keepLeases,
  lanes,
  letGoOfLocks,
  releaseAllOf,
  reserve,
  takeTurns,
  waitFor,
};
