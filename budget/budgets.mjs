// What an operation may cost, each with the reason why it costs that much. Where nothing but the code decides, a budget is
// what was counted and 15 to 25 % on top, or exactly what it must be; where the scheduling of threads decides too, it is
// what a busy machine makes of it. docs/PERFORMANCE.md says what the costs are made of.
//
// Who makes an operation cheaper lowers its budget. Who makes one dearer says here what that buys.

const noThread = {
  callbacks: [0, "in memory the answer is the call's own, and a release passes on in the same turn"],
  ioSleeps: [0, "in memory there is no I/O"],
  ioWakeups: [0, "in memory there is no I/O"],
  clockWakeups: [0.01, "deadlines that rise wake nobody; one a run is the first"],
};

const inMemory = {
  crossings: [2, "one call to ask, one to give back"],
  ...noThread,
  clockWakeups: [0, "deadlines that rise wake nobody, and what does not wait has none"],
};

/** One request after the other: every answer is waited for alone. */
const oneAtATime = {
  scriptCalls: [2.05, "one script to take, one to give back"],
  bytesOut: [28, "a token of 16 digits and a 1"],
  crossings: [4.1, "for each half the call, and the drain that brings its answer"],
  callbacks: [2.05, "one for each answer"],
  ioSleeps: [4.5, "for each half at most one for the caller and one for the server; spinning spares some"],
  ioWakeups: [2.1, "for each half at most one, where the thread has gone to sleep"],
  clockWakeups: [0.1, "deadlines that rise wake nobody"],
};

/** Sixty-four requests at once: what is alike shares calls, as far as it comes together. */
const sixtyFourAtOnce = {
  scriptCalls: [0.3, "0.03 where 64 share a call; on a busy machine they come in smaller groups"],
  bytesOut: [28, "a token of 16 digits and a 1, and the heads of the arrays"],
  crossings: [2.2, "one call to ask, one to give back; the drains are shared"],
  callbacks: [0.15, "shared by those whose answers come together"],
  ioSleeps: [0.4, "shared by those whose commands go together"],
  ioWakeups: [0.3, "shared by those whose commands go together"],
  clockWakeups: [0.1, "deadlines that rise wake nobody"],
};

