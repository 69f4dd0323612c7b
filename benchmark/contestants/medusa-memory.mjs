import { createRequire } from "node:module";

const { InMemoryLockingProvider } = createRequire(import.meta.url)("@medusajs/locking/dist/providers/in-memory");

/** The provider that a Medusa store has when it configures none. */
export function open() {
  return new InMemoryLockingProvider();
}
