-- Ends a job's attempt: it leaves its queues, and what it took, if it took anything, goes to whoever is next.
-- KEYS  1..n  the locks, n + 1..2n  their queues, 2n + 1  the waiter
-- ARGV  1  the attempt's id
-- Reply  1
local locks = (#KEYS - 1) / 2
local job = ARGV[1] .. '#'
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'string' and string.sub(holder, 1, #job) == job then
    redis.call('DEL', KEYS[i])
  end
end
if redis.call('EXISTS', unpack(KEYS, locks + 1)) > 0 then
  local queues = { unpack(KEYS, locks + 1, 2 * locks) }
  local q = open_queues(KEYS[#KEYS], queues, false)
  q.leave(queues)
  q.hand_over(queues)
end
return 1
