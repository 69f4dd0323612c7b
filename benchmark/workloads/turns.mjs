import { EventEmitter, once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { measured, nowNs } from "./measured.mjs";

const patienceSeconds = 600;
/** Jobs before the counting begins: by then all have asked. */
const lead = 10;

/**
 * All of `fleet` want one key. Each asks again once another's job has begun after its own, so that every job follows
 * one of another's, and always all but one of them wait. Emits "steady" when the counting begins, and "counted" when
 * `handovers` of them have been counted or `limitMs` have passed since.
 * @returns cost of what was counted, and of each handover the ms between the end of a job and the next one's beginning
 */
export async function takeTurns(_, { key, holdMs, handovers, limitMs }, emit, fleet) {
  const turns = new Turns(holdMs);
  const members = Promise.all(fleet.map((locks) => turns.take(locks, key)));
  const counted = async () => {
    await turns.began(lead);
    emit("steady");
    const from = turns.count;
    const timeUp = AbortSignal.timeout(limitMs);
    const cost = await measured(handovers, () => turns.began(from + handovers, timeUp));
    emit("counted");
    const operations = turns.count - from;
    const latencies = turns.latencies.slice(-operations);
    turns.stop();
    return { ...cost, operations, latencies };
  };
  // Where a member fails, the count would go no further.
  const [result] = await Promise.all([counted(), members]);
  return result;
}

class Turns extends EventEmitter {
  /** How many jobs have begun. */
  count = 0;
  latencies = [];
  #holdMs;
  #inside = false;
  #lastEnded = null;
  #stopped = false;

  constructor(holdMs) {
    super();
    this.setMaxListeners(0);
    this.#holdMs = holdMs;
  }

  /** One member's part, until all are stopped. */
  async take(locks, key) {
    while (!this.#stopped) {
      let own;
      const job = async () => {
        own = this.#enter();
        if (!this.#stopped) await sleep(this.#holdMs);
        this.#leave();
      };
      await locks.execute(key, job, { timeout: patienceSeconds });
      await this.began(own + 1);
    }
  }

  /** Resolves when so many jobs have begun, or all are stopped, or the signal says that time is up. */
  async began(count, signal) {
    try {
      while (this.count < count && !this.#stopped) await once(this, "began", { signal });
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  /** The jobs that still wait end as they begin. */
  stop() {
    this.#stopped = true;
    this.emit("began");
  }

  #enter() {
    if (this.#inside) throw new Error("two jobs held the key at once");
    this.#inside = true;
    if (this.#lastEnded !== null) this.latencies.push((nowNs() - this.#lastEnded) / 1e6);
    this.count++;
    this.emit("began");
    return this.count;
  }

  #leave() {
    this.#inside = false;
    this.#lastEnded = nowNs();
  }
}
