-- Releases the locks that an owner holds.
-- KEYS  1..n  the locks, then their records, or none for a job
-- ARGV  1  n, 2  owner id, 3  '1': a lock without an owner is open to all
-- Reply  1: it held all of them; 0: not all, those that it held are released
local locks, owner, open = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1'
local holders = redis.call('MGET', unpack(KEYS, 1, locks))
local held = {}
local all = 1
for i = 1, locks do
  if holders[i] == owner or (open and holders[i] == '*') then
    held[#held + 1] = KEYS[i]
    held[#held + 1] = KEYS[locks + i]
  else
    all = 0
  end
end
if #held > 0 then
  redis.call('DEL', unpack(held))
end
return all
