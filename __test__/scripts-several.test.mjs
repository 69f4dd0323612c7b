/**
 * Several requests in one script call get what they would get one after the other: the same made-up story is told to two
 * servers, to one of them together, to the other one by one, and both must answer and look the same.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { pick, random } from "./support/fuzz.mjs";
import { allKeys } from "./support/redis.mjs";
import { scriptServer } from "./support/scripts.mjs";

const STORIES = 120;
const KEYS = ["a", "b", "c", "d", "e"];

let together, apart;
before(async () => {
  [together, apart] = await Promise.all([scriptServer(), scriptServer()]);
});
afterEach(() => Promise.all([together.leaveNothing(), apart.leaveNothing()]));
after(() => Promise.all([together.server.stop(), apart.server.stop()]));

/** An answer without what the clock has to do with. */
function answer(reply) {
  // Where in the script it was; servers before 7 say so in front.
  const place = / script: .*|^ERR (Error running script \(call to \w+\): )?(?=@user_script:)|@user_script: ?\d+: -?/g;
  if (reply instanceof Error) return reply.message.replaceAll(place, "");
  if (typeof reply === "number") return reply > 1 ? "token" : reply;
  const { index, ms, ticket, silent } = reply;
  return { index, lapses: ms === -1 ? "never" : ms === -2 ? "free" : "later", waits: ticket !== undefined, silent };
}

/** Everything that stands on a server, without what the clock has to do with. */
async function state({ admin, list }) {
  const plain = (text) => text.replaceAll(/(?<![\w.])\d{13,17}/g, "N");
  const seen = {};
  for (const key of await allKeys(admin)) {
    const type = await admin.type(key);
    const value =
      type === "string" ? await admin.get(key)
      // Its order is that of the clock.
      : key === list ? (await admin.zrange(key, 0, -1)).sort().join(" ")
      : type === "zset" ? (await admin.zrange(key, 0, -1)).join(" ")
      : Object.entries(await admin.hgetall(key)).filter(([field]) => field !== "polled").sort().join(" ");
    seen[key] = `${type} ${plain(value)} ${(await admin.pttl(key)) < 0 ? "stays" : "expires"}`;
  }
  return seen;
}

/** Tells a story with the numbers that `draw` draws, to `server`. `act(server, requests)` asks and releases. */
async function tell(server, draw, { wait, act }) {
  const one = (list) => pick(draw, list);
  const some = (count) => {
    const keys = new Set();
    while (keys.size < count) keys.add(one(KEYS));
    return [...keys].sort();
  };
  const [us, others] = [await server.member(), await server.member()];
  // What stands there before: locks, those who wait for them, and what is no lock at all.
  for (let n = Math.floor(draw() * 4); n > 0; n -= 1) {
    const keys = some(1 + Math.floor(draw() * 2));
    const before = draw() < 0.5 ? others.job(keys) : others.acquire(one(["*", "me", "you"]), keys);
    if (draw() < 0.6) await before.ask();
    else await before.try();
    if (draw() < 0.2) await before.release({ more: true });
  }
  const put = async (name, type, ...args) => {
    await server.admin.del(name);
    await server.admin[type](name, ...args);
  };
  if (draw() < 0.3) await put(server.lock(one(KEYS)), "hset", "no", "lock");
  if (draw() < 0.1) await put(server.queue(one(KEYS)), "set", "no queue");

  const count = 1 + Math.floor(draw() * 2);
  const [isJob, more, open] = [draw() < 0.5, draw() < 0.3, draw() < 0.3];
  const requests = Array.from({ length: 2 + Math.floor(draw() * 4) }, () =>
    isJob ? us.job(some(count), { more }) : us.acquire(one(["*", "me", "you"]), some(count), { expire: 30_000, open }),
  );
  const lost = draw() < 0.4 ? one(KEYS) : undefined;
  /** Before they are released. */
  const meanwhile = () => lost && put(server.lock(lost), "set", one(["*", "somebody"]));
  return act(server, requests, { wait, meanwhile });
}

const caught = (call) => call.catch((error) => error);

