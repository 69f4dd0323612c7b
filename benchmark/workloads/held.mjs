// What a process does beside many locks that stay held.
import { setTimeout as sleep } from "node:timers/promises";
import { measured } from "./measured.mjs";

/** How many keys one call names: as many as ours takes. */
const keysPerCall = 1000;
const patienceSeconds = 600;

/** Takes so many locks for an owner, without an expiry. */
export async function holdLocks(locks, { prefix, from = 0, to, ownerId }) {
  for (let at = from; at < to; at += keysPerCall) {
    await locks.acquire(keysFrom(prefix, at, Math.min(to, at + keysPerCall)), { ownerId });
  }
}

/**
 * `releaseAll` of one owner, who holds `own` locks among others'.
 * @returns cost; an operation is one lock of that owner's
 */
export async function releaseAllOf(locks, { own, foreignKey }) {
  const ownerId = "me";
  await holdLocks(locks, { prefix: "own", to: own, ownerId });
  const cost = await measured(own, () => locks.releaseAll({ ownerId }));
  for (const key of keysFrom("own", own - 1, own)) {
    await locks.acquire(key, { ownerId: "the next" });
    await locks.release(key, { ownerId: "the next" });
  }
  if (await isFree(locks, foreignKey)) throw new Error("releaseAll freed a lock of somebody else's");
  return cost;
}

async function isFree(locks, key) {
  try {
    await locks.acquire(key, { ownerId: "the next" });
    return true;
  } catch (error) {
    if (/^Failed to acquire lock/.test(error.message)) return false;
    throw error;
  }
}

/** Gives them back. */
export async function letGoOfLocks(locks, { prefix, to, ownerId }) {
  for (let at = 0; at < to; at += keysPerCall) {
    await locks.release(keysFrom(prefix, at, Math.min(to, at + keysPerCall)), { ownerId });
  }
}

/** The jobs that this process keeps running. */
let leases = null;

/** Has `to` jobs run that go on until `endLeases`, each with its contestant's own lease, or one of `leaseSeconds`. */
export async function growLeases(locks, { to, leaseSeconds }) {
  leases ??= new Leases(locks, leaseSeconds === undefined ? {} : { expire: leaseSeconds });
  await leases.growTo(to);
}

/** @throws when one of the jobs had lost its lock */
export async function endLeases() {
  const ended = leases;
  leases = null;
  await ended.end();
}

/** @returns cost of so much time in which nothing but those jobs is there, an operation being one of them */
export async function keepLeases(_, { holdMs }) {
  return measured(leases.size, () => sleep(holdMs));
}

class Leases {
  #locks;
  #args;
  #jobs = [];
  #end;
  #ended = new Promise((resolve) => (this.#end = resolve));
  #lost = 0;

  constructor(locks, args) {
    this.#locks = locks;
    this.#args = { timeout: patienceSeconds, ...args };
  }

  get size() {
    return this.#jobs.length;
  }

  /** Resolves when so many jobs run. */
  async growTo(size) {
    const begun = [];
    for (let at = this.#jobs.length; at < size; at++) {
      begun.push(new Promise((began) => this.#jobs.push(this.#hold(`lease-${at}`, began))));
    }
    await Promise.race([Promise.all(begun), Promise.all(this.#jobs)]);
  }

  /** Ends all jobs. @throws when one had lost its lock */
  async end() {
    this.#end();
    await Promise.all(this.#jobs);
    if (this.#lost > 0) throw new Error(`${this.#lost} of ${this.#jobs.length} leases were lost`);
  }

  #hold(key, began) {
    const job = async (signal) => {
      signal?.addEventListener("abort", () => this.#lost++, { once: true });
      began();
      await this.#ended;
    };
    return this.#locks.execute(key, job, this.#args);
  }
}

function keysFrom(prefix, from, to) {
  return Array.from({ length: to - from }, (_, n) => `${prefix}-${from + n}`);
}
