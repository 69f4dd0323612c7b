/** A Redis server that also speaks TLS, with a certificate that no well-known authority has signed. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { redisServer } from "./redis.mjs";

const pemPath = (name) => fileURLToPath(new URL(`tls/${name}.pem`, import.meta.url));

/** The text of `authority`, `redis` or `redis-key`. */
export const pem = (name) => readFileSync(pemPath(name), "utf8");

/** As `redisServer`, with the `tlsPort` on which it speaks TLS. */
export async function tlsServer() {
  const files = ["--tls-cert-file", pemPath("redis"), "--tls-key-file", pemPath("redis-key"), "--tls-ca-cert-file", pemPath("authority")];
  const spare = await redisServer();
  const tlsPort = spare.port;
  await spare.stop();
  const server = await redisServer(["--tls-port", String(tlsPort), "--tls-auth-clients", "optional", ...files]);
  return Object.assign(server, { tlsPort });
}
