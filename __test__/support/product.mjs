/**
 * The artifact under test, as a user's `require` finds it: the compiled provider in `dist/` and the addon beside it.
 * Nothing in this folder reaches behind these two entry points.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);

/** The package's top level. */
export const projectRoot = fileURLToPath(new URL("../..", import.meta.url));
/** What `medusa-locking-native/native` resolves to. */
export const nativeEntry = fileURLToPath(new URL("../../dist/native.js", import.meta.url));
/** What `medusa-locking-native` resolves to: the module provider. */
export const providerEntry = fileURLToPath(new URL("../../dist/index.js", import.meta.url));

export const { Locks, LockError } = require(nativeEntry);
/** The module provider, as Medusa's loaders are given it. */
export const provider = require(providerEntry).default;
