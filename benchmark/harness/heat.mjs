// One scenario in one group of contestants: opens their processes, warms them up, then lets them take turns, so that
// whatever else the machine does meets all of them alike.
import { Floor } from "./floor.mjs";
import { Participant } from "./participant.mjs";

/** Those before it are everybody's, and the floor's. */
const firstOwnDatabase = 2;

/**
 * @typedef {object} Round
 * @property {number} value what the scenario measures, less is better
 * @property {import('../workloads/measured.mjs').Cost} cost of all processes of the contestant
 * @property {import('./redis-probe.mjs').ServerCost | null} [server] left out: that of the round, if it has one
 * @property {number[]} [samples] single observations behind `value`, for distributions
 * @property {Record<string, number>} [extra] further numbers of the scenario's own, its `figures` among them
 */

/**
 * @param {object} heat
 * @param {import('../scenarios/index.mjs').Scenario} heat.scenario
 * @param {import('../contestants/index.mjs').Contestant[]} heat.entrants
 * @param {object} surroundings {size, redisUrl, probe, onStep}
 * @returns {Promise<{contestant, rounds: Round[], error: string | null}[]>}
 */
export async function runHeat({ scenario, entrants }, surroundings) {
  const lanes = entrants.map((contestant, n) => ({
    contestant,
    redisUrl: scenario.ownDatabase ? `${surroundings.redisUrl}/${firstOwnDatabase + n}` : surroundings.redisUrl,
    processes: [],
    rounds: [],
    error: null,
    plan: undefined,
  }));
  try {
    await Promise.all(
      lanes.map((lane) => attempt(lane, scenario, surroundings, () => lineUp(lane, scenario))),
    );
    for (const lane of lanes) {
      await attempt(lane, scenario, surroundings, async () => {
        lane.plan = await scenario.warmUp(lane.processes, surroundings.size);
      });
    }
    for (let round = 0; round < roundsOf(scenario, surroundings.size); round++) {
      for (const lane of inTurn(lanes, round).filter(({ contestant }) => takesPart(contestant, scenario, round))) {
        await attempt(lane, scenario, surroundings, () => takeRound(lane, scenario, round, surroundings));
      }
    }
  } finally {
    await Promise.all(lanes.flatMap(({ processes }) => processes.map((process) => process.stop())));
  }
  return lanes.map(({ contestant, rounds, error }) => ({ contestant, rounds, error }));
}

/** Steps of a heat, as `onStep` counts them. */
export function stepsOf({ scenario, entrants }, size) {
  const rounds = roundsOf(scenario, size);
  const taken = (entrant) => Array.from({ length: rounds }, (_, n) => n).filter((n) => takesPart(entrant, scenario, n));
  return entrants.reduce((sum, entrant) => sum + 2 + taken(entrant).length, 0);
}

function takesPart({ peer }, { peerRoundsMax = Infinity }, round) {
  return !peer || round < peerRoundsMax;
}

function roundsOf(scenario, size) {
  const longest = scenario.long ? size.longRoundsMax : Infinity;
  return Math.min(size.rounds, scenario.roundsMax ?? Infinity, longest);
}

// Each round begins with another contestant, so that none always follows the same one.
function inTurn(lanes, round) {
  const first = round % lanes.length;
  return [...lanes.slice(first), ...lanes.slice(0, first)];
}

async function lineUp(lane, scenario) {
  const { processes = 1, instances = 1 } = scenario;
  const kind = lane.contestant.floor ? Floor : Participant;
  const opened = await Promise.allSettled(
    Array.from({ length: processes }, () => kind.open(lane.contestant, { redisUrl: lane.redisUrl, instances })),
  );
  lane.processes = opened.filter(({ status }) => status === "fulfilled").map(({ value }) => value);
  const failed = opened.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

async function takeRound(lane, scenario, number, { size, probe }) {
  const turn = () => scenario.round(lane.processes, { plan: lane.plan, number, size, probe });
  await scenario.wakeUp?.(lane.processes);
  if (lane.contestant.group === "memory") {
    lane.rounds.push({ ...(await turn()), server: null });
    return;
  }
  const before = await probe.read();
  const round = await turn();
  lane.rounds.push({ server: await probe.since(before), ...round });
}

// A contestant that fails or does not finish drops out; the others go on.
async function attempt(lane, scenario, { size, onStep }, step) {
  if (lane.error === null) {
    try {
      await within(scenario.roundLimitMs ?? size.roundLimitMs, step());
    } catch (error) {
      lane.error = error.message;
      await Promise.all(lane.processes.map((process) => process.stop()));
    }
  }
  onStep();
}

async function within(limitMs, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${limitMs / 1000} s`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
