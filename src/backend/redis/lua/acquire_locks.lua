-- Does for several requests of one process what acquire_lock does for one, one after the other.
-- KEYS  1..nk  the locks, k for each request, nk + 1  the list of queues, nk + 2..2nk + 1  the records, 2nk + 2  the fence
--       counter
-- ARGV  1  k, 2  as of acquire_lock, 3..9  as 4..7, 9..11 of it, for all of them, 10..n + 9  the attempts' ids, then the
--       n owner ids, or one that all have
-- Reply  for each request the one of acquire_lock, or an error; a number: that is the token of the first, and the others follow
local k, before = tonumber(ARGV[1]), 9
local locks = #ARGV[9] / 4
local n = locks / k
local list, records, fence = KEYS[locks + 1], locks + 1, KEYS[#KEYS]
local expire, tags = tonumber(ARGV[2]), ARGV[9]

local function owner_of(i)
  return ARGV[before + n + i] or ARGV[before + n + 1]
end

-- One look at the locks and the list is enough, where neither is there.
local are_free_now = redis.call('EXISTS', unpack(KEYS, 1, locks + 1)) == 0 or are_free(KEYS, locks, tags)
if are_free_now and are_different(locks) then
  local token, now = mint(fence, string.format('%.0f', n - 1))
  token = tonumber(token)
  local next_text = texts(token, 1)
  local keys, set = KEYS, {}
  for i = 1, n do
    local owner = owner_of(i)
    local record = ARGV[before + i] .. ' ' .. next_text()
    for lock = (i - 1) * k + 1, i * k do
      local at = 4 * lock
      set[at - 3], set[at - 2], set[at - 1], set[at] = keys[lock], owner, keys[records + lock], record
    end
  end
  redis.call('MSET', unpack(set))
  end_new(keys, locks, records, expire, ARGV[8], now)
  return token
end

return one_by_one(n, function(i)
  local keys = {}
  add(keys, KEYS, (i - 1) * k + 1, k)
  keys[k + 1] = list
  add(keys, KEYS, records + (i - 1) * k + 1, k)
  keys[#keys + 1] = fence
  return keys
end, function(i)
  local args = { ARGV[before + i], ARGV[2], owner_of(i) }
  add(args, ARGV, 3, 4)
  args[8] = '0'
  add(args, ARGV, 7, 2)
  args[11] = tags_of(tags, i, k)
  return args
end)
