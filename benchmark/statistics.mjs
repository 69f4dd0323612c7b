import { max, median, min, quantileSorted } from "simple-statistics";

/** Median and range of some numbers, or null where there are none. */
export function summarise(numbers) {
  if (numbers.length === 0) return null;
  return { median: median(numbers), min: min(numbers), max: max(numbers) };
}

/** How many times `base` each of `values` is, where both have a round of that number. */
export function pairedRatios(base, values) {
  const rounds = Math.min(base.length, values.length);
  return Array.from({ length: rounds }, (_, round) => base[round] / values[round]);
}

/** The 0th to the 100th percentile of some numbers: 101 points of their distribution. */
export function percentiles(numbers) {
  const sorted = Float64Array.from(numbers).sort();
  return Array.from({ length: 101 }, (_, percent) => quantileSorted(sorted, percent / 100));
}

/**
 * The same pseudo-random numbers in [0, 1) for every contestant (xorshift32).
 * @param {number} seed a whole number other than 0
 */
export function sequence(seed) {
  let state = seed | 0;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
