// Worker threads of one process, each of which opens the locks for itself.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { measured } from "./measured.mjs";

const program = new URL("./thread.mjs", import.meta.url);
const started = [];

/**
 * Runs a workload in as many threads as there are `parts`, each with its own of these as parameters, all at once.
 * Threads stay for the next call.
 * @returns cost of the whole process, the event loops of all threads together, and `results`: what each returned
 */
export async function inThreads(_, { contestant, workload, parts }) {
  while (started.length < parts.length) started.push(await Thread.start(contestant));
  const operations = parts.reduce((sum, { operations }) => sum + operations, 0);
  let results;
  const cost = await measured(operations, async () => {
    results = await Promise.all(parts.map(({ params }, n) => started[n].run(workload, params)));
  });
  return { ...cost, loopUs: results.reduce((sum, { loopUs }) => sum + loopUs, 0), results };
}

class Thread {
  #worker;

  static async start(contestant) {
    const thread = new Thread(new Worker(program, { workerData: { contestant } }));
    await thread.#answer();
    return thread;
  }

  constructor(worker) {
    this.#worker = worker;
  }

  async run(workload, params) {
    this.#worker.postMessage({ workload, params });
    return this.#answer();
  }

  async #answer() {
    const [{ error, result }] = await once(this.#worker, "message");
    if (error) throw new Error(error);
    return result;
  }
}
