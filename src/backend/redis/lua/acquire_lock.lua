-- Takes all locks for an owner, or none. What the owner holds already gets the new expiry.
-- KEYS  1..n  the locks, n + 1..2n  their records, 2n + 1  the fence counter
-- ARGV  1  owner id ('*': none), 2  expiry in ms (0: none), 3  the attempt's id,
--       4  empty, or for each lock '1': only if the owner holds it already, 5  '1': a lock without an owner is open to
--       all, 6  ms that a record lives where its lock does not expire
-- Reply  the fencing token; or {i, ms}: lock i is held, for so long (-1: without end), and nothing has changed
-- The same attempt may ask again: what an earlier try of it took is its own.
local locks = (#KEYS - 1) / 2
local owner, expire, attempt, must_hold = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local open = ARGV[5] == '1'

local function is_ours(holder, i)
  if holder ~= '*' then
    return holder == owner
  end
  return open or (owner == '*' and read_record(KEYS[locks + i]).first == attempt)
end

local holders = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'table' then
    return no_lock(holder, KEYS[i])
  end
  if not holder and string.sub(must_hold, i, i) == '1' then
    return { i, 0 }
  end
  if holder and not is_ours(holder, i) then
    return { i, redis.call('PTTL', KEYS[i]) }
  end
  holders[i] = holder
end

local token = mint(KEYS[#KEYS], '0')
local record_expire = expire > 0 and expire or ARGV[6]
for i = 1, locks do
  local record = attempt .. ' ' .. token
  if holders[i] then
    local before = read_record(KEYS[locks + i])
    if before.first == attempt or before.again == attempt then
      record = redis.call('GET', KEYS[locks + i])
    else
      local ms = redis.call('PTTL', KEYS[i])
      ms = ms < 0 and -1 or now_ms() + ms
      record = (before.first or '-') .. ' ' .. (before.token or token) .. ' ' .. attempt
      record = record .. ' ' .. string.format('%.0f', ms) .. ' ' .. holders[i]
    end
  end
  if expire > 0 then
    redis.call('SET', KEYS[i], owner, 'PX', expire)
  else
    redis.call('SET', KEYS[i], owner)
  end
  redis.call('SET', KEYS[locks + i], record, 'PX', record_expire)
end
return tonumber(token)
