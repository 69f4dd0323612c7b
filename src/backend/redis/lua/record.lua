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
