import { churn } from "./churn.mjs";
import { hold, waitFor } from "./handover.mjs";
import { crowd, hotKey } from "./hot-key.mjs";
import { lanes } from "./lanes.mjs";
import { reserve } from "./reserve.mjs";
import { takeTurns } from "./turns.mjs";

/** What a contestant's process can be told to do, by name. */
export const workloads = { churn, crowd, hold, hotKey, lanes, reserve, takeTurns, waitFor };
