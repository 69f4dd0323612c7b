-- Gives back what an owner's attempt took, if it took anything. What the owner held before the attempt stays.
-- KEYS  1..n  the locks, n + 1..2n  their records
-- ARGV  1  owner id, 2  the attempt's id
-- Reply  1
local locks = #KEYS / 2
local attempt = ARGV[2] .. ' '
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  local record = redis.pcall('GET', KEYS[locks + i])
  if holder == ARGV[1] and type(record) == 'string' and string.sub(record, 1, #attempt) == attempt then
    redis.call('DEL', KEYS[i], KEYS[locks + i])
  end
end
return 1
