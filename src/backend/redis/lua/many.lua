-- Part of every script that does for several requests what another one does for one. `one` is that other script, as a
-- function of its KEYS and ARGV.

-- Whether the first `count` KEYS differ.
local function are_different(count)
  local seen = {}
  for i = 1, count do
    if seen[KEYS[i]] then
      return false
    end
    seen[KEYS[i]] = true
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

-- The texts of `first`, `first + step`, ..., which are whole numbers. Most of each is that of the one before: to format a
-- double takes longer than to set a lock.
local function texts(first, step)
  local MILLION = 1000000
  local head, tail = math.floor(first / MILLION), first % MILLION
  local prefix = string.format('%.0f', head)
  return function()
    local text = prefix .. string.format('%06d', tail)
    tail = tail + step
    if tail >= MILLION then
      head, tail = head + math.floor(tail / MILLION), tail % MILLION
      prefix = string.format('%.0f', head)
    end
    return text
  end
end
