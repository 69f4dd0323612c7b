-- Undoes what an owner's attempt did, if it did anything: what it took free is free again, and what its owner had before
-- is as it was.
-- KEYS  1..n  the locks, n + 1..2n  their records
-- ARGV  1  owner id, 2  the attempt's id, 3  ms that a record lives where its lock does not expire
-- Reply  1
local locks = #KEYS / 2
local owner, attempt = ARGV[1], ARGV[2]

local function restore(lock, record, before)
  local left = before.ms < 0 and -1 or before.ms - now_ms()
  if before.ms >= 0 and left <= 0 then
    redis.call('DEL', lock, record)
    return
  end
  if left < 0 then
    redis.call('SET', lock, before.owner)
  else
    redis.call('SET', lock, before.owner, 'PX', left)
  end
  redis.call('SET', record, before.first .. ' ' .. before.token, 'PX', left < 0 and ARGV[3] or left)
end

for i = 1, locks do
  local before = read_record(KEYS[locks + i])
  if redis.pcall('GET', KEYS[i]) == owner then
    if before.again == attempt then
      restore(KEYS[i], KEYS[locks + i], before)
    elseif before.first == attempt and before.again == '' then
      redis.call('DEL', KEYS[i], KEYS[locks + i])
    end
  end
end
return 1
