-- Part of every script that does for several requests what another one does for one. `one` is that other script, as a
-- function of its KEYS and ARGV.

-- Whether the first `count` KEYS differ.
local function are_different(count)
  local keys, seen = KEYS, {}
  for i = 1, count do
    local key = keys[i]
    if seen[key] then
      return false
    end
    seen[key] = true
  end
  return true
end

-- A copy of `count` parts of `list` from `first` on, at the end of `copy`.
local function add(copy, list, first, count)
  for i = first, first + count - 1 do
    copy[#copy + 1] = list[i]
  end
end

-- The replies to requests 1..n, served one after the other. What fails for one of them is the reply to that one.
local function one_by_one(n, keys_of, args_of)
  local replies = {}
  for i = 1, n do
    local done, reply = pcall(one, keys_of(i), args_of(i))
    if not done and type(reply) ~= 'table' then
      -- An error of Redis is a text on servers before 7, and begins with its code.
      reply = redis.error_reply(string.find(reply, '^%u+ ') and reply or 'ERR ' .. reply)
    end
    replies[i] = reply
  end
  return replies
end

-- Of the request with this attempt's id the first of whose queues this is. Whoever waits stands in its queues, so it takes
-- no look at the waiter to know that none of them does.
local function waiter_of(queue, attempt)
  local first = string.find(queue, ':queue:', 1, true)
  return string.sub(queue, 1, first) .. 'waiter:' .. attempt
end

-- The texts of `first`, `first + step`, ..., which are whole numbers. All but the last two digits of each are those of the one
-- before, as good as always: to format a number takes a third as long as to set a lock.
local function texts(first, step)
  local char = string.char
  local tail = first % 100
  local head = (first - tail) / 100
  local prefix = string.format('%.0f', head)
  return function()
    local ones = tail % 10
    local text = prefix .. char(48 + (tail - ones) / 10, 48 + ones)
    tail = tail + step
    if tail >= 100 then
      head, tail = head + math.floor(tail / 100), tail % 100
      prefix = string.format('%.0f', head)
    end
    return text
  end
end

-- Has the keys from `first` to `last`, which have just been set, end then. One call that sets all and one for each that does
-- this are less than a SET for each: that has twice the arguments, and an answer that is a table.
local function end_all(keys, first, last, ends_at)
  for i = first, last do
    redis.call('PEXPIREAT', keys[i], ends_at)
  end
end
