-- Extends leases, each if its job holds all of its locks.
-- KEYS  the locks of the first lease, of the second, ...
-- ARGV  three per lease: the job's owner id, lease in ms, how many locks
-- Reply  one number per lease: 0: extended; i: its lock i is not the job's any more
local function first_lost(owner, first, last)
  for at = first, last, PART do
    local to = math.min(at + PART - 1, last)
    local holders = redis.call('MGET', unpack(KEYS, at, to))
    for i = at, to do
      if holders[i - at + 1] ~= owner then
        return i - first + 1
      end
    end
  end
  return 0
end

local reply = {}
local first = 1
for arg = 1, #ARGV, 3 do
  local owner, lease, locks = ARGV[arg], ARGV[arg + 1], tonumber(ARGV[arg + 2])
  local next = first + locks
  local lost = first_lost(owner, first, next - 1)
  if lost == 0 then
    for i = first, next - 1 do
      redis.call('PEXPIRE', KEYS[i], lease)
    end
  end
  reply[#reply + 1] = lost
  first = next
end
return reply
