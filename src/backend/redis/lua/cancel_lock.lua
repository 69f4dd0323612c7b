-- Ends an owner's attempt: it leaves its queues, and what it did, if it did anything, is undone. What is free then goes
-- to whoever is next.
-- KEYS  1..n  the locks, n + 1  the list of queues, n + 2..2n + 1  the records
-- ARGV  1  the attempt's id, 2  owner id, 3  ms that a record lives where its lock does not expire, 4  the locks' tags
-- Reply  1
local locks = (#KEYS - 1) / 2
for i = 1, locks do
  undo(KEYS[i], KEYS[locks + 1 + i], ARGV[2], ARGV[1], ARGV[3])
end
leave_queues(KEYS[locks + 1], KEYS, locks, ARGV[4], ARGV[1])
return 1
