import { measured } from "./measured.mjs";

/** How many key sets a lane goes through in turn. */
const setsPerLane = 16;

const job = async () => {};
const acquireArgs = { expire: 10 };

const keySetsByShape = new Map();

/**
 * `width` callers, each with keys of its own, each starting its next operation when its last has ended.
 * @param {object} params
 * @param {'execute' | 'acquire-release'} params.operation
 * @param {number} params.width
 * @param {number} params.keysPerCall
 * @param {number} params.count operations in all
 * @param {number} [params.firstLane] the number of the first one, where other threads have lanes of their own
 */
export async function lanes(locks, { operation, width, keysPerCall, count, firstLane = 0 }) {
  const keySets = keySetsOf(width, keysPerCall, firstLane);
  const left = { count };
  return measured(count, () => Promise.all(keySets.map((own) => callers[operation](locks, own, left))));
}

// One function each: at half a microsecond per operation, a call through a third would show.
const callers = {
  async execute(locks, keySets, left) {
    for (let turn = 0; left.count > 0; turn = (turn + 1) % setsPerLane) {
      left.count--;
      await locks.execute(keySets[turn], job);
    }
  },
  async "acquire-release"(locks, keySets, left) {
    for (let turn = 0; left.count > 0; turn = (turn + 1) % setsPerLane) {
      left.count--;
      await locks.acquire(keySets[turn], acquireArgs);
      await locks.release(keySets[turn]);
    }
  },
};

function keySetsOf(width, keysPerCall, firstLane) {
  const shape = `${width}x${keysPerCall}+${firstLane}`;
  if (!keySetsByShape.has(shape)) {
    keySetsByShape.set(
      shape,
      Array.from({ length: width }, (_, lane) => laneKeySets(firstLane + lane, keysPerCall)),
    );
  }
  return keySetsByShape.get(shape);
}

function laneKeySets(lane, keysPerCall) {
  return Array.from({ length: setsPerLane }, (_, set) => {
    const keys = Array.from({ length: keysPerCall }, (_, n) =>
      itemId((lane * setsPerLane + set) * keysPerCall + n),
    );
    return keysPerCall === 1 ? keys[0] : keys;
  });
}

/** As long as the inventory item ids that Medusa locks. Flat in memory, as a string from a request or a row is. */
function itemId(number) {
  return Buffer.from(`iitem_01K${number.toString(36).toUpperCase().padStart(23, "0")}`).toString("latin1");
}
