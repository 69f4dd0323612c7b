-- Does for several jobs of one process what acquire_job does for one, one after the other.
-- KEYS  1..nk  the locks, k for each job, nk + 1  the list of queues, nk + 2  the fence counter
-- ARGV  1  k, 2..8  as those of acquire_job, for all of them, 9..n + 8  the attempts' ids
-- Reply  for each job the one of acquire_job, or an error; a number: that is the token of the first, and each that follows is
--       above the one before by one and what is set aside
local k, before = tonumber(ARGV[1]), 8
local n = #ARGV - before
local locks = n * k
local fence, tags = KEYS[locks + 2], ARGV[8]

-- One look at the locks and the list is enough, where neither is there.
local are_free_now = redis.call('EXISTS', unpack(KEYS, 1, locks + 1)) == 0 or are_free(KEYS, locks, tags)
if are_free_now and are_different(locks) then
  local each = ARGV[3] + 1
  local token, now = mint(fence, string.format('%.0f', n * each - 1))
  token = tonumber(token)
  local next_text = texts(token, each)
  local keys, set = KEYS, {}
  for i = 1, n do
    local owner = ARGV[before + i] .. '#' .. next_text()
    for lock = (i - 1) * k + 1, i * k do
      set[2 * lock - 1], set[2 * lock] = keys[lock], owner
    end
  end
  redis.call('MSET', unpack(set))
  end_all(keys, 1, locks, string.format('%.0f', now + ARGV[2]))
  return token
end

return one_by_one(n, function(i)
  local keys = {}
  add(keys, KEYS, (i - 1) * k + 1, k)
  add(keys, KEYS, locks + 1, 2)
  return keys
end, function(i)
  local args = { ARGV[before + i] }
  add(args, ARGV, 2, 6)
  args[8] = tags_of(tags, i, k)
  return args
end)
