-- Takes all locks for a job, or none.
-- KEYS  1..n  the locks, n + 1  the fence counter
-- ARGV  1  the job: its owner id without the token, 2  lease in ms, 3  how many tokens to set aside
-- Reply  the fencing token; or {i, ms}: lock i is held, for so long (-1: without end), and nothing has changed
-- The same job may ask again: what an earlier try of it took is its own.
local locks = #KEYS - 1
local job = ARGV[1] .. '#'

if locks == 1 or redis.call('EXISTS', unpack(KEYS, 1, locks)) > 0 then
  for i = 1, locks do
    local holder = redis.pcall('GET', KEYS[i])
    if type(holder) == 'table' then
      return no_lock(holder, KEYS[i])
    end
    if holder and string.sub(holder, 1, #job) ~= job then
      return { i, redis.call('PTTL', KEYS[i]) }
    end
  end
end

local token = mint(KEYS[#KEYS], ARGV[3])
local owner = job .. token
for i = 1, locks do
  redis.call('SET', KEYS[i], owner, 'PX', ARGV[2])
end
return tonumber(token)
