// Reads from a test runner's output how many tests it ran. An exit code alone cannot tell "all passed" from
// "none found".

/** Adds up the closing lines of cargo's test programs, one for each of them. */
export function countRust(output) {
  const line = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/gm;
  const programs = [...withoutColours(output).matchAll(line)].map(([, passed, failed, skipped]) => ({
    passed: Number(passed),
    failed: Number(failed),
    skipped: Number(skipped),
  }));
  return sumCounts(programs);
}

/** Reads the closing lines of node's spec reporter. */
export function countJavaScript(output) {
  const text = withoutColours(output);
  const last = (name) => Number([...text.matchAll(new RegExp(`^ℹ ${name} (\\d+)$`, "gm"))].at(-1)?.[1] ?? 0);
  return {
    passed: last("pass"),
    failed: last("fail") + last("cancelled"),
    skipped: last("skipped") + last("todo"),
  };
}

/** The sum of several counts. */
export function sumCounts(counts) {
  const total = (name) => counts.reduce((sum, count) => sum + count[name], 0);
  return { passed: total("passed"), failed: total("failed"), skipped: total("skipped") };
}

function withoutColours(text) {
  return text.replace(/\x1b\[[0-9;]*m/g, "");
}
