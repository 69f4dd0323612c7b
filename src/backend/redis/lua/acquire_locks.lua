-- Does for several requests of one process what acquire_lock does for one, one after the other.
-- KEYS  1..nk  the locks, k for each request, nk + 1..2nk  their queues, 2nk + 1..3nk  their records, 3nk + 1  the fence
--       counter
-- ARGV  1  k, 2  as of acquire_lock, 3..8  as 4..7, 9, 10 of it, for all of them, then for each  the attempt's id, owner id
-- Reply  for each request the one of acquire_lock, or an error
local k, before = tonumber(ARGV[1]), 8
local n = (#ARGV - before) / 2
local locks, fence = n * k, KEYS[#KEYS]
local records = 2 * locks
local expire = tonumber(ARGV[2])

if redis.call('EXISTS', unpack(KEYS, 1, records)) == 0 and are_different(locks) then
  local token, now = mint(fence, string.format('%.0f', n - 1))
  token = tonumber(token)
  local next_text = texts(token, 1)
  local keys, args, set, replies = KEYS, ARGV, {}, {}
  for i = 1, n do
    local attempt, owner = args[before + 2 * i - 1], args[before + 2 * i]
    local record = attempt .. ' ' .. next_text()
    for lock = (i - 1) * k + 1, i * k do
      local at = 4 * lock
      set[at - 3], set[at - 2], set[at - 1], set[at] = keys[lock], owner, keys[records + lock], record
    end
    replies[i] = token
    token = token + 1
  end
  redis.call('MSET', unpack(set))
  local live_ms = expire > 0 and expire or ARGV[8]
  -- As in acquire_lock: a lock and its record end at one time.
  local ends_at = string.format('%.0f', now + live_ms)
  if expire > 0 then
    end_all(keys, 1, locks, ends_at)
  end
  end_all(keys, records + 1, records + locks, ends_at)
  return replies
end

return one_by_one(n, function(i)
  local keys = {}
  add(keys, KEYS, (i - 1) * k + 1, k)
  add(keys, KEYS, locks + (i - 1) * k + 1, k)
  keys[#keys + 1] = waiter_of(keys[k + 1], ARGV[before + 2 * i - 1])
  add(keys, KEYS, records + (i - 1) * k + 1, k)
  keys[#keys + 1] = fence
  return keys
end, function(i)
  local args = { ARGV[before + 2 * i - 1], ARGV[2], ARGV[before + 2 * i] }
  add(args, ARGV, 3, 4)
  args[8] = '0'
  add(args, ARGV, 7, 2)
  return args
end)
