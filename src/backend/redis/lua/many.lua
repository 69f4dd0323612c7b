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

-- Those of request `i`, which has `k` locks, of the tags of all of them.
local function tags_of(tags, i, k)
  return string.sub(tags, 4 * k * (i - 1) + 1, 4 * k * i)
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
