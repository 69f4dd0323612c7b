-- Part of every script that looks at queues: what these are called.
--
-- A script is told the tags of its locks' cluster slots, four characters each, filled up with blanks, one after the other.
-- The names of the queues are made of them only where somebody waits: to send and read them took a third of the time of a
-- script for many locks.

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

-- The lock whose queue this is. A tag holds no colon.
local function lock_of(queue)
  local _, last = string.find(queue, ':queue:', 1, true)
  return string.sub(queue, last + 1)
end

local function record_of(queue)
  local first, last = string.find(queue, ':queue:', 1, true)
  return string.sub(queue, 1, first) .. 'lock:' .. string.sub(queue, last + 1)
end

local function attempt_of(name)
  local _, last = string.find(name, ':waiter:', 1, true)
  return string.sub(name, last + 1)
end
