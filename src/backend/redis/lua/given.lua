-- Part of the scripts that release: locks without an owner, by the attempts that took them.

-- Which attempt took each lock: `text` names one for all `count` locks, or one for each, with commas between them. None: ''.
-- One whose lock does not expire ends with '-'.
local function attempts_of(text, count)
  local attempts = {}
  if not string.find(text, ',', 1, true) then
    for i = 1, count do
      attempts[i] = text
    end
  else
    for attempt in string.gmatch(text .. ',', '([^,]*),') do
      attempts[#attempts + 1] = attempt
    end
  end
  return attempts
end

-- Whether a lock whose value is '*' is the one that `attempt` took: its record says so, and belongs to it. One that ends at
-- another time than the lock is of a lock before it, which somebody released who knows no records.
local function is_given(lock, record, attempt)
  local is_endless = string.byte(attempt, -1) == 45
  local id = is_endless and string.sub(attempt, 1, -2) or attempt
  local text = id ~= '' and redis.pcall('GET', record)
  if type(text) ~= 'string' then
    return false
  end
  if string.sub(text, 1, #id + 1) ~= id .. ' ' then
    local first = string.match(text, '^%S+') or ''
    if not string.find(',' .. first .. ',', ',' .. id .. ',', 1, true) then
      return false
    end
  end
  local lock_ms = redis.call('PTTL', lock)
  if is_endless or lock_ms < 0 then
    return is_endless and lock_ms < 0
  end
  -- The clock may go on while a script runs.
  local record_ms = redis.call('PTTL', record)
  return record_ms == lock_ms or (record_ms < lock_ms and record_ms >= redis.call('PTTL', lock))
end
