-- Releases those of a page of locks that belong to an owner, or all of them.
-- KEYS  1..n  the locks, n + 1..2n  their records
-- ARGV  1  '1': all of them, 2  owner id
-- Reply  1
local locks = #KEYS / 2
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'string' and (ARGV[1] == '1' or holder == ARGV[2]) then
    redis.call('DEL', KEYS[i], KEYS[locks + i])
  end
end
return 1
