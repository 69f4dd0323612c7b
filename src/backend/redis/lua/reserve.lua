-- Sets aside more fencing tokens for a job whose lease passes on to others of its process, unless others wait for its locks.
-- KEYS  1..n  the locks, n + 1  the list of queues, n + 2  the fence counter
-- ARGV  1  the job's owner id, 2  how many tokens to set aside behind the first, 3  the locks' tags
-- Reply  the first token; 0: others wait; -i: lock i is not the job's any more
local locks = #KEYS - 2
local list, tags = KEYS[locks + 1], ARGV[3]
for i = 1, locks do
  if redis.pcall('GET', KEYS[i]) ~= ARGV[1] then
    return -i
  end
end
if not nobody_waits(KEYS, locks, tags) then
  local queues = queues_of(KEYS, locks, tags)
  -- Who is gone, and stands in a queue still, is for the release to find out.
  if not open_queues(list, '', queues, false).are_empty(queues) then
    return 0
  end
end
return tonumber((mint(KEYS[#KEYS], ARGV[2])))
