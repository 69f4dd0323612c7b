/**
 * Whether a job can see what it is called with.
 */

const toString = Function.prototype.toString;

/** The source of an arrow function without parameters, as far as its arrow. */
const ARROW_WITHOUT_PARAMETERS = /^(?:async\s*)?\(\s*\)\s*=>/;

/**
 * False only for an arrow function without parameters, such as `async () => {...}`: the language gives it no
 * `arguments` of its own, so whatever it is called with cannot be seen by anything. Most jobs are like that, and an
 * `AbortController` for nobody would be most of what an uncontended `execute` costs (2.5 us of 4, against 0.1 us for
 * this look).
 *
 * A bound function, a proxy or a native one shows no such source, and counts as seeing.
 */
export function seesItsArguments(job: (...args: never[]) => unknown): boolean {
  return job.length > 0 || !ARROW_WITHOUT_PARAMETERS.test(toString.call(job));
}
