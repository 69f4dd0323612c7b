-- Does for several owners what release does for one, one after the other. None has others of its process behind it.
-- KEYS  1..nk  the locks, k for each owner, nk + 1..2nk  their queues, then the nk records, or none for jobs
-- ARGV  1  k, 2  as 3 of release, for all of them, 3..n + 2  owner ids
-- Reply  for each owner the one of release, or an error
local k, before = tonumber(ARGV[1]), 2
local n = #ARGV - before
local locks = n * k

local function are_owners()
  local holders, args = redis.call('MGET', unpack(KEYS, 1, locks)), ARGV
  for i = 1, n do
    local owner = args[before + i]
    for lock = (i - 1) * k + 1, i * k do
      if holders[lock] ~= owner then
        return false
      end
    end
  end
  return true
end

if are_different(locks) and redis.call('EXISTS', unpack(KEYS, locks + 1, 2 * locks)) == 0 and are_owners() then
  local freed = { unpack(KEYS, 1, locks) }
  add(freed, KEYS, 2 * locks + 1, #KEYS - 2 * locks)
  redis.call('DEL', unpack(freed))
  local replies = {}
  for i = 1, n do
    replies[i] = 1
  end
  return replies
end

return one_by_one(n, function(i)
  local keys = {}
  for part = 0, #KEYS / locks - 1 do
    add(keys, KEYS, part * locks + (i - 1) * k + 1, k)
  end
  return keys
end, function(i)
  return { k, ARGV[before + i], ARGV[2], '0' }
end)
