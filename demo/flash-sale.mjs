// The two rounds and their outcome, wherever the buyers run: in this process, or in several over Redis.

import { lockingModule } from "./medusa.mjs";
import { sell } from "./sale.mjs";
import * as screen from "./screen.mjs";
import { MemoryStock } from "./stock.mjs";

const ITEM_KEY = "flash-sale-item";

/** The sale on the embedded default. Resolves with whether the locked round sold exactly what it should. */
export async function sellInOneProcess({ buyers, stock }) {
  const locking = await lockingModule({});
  screen.headline(`Flash sale: ${buyers} buyers, ${stock} items, one process, locks in memory`);
  return playRounds({ buyers, stock }, (locked, onChange) =>
    sell({
      buyers,
      stock: new MemoryStock(stock),
      locking: locked ? locking : null,
      itemKey: ITEM_KEY,
      onChange,
    }),
  );
}

/**
 * Plays the round without and the round with locks, shows both, and resolves with whether the locked one sold
 * exactly the stock (or one item per buyer, where there are fewer buyers than items).
 */
export async function playRounds({ buyers, stock }, play) {
  const unlocked = await playRound({ buyers, stock, locked: false }, play);
  const locked = await playRound({ buyers, stock, locked: true }, play);
  screen.table([unlocked, locked]);
  return judge(locked, Math.min(buyers, stock));
}

async function playRound({ buyers, stock, locked }, play) {
  const label = locked ? "with locks" : "without locks";
  const progress = screen.progress(label, { buyers, stock });
  let last = { sold: 0, served: 0, waiting: 0 };
  const result = await play(locked, (tally) => {
    last = tally;
    progress.update(tally);
  });
  progress.end(last);
  return { ...result, label, locked, oversold: Math.max(0, result.sold - stock) };
}

function judge({ sold, oversold, errors }, expected) {
  for (const message of new Set(errors)) {
    const times = errors.filter((other) => other === message).length;
    screen.verdict(false, `${times} buyer(s) got an error: ${message}`);
  }
  const exact = sold === expected;
  if (exact) screen.verdict(true, `With locks exactly ${sold} were sold.`);
  else if (oversold > 0) screen.verdict(false, `With locks ${oversold} more were sold than there were.`);
  else screen.verdict(false, `With locks only ${sold} were sold, ${expected} should have been.`);
  return exact;
}
