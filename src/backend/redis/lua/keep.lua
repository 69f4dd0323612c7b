-- Extends locks of owners, each if the attempt that wants this was the last to take it.
-- KEYS  for each lock: the lock, its record
-- ARGV  for each lock: owner id ('*': none), the attempt's id, ms
-- Reply  one number per lock: 1: extended; 0: it is not that attempt's any more
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A record names the attempts in order: the last one of the first part, or the one behind the token. One that ends at another
-- time than the lock is of a lock before it.
local function is_its(lock, record, owner, attempt)
  local text = redis.pcall('GET', record)
  if redis.pcall('GET', lock) ~= owner or type(text) ~= 'string' then
    return false
  end
  local first, again = string.match(text, '^(%S+) %S+ ?(%S*)')
  local last = again ~= '' and again or (first and string.match(first, '[^,]*$'))
  local lock_ms = redis.call('PTTL', lock)
  local record_ms = redis.call('PTTL', record)
  return last == attempt and lock_ms >= 0 and record_ms <= lock_ms and record_ms >= redis.call('PTTL', lock)
end

local reply = {}
for i = 1, #KEYS / 2 do
  local lock, record = KEYS[2 * i - 1], KEYS[2 * i]
  local is_kept = is_its(lock, record, ARGV[3 * i - 2], ARGV[3 * i - 1])
  -- Another attempt of the owner, which claimed late what had been handed over to it, may have asked for longer.
  if is_kept and redis.call('PTTL', lock) < tonumber(ARGV[3 * i]) then
    local ends_at = string.format('%.0f', now + ARGV[3 * i])
    redis.call('PEXPIREAT', lock, ends_at)
    redis.call('PEXPIREAT', record, ends_at)
  end
  reply[i] = is_kept and 1 or 0
end
return reply
