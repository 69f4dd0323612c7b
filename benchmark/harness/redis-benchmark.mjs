// The load generator that comes with Redis, as the floor under everything that talks to it from Node.
import { existsSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { run } from "../../scripts/command.mjs";
import { findServer } from "../../scripts/redis-server.mjs";

const names = ["redis-benchmark", "valkey-benchmark"];

/** The path of the program, beside the server's own or in PATH, or undefined. */
export function findBenchmark() {
  const folders = [dirname(findServer() ?? ""), ...(process.env.PATH ?? "").split(delimiter)];
  return folders.flatMap((folder) => names.map((name) => join(folder, name))).find((path) => existsSync(path));
}

/**
 * Has one connection send a command over and over, so many in each write, and the next ones once all are answered.
 * @param {object} params
 * @param {string[]} params.command each `__rand_int__` in it becomes another number below `keyspace`
 * @returns {Promise<number>} how many ms it took
 */
export async function drive({ port, database, command, count, pipeline, keyspace }) {
  const server = { "-h": "127.0.0.1", "-p": port, "--dbnum": database };
  const settings = { ...server, "-c": 1, "-n": count, "-P": pipeline, "-r": keyspace };
  const flags = Object.entries(settings).flatMap(([flag, value]) => [flag, String(value)]);
  const { code, output } = await run([findBenchmark(), ...flags, "--csv", ...command]);
  // The last line is "<the command>","<requests per second>",...; quotes are in none of our commands.
  const perSecond = Number(/^"[^"]*","([\d.]+)"/.exec(output.trimEnd().split("\n").at(-1))?.[1] ?? Infinity);
  if (code !== 0 || !(perSecond > 0)) throw new Error(`redis-benchmark failed: ${output.trim().slice(-300)}`);
  return (count * 1000) / perSecond;
}
