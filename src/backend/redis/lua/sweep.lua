-- Releases those of a page of locks that belong to an owner, or all of them. Whoever waits for them gets them.
-- KEYS  1..n  the locks, n + 1  the list of queues, n + 2..2n + 1  their records
-- ARGV  1  '1': all of them, 2  owner id, 3  the locks' tags
-- Reply  1
local locks = (#KEYS - 1) / 2
local list = KEYS[locks + 1]
local is_list_there = redis.call('EXISTS', list) == 1
local queues = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'string' and (ARGV[1] == '1' or holder == ARGV[2]) then
    redis.call('DEL', KEYS[i], KEYS[locks + 1 + i])
    local queue = is_list_there and queue_of(KEYS[i], ARGV[3], i)
    if queue and redis.call('EXISTS', queue) == 1 then
      queues[#queues + 1] = queue
    end
  end
end
if #queues > 0 then
  open_queues(list, '', queues, false).hand_over(queues)
end
return 1
