// A fleet of many processes. Each is stood for by locks with a connection of their own, which to the server is the same.
import { sideBySide } from "../workloads/measured.mjs";
import { commonStart } from "../workloads/start.mjs";
import { firstOf, holdsOf, lastOf, overlapsIn, toMs, waitOf } from "./holds.mjs";

/** The members are spread over so many real processes, to stay within the open files that one may have. */
const processes = 4;
const members = 1000;
const membersEach = members / processes;
const keyCount = 100;
const holdsEach = 3;

export const fleetScenarios = [
  {
    id: "fleet-1000",
    title: `${members} members of a fleet wait for ${keyCount} hot keys, ${holdsEach} holds each, until all have run`,
    unit: "ms",
    groups: ["redis"],
    processes,
    instances: membersEach,
    withoutPeers: true,
    long: true,
    async warmUp(fleet) {
      await allAtOnce(fleet, 1);
    },
    async round(fleet) {
      const parts = await allAtOnce(fleet, holdsEach);
      const byKey = groupByKey(parts);
      const holds = [...byKey.values()].flat();
      if (holds.length !== members * holdsEach) throw new Error(`${holds.length} of ${members * holdsEach} jobs ran`);
      if ([...byKey.values()].some((ofKey) => overlapsIn(ofKey) > 0)) throw new Error("two jobs held a key at once");
      return {
        value: toMs(lastOf(holds, "ended") - firstOf(holds, "asked")),
        cost: sideBySide(parts.map(({ members: _, ...cost }) => cost)),
        samples: holds.map(waitOf),
      };
    },
  },
];

function allAtOnce(fleet, holdsEach) {
  const startNs = commonStart();
  return Promise.all(
    fleet.map((process, n) =>
      process.run("crowdOfMany", { keyCount, firstMember: n * membersEach, holdsEach, startNs }),
    ),
  );
}

function groupByKey(parts) {
  const byKey = new Map();
  for (const { key, holds } of parts.flatMap(({ members }) => members)) {
    byKey.set(key, [...(byKey.get(key) ?? []), ...holdsOf(holds)]);
  }
  return byKey;
}
