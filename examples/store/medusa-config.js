// The configuration of a store on several servers: Redis for its events, its workflows and its locks.

const { defineConfig } = require("@medusajs/framework/utils");

const redisUrl = process.env.REDIS_URL;

module.exports = defineConfig({
  admin: { disable: true },
  projectConfig: {
    databaseUrl: process.env.DATABASE_URL,
    databaseDriverOptions: { ssl: false, sslmode: "disable" }, // the server is on this machine
    redisUrl,
  },
  modules: [
    { resolve: "@medusajs/medusa/event-bus-redis", options: { redisUrl } },
    { resolve: "@medusajs/medusa/workflow-engine-redis", options: { redis: { redisUrl } } },
    {
      resolve: "@medusajs/medusa/locking",
      options: {
        providers: [
          {
            // A store writes the name. Here it may be another one, to have that compared.
            resolve: process.env.LOCKING_PROVIDER ?? "medusa-locking-native",
            id: "locking-redis",
            is_default: true,
            options: { redisUrl },
          },
        ],
      },
    },
  ],
});
