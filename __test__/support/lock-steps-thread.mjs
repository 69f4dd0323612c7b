/** A thread that gets to a step, says so, and takes it when it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { STEPS } from "./lock-steps.mjs";
import { Locks } from "./product.mjs";

const { options, step } = workerData;
const { prepare, act } = STEPS[step];
const locks = new Locks(options);
const { signal } = new AbortController();
await locks.execute("warm", () => {});
const prepared = await prepare?.(locks, signal);
parentPort.once("message", () => void Promise.resolve(act(locks, signal, prepared)).catch(() => {}));
parentPort.postMessage("ready");
