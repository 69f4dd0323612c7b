-- Ends an owner's attempt: it leaves its queues, and what it did, if it did anything, is undone. What is free then goes
-- to whoever is next.
-- KEYS  1..n  the locks, n + 1..2n  their queues, 2n + 1  the waiter, 2n + 2..3n + 1  the records
-- ARGV  1  the attempt's id, 2  owner id, 3  ms that a record lives where its lock does not expire
-- Reply  1
local locks = (#KEYS - 1) / 3
local waiter = 2 * locks + 1
for i = 1, locks do
  undo(KEYS[i], KEYS[waiter + i], ARGV[2], ARGV[1], ARGV[3])
end
if redis.call('EXISTS', unpack(KEYS, locks + 1, waiter)) > 0 then
  local queues = { unpack(KEYS, locks + 1, 2 * locks) }
  local q = open_queues(KEYS[waiter], queues, false)
  q.leave(queues)
  q.hand_over(queues)
end
return 1
