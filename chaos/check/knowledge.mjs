// What is known of when a process could run, reach the server, and so renew its leases. The rules are in README.md.

import { coveredAtOnce, touching, union, widened } from "./spans.mjs";

/** A lease is renewed every third of it; a renewal that was due may be this late on a busy machine. */
const RENEWAL_LATE_MS = 250;
/** A link that was cut, or whose server was away, is made again within this time: providers pause up to 1 s. */
const RELINK_MS = 1_400;
const RECUT_MS = 250;
/** How long it may take from when a process can renew again until the server has heard of it. */
const RENEW_AGAIN_MS = 100;
/** A gap of this much in a store's event loop that no fault explains: the machine had no time for the process. */
const STARVED_MS = 100;
/** For how long a lease may be passed on without the server being asked, with as much again for a busy machine. */
const PASS_MS = 150;
/** Within this time of waking, or of being free to run, a process has been told what it lost. */
export const TELL_MS = 400;

/** Looks things up in a history. */
export function knowledge(history) {
  const lines = new Map(Object.entries(history.processes).map(([name, process]) => [name, timesOf(process, history)]));
  const timesOfCall = (call) => lines.get(call.process);

  /** When no JavaScript ran in the call's process. */
  const halted = (call) => timesOfCall(call).halted;

  /**
   * Since when, at the earliest, the server can have had the grant that the call heard of. What went on before, while it
   * waited, is no reason for a lapse. A process hears within `TELL_MS`, unless it cannot run.
   */
  function grantedSince(call) {
    let since = (call.in ?? call.ans ?? Infinity) - TELL_MS;
    for (const [from, to] of timesOfCall(call).halted.toReversed()) {
      if (to - from >= STARVED_MS && to >= since && from < since + TELL_MS) since = Math.min(since, from - TELL_MS);
    }
    return Math.max(call.ask, since);
  }

  /** Whether the call's lease may have lapsed by `t`: its process could not renew it for as long as it is good. */
  function mayHaveLapsed(call, t) {
    const { deaf } = timesOfCall(call);
    const between = call.expire / 3 + RENEWAL_LATE_MS;
    // Too short a time between two silences is not enough to renew for sure.
    const silent = union(widened(deaf, between, RENEW_AGAIN_MS));
    return coveredAtOnce(silent, grantedSince(call), t) >= call.expire;
  }

  /** Whether the call's process could not talk to the server at some time between `from` and `to`. */
  const wasCutOff = (call, from, to) => touching(timesOfCall(call).deaf, from, to).length > 0;

  /** By when the call's process has found out, at the latest, that the server lost its data at `loss`. */
  function toldOf(loss, call) {
    const { deaf, halted: halts } = timesOfCall(call);
    let told = loss.to + call.expire / 3 + RENEWAL_LATE_MS;
    // While it cannot ask, it goes by its own deadline.
    if (touching(deaf, loss.to, told).length > 0) told = loss.to + call.expire + RENEWAL_LATE_MS;
    for (const [, to] of touching(halts, loss.to, told)) told = Math.max(told, to + TELL_MS);
    return told;
  }

  /** The losses of the server's data that may have taken the call's lock from under it, before `t`. */
  function lossesBefore(call, t) {
    return history.server.losses.filter((loss) => loss.from <= t && call.ask <= loss.to && startedBy(call, loss.to + PASS_MS));
  }

  // It heard of its grant, or would have but for its process being halted.
  function startedBy(call, t) {
    const heard = call.in ?? call.ans;
    return heard <= t || touching(halted(call), t, heard - 1).some(([from, to]) => from <= t && to >= heard - TELL_MS);
  }

  return { halted, wasCutOff, grantedSince, mayHaveLapsed, toldOf, lossesBefore };
}

function timesOf(process, { provider, server, end }) {
  const over = process.killedAt ?? end;
  const halted = union([...process.stops, ...process.halts, ...process.blocks.map(([from, to]) => [from, Math.min(to, over)])], 30);
  const starved = process.halts.filter(([from, to]) => to - from >= STARVED_MS && touching(process.blocks, from, to).length === 0);
  const deaf = union([
    ...process.stops,
    ...starved,
    // A thread of its own renews, unless the provider has none.
    ...(provider === "native" ? [] : halted),
    ...widened(server.outages, 0, RELINK_MS),
    ...widened(process.cuts, 0, RECUT_MS),
  ]);
  return { halted, deaf };
}
