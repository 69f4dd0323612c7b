-- Takes all locks for an owner, or none. What the owner holds already gets the new expiry.
-- KEYS  1..n  the locks, n + 1..2n  their records, 2n + 1  the fence counter
-- ARGV  1  owner id ('*': none), 2  expiry in ms (0: none), 3  the attempt's id,
--       4  '1': only if the owner holds all of them already, 5  '1': a lock without an owner is open to all,
--       6  ms that a record lives where its lock does not expire
-- Reply  the fencing token; or {i, ms}: lock i is held, for so long (-1: without end), and nothing has changed
-- A lock's record is "<attempt> <token>": it tells a repeated attempt what it took, and `inspect` the token.
local locks = (#KEYS - 1) / 2
local owner, expire, attempt = ARGV[1], tonumber(ARGV[2]), ARGV[3] .. ' '
local extend_only, open = ARGV[4] == '1', ARGV[5] == '1'

local function is_ours(holder, i)
  if holder == '*' then
    if open then
      return true
    end
    local record = redis.call('GET', KEYS[locks + i])
    return owner == '*' and record and string.sub(record, 1, #attempt) == attempt
  end
  return holder == owner
end

local free = {}
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'table' then
    return no_lock(holder, KEYS[i])
  end
  if not holder then
    if extend_only then
      return { i, 0 }
    end
    free[i] = true
  elseif not is_ours(holder, i) then
    return { i, redis.call('PTTL', KEYS[i]) }
  end
end

local token = mint(KEYS[#KEYS], '0')
local record = attempt .. token
local record_expire = expire > 0 and expire or ARGV[6]
for i = 1, locks do
  if expire > 0 then
    redis.call('SET', KEYS[i], owner, 'PX', expire)
  else
    redis.call('SET', KEYS[i], owner)
  end
  if free[i] then
    redis.call('SET', KEYS[locks + i], record, 'PX', record_expire)
  else
    redis.call('PEXPIRE', KEYS[locks + i], record_expire)
  end
end
return tonumber(token)