/** By the names of scenarios.mjs and counts.mjs: the budget for one operation, and why it is that. */
export const budgets = {
  "execute, 1 at once, in memory": {
    ...inMemory,
    heapBytes: [1_600, "the promises of the caller, of the job and of its async function, and the lease"],
    allocations: [1.2, "the key"],
    allocatedBytes: [58, "the key"],
    instructions: [2_050, "two turns of the table: keys are looked up in hash maps, who may have them is decided"],
  },
  "execute, 64 at once, in memory": {
    ...inMemory,
    heapBytes: [1_550, "as alone"],
    allocations: [1.2, "the key"],
    allocatedBytes: [58, "the key"],
    instructions: [2_100, "as alone: what others hold costs nothing"],
  },
  "acquire and release, 1 at once, in memory": {
    ...inMemory,
    heapBytes: [680, "two promises"],
    allocations: [2.4, "the key, when it is taken and when it is given back"],
    allocatedBytes: [115, "the key, when it is taken and when it is given back"],
    instructions: [2_600, "as execute, and a deadline set and cleared"],
  },
  "acquire and release, 64 at once, in memory": {
    ...inMemory,
    heapBytes: [640, "as alone"],
    allocations: [2.6, "the key twice, and the tree of the deadlines"],
    allocatedBytes: [165, "the key twice, and the tree of the deadlines"],
    instructions: [3_100, "as alone, among 64 deadlines"],
  },
  "one hot key, 100 waiters, in memory": {
    ...noThread,
    crossings: [3, "as alone, and the drain of the news that a release brings"],
    heapBytes: [2_400, "as alone, and the entry of who waits"],
    allocations: [1.6, "the key, and the tree of who waits until when"],
    allocatedBytes: [125, "the key, and the tree of who waits until when"],
    instructions: [4_800, "as alone, and into the queue, its deadline, and out of it"],
  },
  "execute, 1 at once, on Redis": {
    ...oneAtATime,
    commands: [9.2, "2 calls; held? waits? take, mint, read the clock; whose? waits? delete"],
    bytesIn: [820, "two hashes of scripts, the lock and the list of queues twice, the attempt twice"],
    heapBytes: [2_700, "as in memory, and the wait for two answers"],
    allocations: [1.2, "the key; commands and replies are written where the last ones were"],
    allocatedBytes: [60, "the key; commands and replies are written where the last ones were"],
    instructions: [28_500, "nearly half is the runtime, which sleeps and wakes for each half, and the connection"],
  },
  "execute, 64 at once, on Redis": {
    ...sixtyFourAtOnce,
    commands: [2.6, "1.2 where 64 share a call: the end of each lock, the rest for all; 2.4 at 0.3 calls"],
    bytesIn: [400, "the lock and the attempt twice; the rest is shared"],
    heapBytes: [2_300, "as one at a time, the answers come together"],
    allocations: [1.8, "the key, and the replies of many"],
    allocatedBytes: [290, "the key, and the replies of many"],
    instructions: [9_600, "names, commands and replies; sleeping and waking are shared"],
  },
  "acquire and release, 1 at once, on Redis": {
    ...oneAtATime,
    commands: [13.4, "as execute, and the record of the lock; three to see that nobody's lock but its own is freed: the record, and when both end"],
    bytesIn: [1_080, "as execute, with the record's name twice"],
    heapBytes: [2_250, "two promises, each with its wait"],
    allocations: [4.4, "the key, the errand that releases it, and to whom the lock was given"],
    allocatedBytes: [225, "the key, the errand that releases it, and to whom the lock was given"],
    instructions: [31_000, "as execute"],
  },
  "acquire and release, 64 at once, on Redis": {
    ...sixtyFourAtOnce,
    scriptCalls: [0.4, "0.03 where 64 share a call; on a busy machine they come in smaller groups"],
    commands: [6.4, "4.2 where 64 share a call: the end of the lock and of its record each, two to see that nobody's lock but its own is freed: the record, and when both end, the rest for all; 6 at 0.33 calls"],
    bytesIn: [680, "as execute, with the record's name twice, and the attempt that a release names"],
    heapBytes: [1_800, "two promises, each with its wait"],
    allocations: [4.4, "the key, the errand that releases it, to whom the lock was given, the replies of many"],
    allocatedBytes: [300, "the key, the errand that releases it, the replies of many"],
    instructions: [11_600, "as execute, the record, and to whom the lock was given"],
  },
  "one hot key, 100 waiters, on Redis": {
    scriptCalls: [0.25, "one for each 8 jobs: the tokens for the next; more where a busy machine ends a lease by time"],
    commands: [1.3, "those of one script for each 8 jobs"],
    bytesIn: [90, "those of one script for each 8 jobs"],
    bytesOut: [4, "those of one script for each 8 jobs"],
    crossings: [3.3, "as in memory: a job's end says that its lease was passed on"],
    callbacks: [0.35, "one where a job waits for the tokens that are on their way"],
    ioSleeps: [0.4, "two for each 8 jobs, at most"],
    ioWakeups: [0.3, "one for each 8 jobs, at most"],
    clockWakeups: [0.1, "deadlines that rise wake nobody"],
    heapBytes: [2_450, "as in memory"],
    allocations: [1.45, "the key, and the tree of who waits"],
    allocatedBytes: [90, "the key, and the tree of who waits"],
    instructions: [6_400, "as in memory, what is said to the server for each 8 jobs, and that the lock has changed hands"],
  },
  "execute on 10 keys, 1 at once, on Redis": {
    ...oneAtATime,
    commands: [19.4, "as for one key; all are set by one more, and each has its end"],
    bytesIn: [2_850, "ten locks, twice"],
    heapBytes: [3_900, "as for one key, and the keys packed into one text"],
    allocations: [14.4, "each key, and the list of them"],
    allocatedBytes: [980, "each key, and the list of them"],
    instructions: [45_000, "as for one key, and the names of ten"],
  },
  "handover between two processes, on Redis": {
    scriptCalls: [3.3, "ask, claim, release; a poll a second"],
    commands: [59, "the queue is listed, entered, looked at, handed over, left and struck off"],
    bytesIn: [1_280, "an ask, a claim and a release"],
    bytesOut: [200, "the place in the queue, the call, the token"],
    crossings: [4.4, "as alone: the claim is made without JavaScript"],
    callbacks: [2.2, "as alone: the claim is made without JavaScript"],
    ioSleeps: [8, "for the caller, the place, the call, the token and the release"],
    ioWakeups: [2.2, "one for the ask, one for the release"],
    clockWakeups: [1.2, "the next poll is before other deadlines"],
    heapBytes: [5_500, "as alone, and the timer of the job"],
  },
};
