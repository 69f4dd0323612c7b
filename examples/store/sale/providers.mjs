// The locking providers that the store can be given: what it resolves, and what they are called here.

export const OURS = "medusa-locking-native";
export const MEDUSAS = "@medusajs/medusa/locking-redis";

const NAMES = { [OURS]: "this package", [MEDUSAS]: "`@medusajs/locking-redis`" };

export function nameOf(provider) {
  return NAMES[provider];
}
