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
