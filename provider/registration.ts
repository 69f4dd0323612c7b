/**
 * How the loader hands the provider's options to the service: through the container that Medusa makes for the two.
 *
 * Medusa gives a provider's constructor the options of the Locking Module; only loaders are given the provider's own.
 */

/** The name under which the loader registers the options. */
export const OPTIONS_REGISTRATION = "lockingNativeOptions";

/** What is registered as `name`; undefined: nothing. Reading it right away would throw where nothing is. */
export function registered(cradle: object, name: string): unknown {
  return Object.hasOwn(cradle, name) ? (cradle as Record<string, unknown>)[name] : undefined;
}
