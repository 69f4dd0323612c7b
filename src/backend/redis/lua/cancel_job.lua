-- Ends a job's attempt: it leaves its queues, and what it took, if it took anything, goes to whoever is next.
-- KEYS  1..n  the locks, n + 1  the list of queues
-- ARGV  1  the attempt's id, 2  the locks' tags
-- Reply  1
local locks = #KEYS - 1
local job = ARGV[1] .. '#'
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'string' and string.sub(holder, 1, #job) == job then
    redis.call('DEL', KEYS[i])
  end
end
leave_queues(KEYS[locks + 1], KEYS, locks, ARGV[2], ARGV[1])
return 1
