-- Part of every script that looks at queues: what these are called.
--
-- A script is told the tags of its locks' cluster slots, four characters each, filled up with blanks, one after the other.
-- The names of the queues are made of them only where somebody waits: to send and read them took a third of the time that a
-- script for many locks took.

local function queue_of(lock, tags, i)
  return 'locking-native:{' .. string.match(string.sub(tags, 4 * i - 3, 4 * i), '^%w+') .. '}:queue:' .. lock
end

-- The queues of the first `count` of `locks`.
local function queues_of(locks, count, tags)
  local queues = {}
  for i = 1, count do
    queues[i] = queue_of(locks[i], tags, i)
  end
  return queues
end

-- What waits for an attempt the first of whose queues this is.
local function waiter_of(queue, attempt)
  local first = string.find(queue, ':queue:', 1, true)
  return string.sub(queue, 1, first) .. 'waiter:' .. attempt
end

-- Whether none of these queues is there. Each is in `list`, and that is there only while one of them is.
local function nobody_waits(list, locks, count, tags)
  return redis.call('EXISTS', list) == 0 or redis.call('EXISTS', unpack(queues_of(locks, count, tags))) == 0
end
