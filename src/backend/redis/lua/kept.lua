-- Part of every script that waits: the polls of those who wait for many locks.
--
-- To look at 10,000 queues takes the server half a second, and who waits polls every second. But as long as the lock that kept
-- it is somebody else's still, it waits, whatever has become of the others: then a poll is one look at that lock.

-- How many locks are many.
local MANY = 100
-- After how long all queues are looked at again: they expire where nobody does, and whoever is gone in them is to be noticed.
local LOOK_US = 10000000

local function time_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Writes down which lock keeps `me`, as it is told by `reply`, which it returns.
local function note_kept(me, locks, reply)
  if locks > MANY then
    redis.call('HSET', me, 'kept', string.format('%d %.0f %d', reply[1], time_us(), locks))
  end
  return reply
end

-- The reply to a poll of one that waits for many locks, the same of which keeps it; nil: they are all to be looked at.
local function kept_reply(list, keys, tags, attempt, inbox)
  local me = waiter_of(queue_of(keys[1], tags, 1), attempt)
  local i, looked = string.match(redis.call('HGET', me, 'kept') or '', '^(%d+) (%d+) %d+$')
  if not i or redis.call('HGET', me, 'granted') ~= '' or redis.call('HGET', me, 'inbox') ~= inbox then
    return nil
  end
  i = tonumber(i)
  local now, holder = time_us(), redis.pcall('GET', keys[i])
  if now < tonumber(looked) or now - looked > LOOK_US or type(holder) ~= 'string' then
    return nil
  end
  local waiter = { name = me, owner = redis.call('HGET', me, 'owner'), open = redis.call('HGET', me, 'open') }
  local queue = queue_of(keys[i], tags, i)
  local q = open_queues(list, me, { queue }, false)
  if q.is_own(waiter, holder) or string.sub(holder, 1, #attempt + 1) == attempt .. '#' then
    return nil
  end
  redis.call('HSET', me, 'polled', string.format('%.0f', now))
  local reply = q.wait_reply({ queue }, redis.call('HGET', me, 'ticket'), waiter)
  reply[1] = i
  return reply
end
