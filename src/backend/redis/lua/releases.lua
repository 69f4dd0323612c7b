-- Does for several owners what release does for one, one after the other. None has others of its process behind it.
-- KEYS  1..nk  the locks, k for each owner, nk + 1  the list of queues, then the nk records, or none for jobs
-- ARGV  1  k, 2  as 3 of release, for all of them, 3  the locks' tags, 4..n + 3  as 2 of release, or one that all have
-- Reply  for each owner the one of release, or an error; 1: each held all of its locks
local k, tags, before = tonumber(ARGV[1]), ARGV[3], 3
local locks = #tags / 4
local n = locks / k
local list_at = locks + 1
local list, records = KEYS[list_at], #KEYS - list_at

local function owner_of(i)
  return ARGV[before + i] or ARGV[before + 1]
end

-- Whether these are the locks that the attempts took, by the look at their records that is enough nearly always: see `is_given`,
-- which looks again where it is not.
local function are_given(holders)
  local recorded = redis.call('MGET', unpack(KEYS, list_at + 1, list_at + locks))
  for i = 1, n do
    local attempt = owner_of(i)
    local is_endless = string.byte(attempt, -1) == 45
    local first = (is_endless and string.sub(attempt, 1, -2) or attempt) .. ' '
    for lock = (i - 1) * k + 1, i * k do
      local record = recorded[lock]
      if holders[lock] ~= '*' or not record or string.sub(record, 1, #first) ~= first then
        return false
      end
      local ms = redis.call('PTTL', KEYS[lock])
      if is_endless ~= (ms == -1) or (ms >= 0 and redis.call('PTTL', KEYS[list_at + lock]) ~= ms) then
        return false
      end
    end
  end
  return true
end

local function are_owners()
  local holders = redis.call('MGET', unpack(KEYS, 1, locks))
  if ARGV[2] == '2' then
    return are_given(holders)
  end
  for i = 1, n do
    local owner = owner_of(i)
    for lock = (i - 1) * k + 1, i * k do
      if holders[lock] ~= owner then
        return false
      end
    end
  end
  return true
end

if are_different(locks) and nobody_waits(KEYS, locks, tags) and are_owners() then
  local freed = { unpack(KEYS, 1, locks) }
  add(freed, KEYS, locks + 2, records)
  redis.call('DEL', unpack(freed))
  return 1
end

return one_by_one(n, function(i)
  local keys = {}
  add(keys, KEYS, (i - 1) * k + 1, k)
  keys[k + 1] = list
  if records > 0 then
    add(keys, KEYS, locks + 1 + (i - 1) * k + 1, k)
  end
  return keys
end, function(i)
  return { k, owner_of(i), ARGV[2], '0', tags_of(tags, i, k) }
end)
