// One worker thread: makes its locks, says so, and runs what it is told to.
import { parentPort, workerData } from "node:worker_threads";
import { openContestant } from "../contestants/index.mjs";
import { crowd } from "./hot-key.mjs";
import { lanes } from "./lanes.mjs";

const workloads = { crowd, lanes };
const locks = await openContestant(workerData.contestant, {});

parentPort.on("message", async ({ workload, params }) => {
  try {
    parentPort.postMessage({ result: await workloads[workload](locks, params) });
  } catch (error) {
    parentPort.postMessage({ error: String(error?.message ?? error) });
  }
});
parentPort.postMessage({ result: "ready" });
