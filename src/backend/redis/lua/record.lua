-- Part of the scripts for locks of owners.

-- A lock's record: "<attempt> <token>", the attempt that took it and its fencing token. Where another attempt of its
-- owner took it again, also "<attempt> <ms> <owner>": that attempt, when the lock would have expired without it (by
-- the server's clock; -1: never), and whose it was: what it takes to undo that attempt.
local function read_record(key)
  local record = redis.pcall('GET', key)
  if type(record) ~= 'string' then
    return {}
  end
  local first, token, again, ms, owner = string.match(record, '^(%S+) (%S+) ?(%S*) ?(%S*) ?(.*)$')
  return { first = first, token = token, again = again, ms = tonumber(ms), owner = owner }
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Undoes what an owner's attempt did to a lock, if it did anything: what it took free is free again, and what its owner
-- had before is as it was.
local function undo(lock, record, owner, attempt, record_ms)
  local before = read_record(record)
  if redis.pcall('GET', lock) ~= owner then
    return
  end
  if before.first == attempt and before.again == '' then
    redis.call('DEL', lock, record)
  elseif before.again == attempt then
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
    redis.call('SET', record, before.first .. ' ' .. before.token, 'PX', left < 0 and record_ms or left)
  end
end
