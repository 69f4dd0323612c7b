-- Sets aside more fencing tokens for a job whose lease passes on to others of its process, unless others wait for its locks.
-- KEYS  1..n  the locks, n + 1..2n  their queues, 2n + 1  the fence counter
-- ARGV  1  the job's owner id, 2  how many tokens to set aside behind the first
-- Reply  the first token; 0: others wait; -i: lock i is not the job's any more
local locks = (#KEYS - 1) / 2
for i = 1, locks do
  if redis.pcall('GET', KEYS[i]) ~= ARGV[1] then
    return -i
  end
end
local queues = { unpack(KEYS, locks + 1, 2 * locks) }
-- Who is gone, and stands in a queue still, is for the release to find out.
if redis.call('EXISTS', unpack(queues)) > 0 and not open_queues('', queues, false).are_empty(queues) then
  return 0
end
return tonumber((mint(KEYS[#KEYS], ARGV[2])))
