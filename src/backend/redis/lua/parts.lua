-- Part of every script that looks at queues, and of `renew`: commands for more keys than Lua can unpack.

-- How many values go in one command. Even, for some lists are of pairs.
local PART = 4 * AT_ONCE_MAX

-- Calls `run` with the values `first` to `last` of `list`, in their order, so many at a time.
local function in_parts(list, first, last, run)
  for at = first, last, PART do
    run(unpack(list, at, math.min(at + PART - 1, last)))
  end
end

-- Whether one of the first `count` of `keys` is there.
local function is_any_there(keys, count)
  for at = 1, count, PART do
    if redis.call('EXISTS', unpack(keys, at, math.min(at + PART - 1, count))) > 0 then
      return true
    end
  end
  return false
end
