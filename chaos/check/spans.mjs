// Sets of [from, to], in order and apart from each other.

/** The union of spans; those less than `gap` apart become one. */
export function union(spans, gap = 0) {
  const sorted = [...spans].sort((a, b) => a[0] - b[0]);
  const merged = [];
  for (const [from, to] of sorted) {
    const last = merged.at(-1);
    if (last && from <= last[1] + gap) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

/** Each span, begun `before` earlier and ended `after` later. */
export const widened = (spans, before, after) => spans.map(([from, to]) => [from - before, to + after]);

/** How much of [from, to] the spans of a union cover. */
export function covered(spans, from, to) {
  let sum = 0;
  for (const span of spans) sum += Math.max(0, Math.min(span[1], to) - Math.max(span[0], from));
  return sum;
}

/** The most of [from, to] that one span covers. */
export const coveredAtOnce = (spans, from, to) =>
  spans.reduce((most, span) => Math.max(most, Math.min(span[1], to) - Math.max(span[0], from)), 0);

/** The spans that touch [from, to]. */
export const touching = (spans, from, to) => spans.filter((span) => span[0] <= to && span[1] >= from);
