// Numbers beside a scenario's value: what its rounds report as `extra`, and the spread of their samples.
import { pairedRatios, percentiles, summarise } from "./statistics.mjs";

/**
 * @typedef {object} Figure
 * @property {string} id its name in `extra`
 * @property {string} head as the tables show it
 * @property {'less' | 'more'} better
 */

/**
 * What the rounds of a contestant came to: of each figure the median and range, and how many times as good as the
 * baseline's it is, paired round by round, median.
 */
export function figuresOf(figures, rounds, baselineRounds) {
  return Object.fromEntries(
    figures.map(({ id, better }) => {
      const values = rounds.map(({ extra }) => extra[id]);
      const base = baselineRounds.map(({ extra }) => extra[id]);
      const ratios = better === "less" ? pairedRatios(base, values) : pairedRatios(values, base);
      const timesAsGood = summarise(ratios.filter(Number.isFinite))?.median ?? null;
      return [id, { value: summarise(values), timesAsGood }];
    }),
  );
}

/**
 * The middle and the end of a contestant's samples, and how many times shorter than the baseline's they are, or null
 * where there are none.
 */
export function spreadOf(samples, baselineSamples) {
  if (samples.length === 0) return null;
  const own = percentiles(samples);
  const base = baselineSamples.length > 0 ? percentiles(baselineSamples) : null;
  const at = (percent) => ({ value: own[percent], timesAsGood: base ? base[percent] / own[percent] : null });
  return { samples: samples.length, p50: at(50), p99: at(99), max: at(100) };
}
