// What our own backend says to Redis, word for word, so that something else can say the same.
import { Participant } from "./participant.mjs";

/** What `redis-benchmark` replaces with as many digits. */
export const digits = "__rand_int__";

/**
 * @typedef {object} Calls two commands, as argument lists, with `digits` for the end of each lock's name
 * @property {string[]} acquire
 * @property {string[]} release
 * @property {string[]} locks the names in `acquire`
 */

/**
 * Has `contestant`, one of ours, run a few operations by itself, and takes down the last one's two script calls. By
 * then the server knows the scripts, so that both are called by their hashes.
 * @param {import('ioredis').Redis} client a connection to the server at `redisUrl`
 * @returns {Promise<Calls>}
 */
export async function recordCalls(client, contestant, { redisUrl, operation, keysPerCall }) {
  const monitor = await client.monitor();
  const heard = [];
  monitor.on("monitor", (_time, args, source) => source !== "lua" && heard.push(args));
  const process = await Participant.open(contestant, { redisUrl, instances: 1 });
  try {
    await process.run("lanes", { operation, width: 1, keysPerCall, count: 3 });
    await allHeard(client, heard);
  } finally {
    monitor.disconnect();
    await process.stop();
  }
  const [acquire, release] = heard.filter(([name]) => name.toLowerCase() === "evalsha").slice(-2);
  // A script's first keys are the locks.
  const locks = acquire.slice(3, 3 + keysPerCall);
  return { acquire: withDigits(acquire, locks), release: withDigits(release, locks), locks: withDigits(locks, locks) };
}

// The monitor's answers come in the order in which the server ran things.
async function allHeard(client, heard) {
  const mark = `heard-${process.pid}`;
  await client.echo(mark);
  for (let turn = 0; !heard.some((args) => args[1] === mark); turn++) {
    if (turn > 1000) throw new Error("the server's monitor is silent");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function withDigits(args, locks) {
  return args.map((text) => locks.reduce((out, lock) => out.replace(lock, lock.slice(0, -digits.length) + digits), text));
}
