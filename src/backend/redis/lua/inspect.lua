-- Looks at locks.
-- KEYS  1..n  the locks, n + 1..2n  their records
-- Reply  per lock its owner id, its remaining ms (-1: without end) and its record; nothing but nil where it is free
local locks = #KEYS / 2

-- A record that ends at another time than the lock is of a lock before it, which somebody released who knows no records.
local function is_of(record_ms, lock_ms)
  return lock_ms < 0 or math.abs(record_ms - lock_ms) < 2
end

local reply = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  local record = redis.pcall('GET', KEYS[locks + i])
  if type(holder) == 'string' then
    local ms = redis.call('PTTL', KEYS[i])
    local is_known = type(record) == 'string' and is_of(redis.call('PTTL', KEYS[locks + i]), ms)
    reply[i] = { holder, ms, is_known and record }
  else
    reply[i] = false
  end
end
return reply
