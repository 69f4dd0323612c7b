-- Releases those of a page of locks that belong to an owner, or all of them. Whoever waits for them gets them.
-- KEYS  1..n  the locks, n + 1..2n  their queues, 2n + 1..3n  their records
-- ARGV  1  '1': all of them, 2  owner id
-- Reply  1
local locks = #KEYS / 3
local queues = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'string' and (ARGV[1] == '1' or holder == ARGV[2]) then
    redis.call('DEL', KEYS[i], KEYS[2 * locks + i])
    if redis.call('EXISTS', KEYS[locks + i]) == 1 then
      queues[#queues + 1] = KEYS[locks + i]
    end
  end
end
if #queues > 0 then
  open_queues('', queues, false).hand_over(queues)
end
return 1
