// One process of a store, started by fleet.mjs: callers that lock through Medusa's Locking Module until they are told to
// be quiet. What they see goes to the journal, before and after each step; the parent hears counts only.

import { setTimeout as sleep } from "node:timers/promises";
import { caller, serveEach } from "./callers.mjs";
import { now, openJournal } from "./journal.mjs";
import { lockingModule, lookingOn } from "./medusa.mjs";
import { seeded } from "./random.mjs";
import { Register } from "./register.mjs";

const setup = JSON.parse(process.env.CHAOS_STORE);
const BEAT_MS = 5;
/** A gap of this much between beats is written down: for so long, no JavaScript ran. */
const HALT_MS = 25;
const REPORT_EVERY_MS = 500;

// Ctrl-C reaches every process of the terminal; the parent decides when we end, and we end with it.
process.on("SIGINT", () => {});
process.on("disconnect", () => process.exit(1));

const record = openJournal(setup.journal);
record({ e: "begin", pid: process.pid, slot: setup.slot, incarnation: setup.incarnation });

let beat = now();
setInterval(() => {
  const t = now();
  if (t - beat > HALT_MS) record({ e: "halt", from: beat, to: t }, t);
  beat = t;
}, BEAT_MS);

function block(ms) {
  const from = record({ e: "block", ms });
  while (now() - from < ms);
}

const locking = await lockingModule(setup);
const random = seeded(setup.seed * 1009 + setup.slot * 101 + setup.incarnation);
const store = {
  ...setup,
  locking,
  look: lookingOn(setup),
  record,
  random,
  register: new Register(setup.registerUrl),
  counts: { granted: 0, refused: 0 },
  quiet: false,
  serial: 0,
  nextId: () => `${setup.slot}.${setup.incarnation}/${(store.serial += 1)}`,
};

const callers = Array.from({ length: setup.callers }, () => caller(store));
setInterval(() => process.send({ type: "counts", counts: store.counts }), REPORT_EVERY_MS);

const orders = {
  block: ({ ms }) => block(ms),
  quiet: async () => {
    store.quiet = true;
    await Promise.all(callers);
    process.send({ type: "idle" });
  },
  serve: async () => process.send({ type: "served", failures: await serveEach(store) }),
  end: async () => {
    store.register.close();
    await sleep(1);
    process.exit(0);
  },
};
process.on("message", (order) => void orders[order.type](order));
process.send({ type: "ready" });
