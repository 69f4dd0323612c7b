/**
 * Several clients want one key all the time: each has its turns, however many callers another one has. What is bounded is counted
 * in jobs, so that no machine is too slow for it.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fleetServer, median } from "./support/fleet.mjs";
import { settles, until } from "./support/waiting.mjs";

/** Far fewer jobs than run in a second. */
const STRETCH = 200;
/** How long a lease passes from job to job of one client, at the most. */
const PASS_MS = 50;

let server, fleet, leaveNothing;
before(async () => {
  ({ server, fleet, leaveNothing } = await fleetServer());
});
afterEach(() => leaveNothing());
after(() => server.stop());

/** Has `callers[n]` of client n run one job after the other, each of `jobMs`, until `isOver(turns)`: whose each turn was. */
async function crowd(clients, callers, jobMs, isOver) {
  // All of them are connected before any of them counts.
  await Promise.all(clients.map((client) => client.inspect("k")));
  const turns = [];
  let over = false;
  let inside = 0;
  const loop = async (client, n) => {
    const job = async () => {
      assert.equal((inside += 1), 1, "one at a time");
      turns.push(n);
      if (jobMs > 0) await sleep(jobMs);
      inside -= 1;
    };
    while (!over) await client.execute("k", job, { timeout: 60 });
  };
  const loops = clients.flatMap((client, n) => Array.from({ length: callers[n] }, () => loop(client, n)));
  await until(() => isOver(turns), "they had enough turns", 60_000);
  over = true;
  await settles(Promise.all(loops), "all are served");
  return turns;
}

for (const localHandoffs of [16, 0]) {
  test(`localHandoffs ${localHandoffs}: of four clients that want a key alike, none has less than half of its fair share of any ${STRETCH} turns`, async () => {
    const { clients } = fleet(4, { localHandoffs });
    const turns = await crowd(clients, [10, 10, 10, 10], 0, ({ length }) => length > 6 * STRETCH);
    for (let first = 0; first + STRETCH <= 6 * STRETCH; first += STRETCH / 4) {
      const stretch = turns.slice(first, first + STRETCH);
      const counts = clients.map((_, n) => stretch.filter((turn) => turn === n).length);
      assert.ok(Math.min(...counts) >= STRETCH / clients.length / 2, `${counts} turns from the ${first}th on`);
    }
  });
}

describe("a client with a single caller, and three with very many", () => {
  const OTHERS = 3;

  /** How many jobs of the others there were between one turn of the single caller and the next, turn by turn. */
  async function between(options, callers, jobMs, count) {
    const { clients } = fleet(1 + OTHERS, options);
    const isOver = (turns) => turns.filter((n) => n === 0).length > count;
    const turns = await crowd(clients, [1, ...Array(OTHERS).fill(callers)], jobMs, isOver);
    const own = turns.flatMap((n, at) => (n === 0 ? [at] : [])).slice(0, count + 1);
    return own.slice(1).map((at, n) => at - own[n] - 1);
  }

  // In between, each of the others has one turn; and a second one where it came back before the single caller had asked anew.
  function inTurn(counts, most) {
    assert.ok(median(counts) <= OTHERS * most, `${counts} jobs between its turns`);
    assert.ok(Math.max(...counts) <= 2 * OTHERS * most, `${counts} jobs between its turns`);
  }

  for (const localHandoffs of [16, 3]) {
    test(`localHandoffs ${localHandoffs}: no more of each of the others go before it than one lease is passed on to`, async () => {
      inTurn(await between({ localHandoffs }, 200, 0, 15), localHandoffs + 1);
    });
  }

  test("jobs that take their time: no more than begin within 50 ms", async () => {
    const jobMs = 20;
    inTurn(await between({}, 30, jobMs, 8), Math.ceil(PASS_MS / jobMs) + 1);
  });
});
