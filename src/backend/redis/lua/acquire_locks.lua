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

local function attempt_of(i)
  return ARGV[before + 2 * i - 1]
end

local function owner_of(i)
  return ARGV[before + 2 * i]
end

if redis.call('EXISTS', unpack(KEYS, 1, records)) == 0 and are_different(locks) then
  local token, now = mint(fence, string.format('%.0f', n - 1))
  token = tonumber(token)
  local next_text = texts(token, 1)
  -- As in acquire_lock.
  local ends_at = string.format('%.0f', now + expire)
  local replies = {}
  for i = 1, n do
    local record = attempt_of(i) .. ' ' .. next_text()
    for lock = (i - 1) * k + 1, i * k do
      if expire > 0 then
        redis.call('SET', KEYS[lock], owner_of(i), 'PXAT', ends_at)
        redis.call('SET', KEYS[records + lock], record, 'PXAT', ends_at)
      else
        redis.call('SET', KEYS[lock], owner_of(i))
        redis.call('SET', KEYS[records + lock], record, 'PX', ARGV[8])
      end
    end
    replies[i] = token
    token = token + 1
  end
  return replies
end

return one_by_one(n, function(i)
  local keys = {}
  add(keys, KEYS, (i - 1) * k + 1, k)
  add(keys, KEYS, locks + (i - 1) * k + 1, k)
  keys[#keys + 1] = waiter_of(keys[k + 1], attempt_of(i))
  add(keys, KEYS, records + (i - 1) * k + 1, k)
  keys[#keys + 1] = fence
  return keys
end, function(i)
  local args = { attempt_of(i), ARGV[2], owner_of(i) }
  add(args, ARGV, 3, 4)
  args[8] = '0'
  add(args, ARGV, 7, 2)
  return args
end)
