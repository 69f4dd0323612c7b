-- Part of every script that grants.

-- The next fencing token, as text, with `reserve` tokens behind it set aside. Above every token before it, and at
-- least the server's time in microseconds, so that it rises over expiry, restarts, a lost or older counter, and a
-- clock that was set back. Refuses before anything has changed where the counter has left the numbers that count
-- without gaps. Also answers the server's time in ms, for which it has looked at the clock.
local function mint(fence, reserve)
  local time = redis.call('TIME')
  local token = time[1] .. string.sub('00000' .. time[2], -6)
  local last = redis.call('SET', fence, reserve == '0' and token or string.format('%.0f', token + reserve), 'GET')
  if last and (tonumber(last) or 0) >= tonumber(token) then
    if last + reserve >= 9007199254740991 then
      redis.call('SET', fence, last)
      error('the counter of fencing tokens is out of range')
    end
    token = string.format('%.0f', last + 1)
    redis.call('SET', fence, string.format('%.0f', token + reserve))
  end
  return token, time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Has the keys from `first` to `last`, which have just been set, end then. One call that sets all and one for each that does
-- this are less than a SET for each: that has twice the arguments, and an answer that is a table.
local function end_all(keys, first, last, ends_at)
  for i = first, last do
    redis.call('PEXPIREAT', keys[i], ends_at)
  end
end

-- Has the first `count` of `keys`, and their records behind `records`, all of which have just been set, end at one time: by that
-- they are known to belong together. `expire` 0: the locks stay, and the records live for `record_ms`.
local function end_new(keys, count, records, expire, record_ms, now)
  local ends_at = string.format('%.0f', now + (expire > 0 and expire or record_ms))
  if expire > 0 then
    end_all(keys, 1, count, ends_at)
  end
  end_all(keys, records + 1, records + count, ends_at)
end

-- The error for a key that could not be read: one that is no lock is named, for its server does not do so.
local function no_lock(failure, key)
  if string.sub(failure.err, 1, 9) == 'WRONGTYPE' then
    return redis.error_reply('WRONGTYPE ' .. key)
  end
  return failure
end
