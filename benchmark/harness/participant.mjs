import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("./contestant-process.mjs", import.meta.url));

/** One process of one contestant, seen from the benchmark. */
export class Participant {
  #child;
  #calls = new Map();
  #nextCall = 1;
  #ended = null;

  /** Starts the process and makes the contestant's locks in it, so many times. */
  static async open(contestant, { redisUrl, instances }) {
    const participant = new Participant(contestant);
    await participant.#send("open", { contestant: contestant.id, redisUrl, instances });
    return participant;
  }

  constructor(contestant) {
    this.#child = fork(program, {
      // Structured clone, for typed arrays; the collector, for the memory scenario.
      serialization: "advanced",
      execArgv: ["--expose-gc"],
      env: { ...process.env, NODE_ENV: "production" },
    });
    this.#child.on("message", (message) => this.#receive(message));
    this.#child.on("exit", (code, signal) =>
      this.#fail(`${contestant.name} ended (${signal ?? `status ${code}`})`),
    );
    this.#child.on("error", (error) => this.#fail(error.message));
  }

  /**
   * Runs a workload there.
   * @param {(event: string) => void} [onEvent] called for each event that the workload emits
   */
  run(workload, params, onEvent) {
    return this.#send("run", { workload, params }, onEvent);
  }

  /** Ends the process. */
  async stop() {
    if (this.#ended) return;
    const exited = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGKILL");
    await exited;
  }

  #send(action, args, onEvent) {
    if (this.#ended) return Promise.reject(new Error(this.#ended));
    const call = this.#nextCall++;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject, onEvent });
      this.#child.send({ call, action, args });
    });
  }

  #receive({ call, event, error, result }) {
    const pending = this.#calls.get(call);
    if (event !== undefined) {
      pending.onEvent?.(event);
      return;
    }
    this.#calls.delete(call);
    if (error === undefined) pending.resolve(result);
    else pending.reject(new Error(error));
  }

  #fail(reason) {
    this.#ended = reason;
    for (const { reject } of this.#calls.values()) reject(new Error(reason));
    this.#calls.clear();
  }
}
