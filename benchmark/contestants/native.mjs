import { createRequire } from "node:module";

const { Locks } = createRequire(import.meta.url)("../../dist/native.js");

/** This project's class as it comes: on Redis where there is a `redisUrl`, else in memory. */
export function open({ redisUrl, namespace }) {
  return new Locks(redisUrl === undefined ? { namespace } : { redisUrl, namespace });
}
