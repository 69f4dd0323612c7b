-- Looks at locks.
-- KEYS  1..n  the locks, n + 1..2n  their records
-- Reply  per lock its owner id, its remaining ms (-1: without end) and its record; nothing but nil where it is free
local locks = #KEYS / 2

-- A record that ends at another time than the lock is of a lock before it, which somebody released who knows no records.
-- The clock goes on while a script runs.
local function is_of(record, lock, lock_ms)
  local record_ms = redis.call('PTTL', record)
  return lock_ms < 0 or (record_ms <= lock_ms and record_ms >= redis.call('PTTL', lock))
end

local reply = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  local record = redis.pcall('GET', KEYS[locks + i])
  if type(holder) == 'string' then
    local ms = redis.call('PTTL', KEYS[i])
    local is_known = type(record) == 'string' and is_of(KEYS[locks + i], KEYS[i], ms)
    reply[i] = { holder, ms, is_known and record }
  else
    reply[i] = false
  end
end
return reply
