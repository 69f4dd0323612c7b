import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { createContainer } = require("@medusajs/framework/awilix");
const { asValue } = require("@medusajs/framework/awilix");
const provider = require("@medusajs/locking-redis").default;

/**
 * The incumbent, put together as Medusa does it: its loader connects ioredis and registers the client and the prefix,
 * its service takes both from the container. The second argument is what Medusa 2.21.2 hands over there: the options of
 * the Locking Module, not of the provider.
 */
export async function open({ redisUrl, namespace }) {
  const container = createContainer();
  const logger = { info() {}, warn: console.warn, error: console.error };
  container.register({ logger: asValue(logger) });
  const [loader] = provider.loaders;
  await loader({ container, logger, options: { redisUrl, namespace } });
  const [Service] = provider.services;
  return new Service(container.cradle, {});
}
