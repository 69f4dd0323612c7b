-- Looks at locks.
-- KEYS  1..n  the locks, n + 1..2n  their records
-- Reply  per lock its owner id, its remaining ms (-1: without end) and its record; nothing but nil where it is free
local locks = #KEYS / 2
local reply = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  local record = redis.pcall('GET', KEYS[locks + i])
  reply[i] = type(holder) == 'string'
    and { holder, redis.call('PTTL', KEYS[i]), type(record) == 'string' and record }
end
return reply
