// The journals as a history: calls, what each process and the server went through, and when what could not run.
//
// A history is plain data, so that tests can make one by hand:
//   provider    its name
//   calls       [{ id, process, op, keys, expire, timeout, ask, in, starts, token, abort, out, ans, ok, code, value, of,
//                  writes, stale, final }], times in ms; what did not happen is undefined; `starts`: how often its job began
//   processes   { "<slot>.<incarnation>": { pid, stops, halts, blocks: [[from, to]], cuts: [t], killedAt, crash } }
//   server      { outages: [[from, to]], losses: [{ from, to, kind }] }
//   end         when the last event was

import { readJournal } from "./journal.mjs";

/** The history in these journals. */
export function readHistory({ provider, conductor, stores }) {
  return toHistory(provider, readJournal(conductor), stores.flatMap((path) => readStore(path)));
}

// A store that was killed before it could say anything has no journal.
function readStore(path) {
  try {
    const [, name] = /store-([\d.]+)\.jsonl$/.exec(path);
    return readJournal(path).map((event) => ({ ...event, process: name }));
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

/** The history of these events: the conductor's, and the stores', each with its `process`. */
export function toHistory(provider, conducted, told) {
  const calls = new Map();
  const processes = {};
  const server = { outages: [], losses: [] };
  for (const event of told) {
    if (event.e === "begin") processes[event.process] = { pid: event.pid, slot: event.slot, stops: [], halts: [], blocks: [], cuts: [] };
    else if (event.e === "halt") processes[event.process].halts.push([event.from, event.to]);
    else if (event.e === "block") processes[event.process].blocks.push([event.t, event.t + event.ms]);
    else noteCall(calls, event);
  }
  for (const event of conducted) noteFault(event, processes, server);
  const events = [...conducted, ...told].sort((a, b) => a.t - b.t);
  return { provider, calls: [...calls.values()], processes, server, events, end: events.at(-1)?.t ?? 0 };
}

function noteCall(calls, { e, t, id, process, ...rest }) {
  if (e === "ask") {
    calls.set(id, { id, process, ...rest, ask: t, writes: 0, stale: 0 });
    return;
  }
  const call = calls.get(id);
  if (e === "in") Object.assign(call, { in: t, token: rest.token || undefined, starts: (call.starts ?? 0) + 1 });
  else if (e === "abort") call.abort ??= t;
  else if (e === "out") call.out = t;
  else if (e === "ans") Object.assign(call, { ans: t, ...rest });
  else if (e === "token") call.token = rest.token;
  else if (e === "write") call.tried = true;
  else if (e === "wrote") call.writes += 1;
  else if (e === "stale") call.stale += 1;
}

function noteFault(event, processes, server) {
  const { e, kind, from, to } = event;
  const name = `${event.slot}.${event.incarnation}`;
  if (e === "exit" && !event.wanted && processes[name]) Object.assign(processes[name], { crash: event, killedAt: event.t });
  if (e !== "fault") return;
  if (kind === "stop") processes[name]?.stops.push([from, to]);
  if (kind === "block") processes[name]?.blocks.push([from, to]);
  if (kind === "kill" && processes[name]) processes[name].killedAt = from;
  if (kind === "cut") {
    for (const process of Object.values(processes)) if (event.slots.includes(process.slot)) process.cuts.push([from, to]);
  }
  if (kind === "hang") server.outages.push([from, to]);
  if (kind.startsWith("restart")) server.outages.push([from, event.readyAt]);
  if (kind === "flushall") server.losses.push({ from, to, kind });
  if (event.lostFrom) server.losses.push({ from: event.lostFrom, to: event.readyAt, kind });
}
