// The seeded generator of schedules and of what stores do: mulberry32 by Tommy Ettinger (2017, public domain), 32 bits
// of state, which is enough to draw a few thousand faults.

/** A generator: the same seed draws the same. */
export function seeded(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (least, most) => least + next() * (most - least);
  return {
    /** A number of [0, 1). */
    next,
    /** A number of [least, most). */
    between,
    /** A whole number of [least, most]. */
    whole: (least, most) => Math.floor(between(least, most + 1)),
    chance: (part) => next() < part,
    pick: (values) => values[Math.floor(next() * values.length)],
    /** One of the names of `{ name: weight }`. */
    weighted(weights) {
      const entries = Object.entries(weights);
      let left = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      for (const [name, weight] of entries) {
        left -= weight;
        if (left < 0) return name;
      }
      return entries.at(-1)[0];
    },
  };
}
