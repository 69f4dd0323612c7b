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

-- Whether none of their queues is there. Each that is there is in `list`, and that is there only while one of them is.
local function nobody_waits(list, locks, count, tags)
  return redis.call('EXISTS', list) == 0 or redis.call('EXISTS', unpack(queues_of(locks, count, tags))) == 0
end

-- Whether nobody holds the first `count` of `keys`, behind which the list comes, or waits for them. Whoever waits stands in its
-- queues, so it takes no look at waiters.
local function are_free(keys, count, tags)
  local there = redis.call('EXISTS', unpack(keys, 1, count + 1))
  if there ~= 1 or redis.call('EXISTS', keys[count + 1]) == 0 then
    return there == 0
  end
  return redis.call('EXISTS', unpack(queues_of(keys, count, tags))) == 0
end
