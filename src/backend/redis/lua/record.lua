-- Part of the scripts for locks of owners.

-- A lock's record: "<attempts> <token>", the attempts that count on it, with commas between them ('-': unknown ones),
-- and its fencing token. Where another attempt of its owner took it again, also "<attempt> <ms> <owner>": that attempt,
-- when the lock would have expired without it (by the server's clock; -1: never), and whose it was: what it takes to undo
-- that attempt.
local function read_record(key)
  local record = redis.pcall('GET', key)
  if type(record) ~= 'string' then
    return {}
  end
  local first, token, again, ms, owner = string.match(record, '^(%S+) (%S+) ?(%S*) ?(%S*) ?(.*)$')
  return { first = first, token = token, again = again, ms = tonumber(ms), owner = owner }
end

local function write_record(first, token, again, ms, owner)
  return first .. ' ' .. token .. ' ' .. again .. ' ' .. string.format('%.0f', ms) .. ' ' .. owner
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Of the attempts that `list` names, those but `attempt`; nil where it is not among them.
local function without(list, attempt)
  local left, is_named = {}, false
  for one in string.gmatch(list, '[^,]+') do
    if one == attempt then
      is_named = true
    else
      left[#left + 1] = one
    end
  end
  return is_named and table.concat(left, ',') or nil
end

-- Undoes what an owner's attempt did to a lock, if it did anything: what nobody else counts on is free again, and what
-- its owner had before is as it was.
local function undo(lock, record, owner, attempt, record_ms)
  local before = read_record(record)
  -- With locks without an owner open to all, another owner may have taken over what the attempt took.
  local is_adopted = before.again ~= '' and before.again ~= attempt and before.owner == owner
  if not before.first or (redis.pcall('GET', lock) ~= owner and not is_adopted) then
    return
  end
  local others = without(before.first, attempt)
  if others == '' and before.again == '' then
    redis.call('DEL', lock, record)
  elseif others and before.again == '' then
    redis.call('SET', record, others .. ' ' .. before.token, 'KEEPTTL')
  elseif others == '' then
    -- What is left is the last one's alone.
    redis.call('SET', record, before.again .. ' ' .. before.token, 'KEEPTTL')
  elseif others then
    local left = write_record(others, before.token, before.again, before.ms, before.owner)
    redis.call('SET', record, left, 'KEEPTTL')
  elseif before.again == attempt then
    local left = before.ms < 0 and -1 or before.ms - now_ms()
    if before.ms >= 0 and left <= 0 then
      redis.call('DEL', lock, record)
      return
    end
    local rest = before.first .. ' ' .. before.token
    if left < 0 then
      redis.call('SET', lock, before.owner)
      redis.call('SET', record, rest, 'PX', record_ms)
    else
      local ends_at = string.format('%.0f', before.ms)
      redis.call('SET', lock, before.owner, 'PXAT', ends_at)
      redis.call('SET', record, rest, 'PXAT', ends_at)
    end
  end
end
