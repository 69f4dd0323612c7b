// A job that is paused for longer than its lease, and whose late write the database refuses.
//
//   node examples/fencing/run.mjs
//
// Job A takes the lock and is stopped in the middle (SIGSTOP), as by a suspended machine or a long collection of
// garbage. Its lease of 2 s lapses. Job B gets the lock and writes. Then A goes on where it was, and writes too.
//
// Installs its one package, starts a Redis server for itself, and leaves nothing running. It needs a build
// (npm run build; npm run demo and npm test make one too).

import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Failure, main, npmCommand, run } from "../../scripts/command.mjs";
import { requireServer, startRedis } from "../../scripts/redis-server.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));

const jobs = [];
const killJobs = () => jobs.forEach((job) => job.kill("SIGKILL")); // nobody else would wake the one that is stopped

process.once("exit", killJobs);
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => process.exit(1));

await main(async () => {
  await install();
  await requireServer();
  const redis = await startRedis();
  const folder = mkdtempSync(join(tmpdir(), "fencing-example-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  try {
    await show(redis.url, join(folder, "stock.db"));
  } finally {
    killJobs();
    await redis.stop();
  }
});

async function install() {
  if (existsSync(join(here, "node_modules", "node-sqlite3-wasm"))) return;
  const { code, output } = await run(npmCommand("ci", "--no-audit", "--no-fund"), { cwd: here });
  if (code !== 0) throw new Failure(output);
}

async function show(redisUrl, file) {
  const { openStock } = await import("./stock.mjs"); // only now is its package there
  const stock = openStock(file);
  stock.create("shirt", 5);

  const a = start("A", 1, redisUrl, file);
  await asksToPay(a);
  a.process.kill("SIGSTOP");
  console.log("A is stopped, and its lease lapses");

  const b = start("B", 2, redisUrl, file);
  await asksToPay(b);
  b.process.send("paid");
  await b.ended;

  console.log("A goes on");
  a.process.send("paid");
  a.process.kill("SIGCONT");
  await a.ended;

  const { quantity, token } = stock.row("shirt");
  stock.close();
  console.log(`the row: ${quantity} shirts, fencing token ${token}`);
}

function start(name, sold, redisUrl, file) {
  const child = fork(join(here, "job.mjs"), [name, String(sold), redisUrl, file]);
  jobs.push(child);
  return { process: child, ended: once(child, "exit") };
}

async function asksToPay({ process, ended }) {
  const asked = once(process, "message").then(() => true);
  if ((await Promise.race([asked, ended])) !== true) throw new Failure("a job ended before its time");
}