const askTogether = async (server, requests, { wait, meanwhile }) => {
  const asked = (await server.askTogether(requests, { wait })).map(answer);
  const afterAsking = await state(server);
  await meanwhile();
  const released = (await server.releaseTogether(requests)).map(answer);
  return { asked, afterAsking, released, afterReleasing: await state(server) };
};

const askApart = async (server, requests, { wait, meanwhile }) => {
  const asked = [];
  for (const one of requests) asked.push(answer(await caught(wait ? one.ask() : one.try())));
  const afterAsking = await state(server);
  await meanwhile();
  const released = [];
  for (const one of requests) released.push(answer(await caught(one.release())));
  return { asked, afterAsking, released, afterReleasing: await state(server) };
};

for (const wait of [true, false]) {
  describe(wait ? "requests that wait" : "requests that do not wait", () => {
    for (let first = 1; first <= STORIES; first += STORIES / 4) {
      test(`stories ${first} to ${first + STORIES / 4 - 1}`, async () => {
        for (let seed = first; seed < first + STORIES / 4; seed += 1) {
          const told = await tell(together, random(seed), { wait, act: askTogether });
          const expected = await tell(apart, random(seed), { wait, act: askApart });
          assert.deepEqual(told, expected, `story ${seed}`);
          // What is no queue cannot be left either.
          await Promise.all([together, apart].map(({ admin }) => admin.flushall()));
          await Promise.all([together.leaveNothing(), apart.leaveNothing()]);
        }
      });
    }
  });
}

describe("what nobody else wants", () => {
  test("is taken with one fencing token after the other, and released, and leaves nothing", async () => {
    for (const kind of ["job", "acquire"]) {
      const member = await together.member();
      const ask = (key) => (kind === "job" ? member.job([key], { reserve: 3 }) : member.acquire(key, [key]));
      const requests = KEYS.map(ask);
      const tokens = await together.askTogether(requests);
      tokens.forEach((token, i) => assert.ok(i === 0 || token > tokens[i - 1], `${tokens}`));
      if (kind === "job") assert.ok(tokens.every((token, i) => i === 0 || token === tokens[i - 1] + 4), `${tokens}: three set aside`);
      for (const [i, key] of KEYS.entries()) {
        assert.equal(await together.holder(key), kind === "job" ? `${requests[i].attempt}#${tokens[i]}` : key);
        if (kind === "acquire") assert.equal(await together.admin.get(together.record(key)), `${requests[i].attempt} ${tokens[i]}`);
      }
      assert.equal(await together.admin.get(together.fence), String(tokens.at(-1) + (kind === "job" ? 3 : 0)));
      assert.deepEqual(await together.releaseTogether(requests), KEYS.map(() => 1));
      assert.deepEqual(await allKeys(together.admin), [together.fence]);
    }
  });

  test("is released by those who hold it, and what one of them has lost stays with who has it now", async () => {
    for (const kind of ["job", "acquire"]) {
      const member = await together.member();
      const requests = [["a", "b"], ["c", "d"]].map((keys) => (kind === "job" ? member.job(keys) : member.acquire("me", keys)));
      await together.askTogether(requests);
      await together.lapse("d");
      const other = member.acquire("you", ["d"]);
      await other.gets();
      assert.deepEqual(await together.releaseTogether(requests), [1, 0]);
      assert.deepEqual(await Promise.all(["a", "b", "c", "d"].map(together.holder)), [null, null, null, "you"]);
      await other.release();
    }
  });

  test("tokens go on where the counter is ahead of the clock, over a round million too", async () => {
    const ahead = Math.ceil((await together.now()) / 1e6 + 60) * 1e6 - 3;
    await together.admin.set(together.fence, ahead);
    const member = await together.member();
    const requests = KEYS.map((key) => member.job([key]));
    const tokens = await together.askTogether(requests);
    assert.deepEqual(tokens, KEYS.map((_, i) => ahead + 1 + i));
    for (const [i, key] of KEYS.entries()) assert.equal(await together.holder(key), `${requests[i].attempt}#${tokens[i]}`);
  });
});
