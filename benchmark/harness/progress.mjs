import cliProgress from "cli-progress";

const format = "{bar} {percentage}% | {heat} | {eta_formatted} left";

/** What runs now and how much is left to do: a bar in a terminal, a line per heat elsewhere. */
export class Progress {
  #steps;
  #done = 0;
  #bars = null;
  #bar = null;

  constructor(steps) {
    this.#steps = steps;
    if (!process.stdout.isTTY) return;
    const options = { format, gracefulExit: false, etaBuffer: 200, barsize: 24 };
    this.#bars = new cliProgress.MultiBar(options, cliProgress.Presets.shades_classic);
    this.#bar = this.#bars.create(steps, 0, { heat: "" });
  }

  /** Says which heat begins. */
  heat(name) {
    if (this.#bar) this.#bar.update({ heat: name });
    else console.error(`${Math.floor((100 * this.#done) / this.#steps)}% | ${name}`);
  }

  step() {
    this.#done++;
    this.#bar?.increment();
  }

  /** Prints text, above the bar where there is one. */
  log(text) {
    if (this.#bars) this.#bars.log(`${text}\n`);
    else console.log(text);
  }

  stop() {
    this.#bars?.stop();
  }
}
