/** One set of tests, run once on the memory backend and once on a real Redis server. */
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { lockingModule, ours } from "./medusa.mjs";
import { Locks } from "./product.mjs";
import { redisServer } from "./redis.mjs";

/**
 * Defines a suite per backend. `define` is given the backend, whose parts exist once its tests run:
 *
 * - `kind`: `"memory"` or `"redis"`, and `server`, the Redis server or undefined
 * - `locks(options)`: a `Locks` of its own namespace, unless the options name one; closed after the test
 * - `medusa(options)`: `{ locking, inspect, locks, logger, provider, namespace }`: Medusa's Locking Module with our provider, the
 *   provider's own `inspect`, and another `Locks` that sees the same locks; all closed after the test
 */
export function onEachBackend(title, define) {
  for (const kind of ["memory", "redis"]) {
    describe(`${title}, ${kind} backend`, () => {
      const backend = openBackend(kind);
      before(() => backend.start());
      afterEach(() => backend.closeAll());
      after(() => backend.stop());
      define(backend);
    });
  }
}

/** A namespace that no other test uses. */
export const freshNamespace = () => `test-${randomUUID()}:`;

function openBackend(kind) {
  const closing = [];
  const connection = () => (kind === "redis" ? { redisUrl: backend.server.url } : {});

  const backend = {
    kind,
    server: undefined,
    async start() {
      if (kind === "redis") backend.server = await redisServer();
    },
    /** The options that reach this backend, with a namespace of their own. */
    options: (options = {}) => ({ ...connection(), namespace: freshNamespace(), ...options }),
    locks(options) {
      const locks = new Locks(backend.options(options));
      closing.push(() => locks.close());
      return locks;
    },
    async medusa(options = {}, logger) {
      const all = backend.options(options);
      const loaded = await lockingModule([ours(all)], { logger });
      closing.push(loaded.close);
      // How many wait is known to the provider that they wait in.
      const inspect = (keys) => loaded.provider("native").inspect(keys);
      return { ...loaded, namespace: all.namespace, inspect, locks: backend.locks(all) };
    },
    async closeAll() {
      await Promise.all(closing.splice(0).map((close) => close()));
    },
    stop: () => backend.server?.stop(),
  };
  return backend;
}
