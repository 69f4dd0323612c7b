// What can be seen while the sale runs.

const live = process.stdout.isTTY === true;
const PLAIN_LINE_EVERY_MS = 3000;

/** Counts up to a number, on a terminal in a line that rewrites itself, elsewhere in a line now and then. */
export class Progress {
  #label = "";
  #total = 0;
  #done = 0;
  #shownAt = 0;

  /** Goes on with something else, of which there is `total`. */
  begin(label, total) {
    this.#label = label;
    this.#total = total;
    this.#done = 0;
    this.#shownAt = performance.now();
    if (live) this.#show();
  }

  /** One more has been done. */
  step() {
    this.#done += 1;
    const due = performance.now() - this.#shownAt > PLAIN_LINE_EVERY_MS;
    if (live || due) this.#show();
  }

  /** Leaves a last line standing. */
  end(text) {
    process.stdout.write(`${live ? "\r\x1b[K" : ""}${text}\n`);
  }

  #show() {
    this.#shownAt = performance.now();
    const line = `  ${this.#label}: ${this.#done} of ${this.#total}`;
    process.stdout.write(live ? `\r\x1b[K${line}` : `${line}\n`);
  }
}
