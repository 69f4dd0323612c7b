// `npm run demo`: sets itself up, then runs the flash sale of demo/.
//
//   npm run demo                          locks in memory, one process
//   npm run demo -- --redis [url]         locks in Redis, four processes
//   npm run demo -- --buyers N --stock N

import { parseArgs } from "node:util";
import { Failure, main } from "./command.mjs";
import { requireServer } from "./redis-server.mjs";
import { setUp } from "./setup.mjs";

const usage = `usage: npm run demo -- [--redis [redis://host:port]] [--buyers N] [--stock N]

  --redis [url]  four processes on Redis; without a url on a server started for the demo
  --buyers N     how many buyers come, 1 to 100000 (default 300)
  --stock N      how many items there are, 1 to 100000 (default 100)`;

const COUNT_MAX = 100_000;

await main(async () => {
  const options = readOptions(process.argv.slice(2));
  if (!options) {
    console.log(usage);
    return;
  }
  await setUp();
  if (options.redis && !options.url) await requireServer();
  const exact = await flashSale(options);
  process.exitCode = exact ? 0 : 1;
});

// Loaded only now: the sale needs the installed packages.
async function flashSale(options) {
  if (options.redis) return (await import("../demo/fleet.mjs")).sellInFourProcesses(options);
  return (await import("../demo/flash-sale.mjs")).sellInOneProcess(options);
}

/** The options, or undefined where help is asked for. @throws {Failure} on what is not understood */
function readOptions(args) {
  const { values, positionals } = parse(args);
  if (values.help) return undefined;
  const [url, ...rest] = positionals;
  if (rest.length > 0 || (url && !values.redis)) throw new Failure(`not understood: ${rest[0] ?? url}\n\n${usage}`);
  if (url && !/^rediss?:\/\/./.test(url)) throw new Failure(`not a redis:// or rediss:// address: ${url}`);
  return {
    redis: values.redis,
    url,
    buyers: readCount("--buyers", values.buyers),
    stock: readCount("--stock", values.stock),
  };
}

function parse(args) {
  // `--redis=url` is the same as `--redis url`.
  const split = args.flatMap((arg) => (arg.startsWith("--redis=") ? ["--redis", arg.slice(8)] : [arg]));
  try {
    return parseArgs({
      args: split,
      allowPositionals: true,
      options: {
        redis: { type: "boolean", default: false },
        buyers: { type: "string", default: "300" },
        stock: { type: "string", default: "100" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    throw new Failure(`${error.message}\n\n${usage}`);
  }
}

function readCount(name, text) {
  const count = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (count >= 1 && count <= COUNT_MAX) return count;
  throw new Failure(`${name} must be a whole number from 1 to ${COUNT_MAX}, not "${text}"`);
}
