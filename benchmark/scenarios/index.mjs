import { churnScenarios } from "./churn.mjs";
import { commandScenarios } from "./commands.mjs";
import { fleetScenarios } from "./fleet.mjs";
import { growthScenarios } from "./growth.mjs";
import { handoverScenarios } from "./handover.mjs";
import { chainScenarios } from "./handover-chain.mjs";
import { loopScenarios } from "./handover-loop.mjs";
import { hotKeyScenarios } from "./hot-key.mjs";
import { leaseScenarios } from "./leases.mjs";
import { releaseAllScenarios } from "./release-all.mjs";
import { reservationScenarios } from "./reservations.mjs";
import { threadScenarios } from "./threads.mjs";
import { throughputScenarios } from "./throughput.mjs";

/**
 * @typedef {object} Scenario
 * @property {string} id unique
 * @property {string} title as the tables show it
 * @property {string} unit of the value that it measures; less is better
 * @property {('memory' | 'redis')[]} groups which contestants take part
 * @property {number} [processes] of each contestant, default 1
 * @property {number} [instances] of the contestant in each process, default 1
 * @property {boolean} [ownDatabase] whether each contestant has a database of its own on the server
 * @property {number[]} [sizes] how many locks, leases or waiters there are at each of its rounds' `extra` numbers
 * @property {boolean} [needsKeySets] leaves out contestants that take one key at a time
 * @property {boolean} [withoutPeers] leaves out the peers
 * @property {boolean} [oursOnly] leaves out all but this project's
 * @property {boolean} [withFloor] whether `redis-benchmark` can do what its workload does
 * @property {boolean} [withoutRatio] whether a ratio of two values would say nothing
 * @property {import('../figures.mjs').Figure[]} [figures] which of its rounds' `extra` numbers the tables show
 * @property {number} [roundsMax] fewer rounds than asked for
 * @property {number} [peerRoundsMax] fewer still for the peers, of which some take seconds for what takes others ms
 * @property {boolean} [long] whether a round takes seconds: the run's size says how many there are at most
 * @property {number} [roundLimitMs] how long one round may take, where not as long as the run's size says
 * @property {(processes: Participant[], size) => Promise<any>} warmUp what it returns is the rounds' `plan`
 * @property {(processes: Participant[]) => Promise<any>} [wakeUp] what comes before each round and is not measured
 * @property {(processes: Participant[], {plan, number, size, probe}) => Promise<Round>} round
 */

/** @type {Scenario[]} */
export const scenarios = [
  ...throughputScenarios,
  ...threadScenarios,
  ...hotKeyScenarios,
  ...handoverScenarios,
  ...chainScenarios,
  ...loopScenarios,
  ...fleetScenarios,
  ...commandScenarios,
  ...reservationScenarios,
  ...releaseAllScenarios,
  ...leaseScenarios,
  ...growthScenarios,
  ...churnScenarios,
];
