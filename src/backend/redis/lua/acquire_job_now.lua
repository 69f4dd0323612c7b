-- Takes all locks for a job, or none; or waits for them. Also the poll, and the claim of what was handed over.
-- KEYS  1..n  the locks, n + 1  the list of queues, n + 2  the fence counter
-- ARGV  1  the attempt's id, 2  lease in ms, 3  how many tokens to set aside, 4  empty: do not wait; else the ticket that
--       the attempt has, 0: none yet, 5  us by which a new ticket is older than now, 6  inbox, 7  '1': others of its
--       process wait for the same locks right behind it, 8  the locks' tags
-- Reply  the fencing token; or {i, ms}: lock i is held, for so long (-1: without end, -2: it is free and others
--       wait for it), and this attempt holds nothing; or {i, ms, ticket, silent}: it waits (see wait_reply)
-- The same attempt may ask again: what an earlier try of it took is its own.
local locks = #KEYS - 2
local list, fence = KEYS[locks + 1], KEYS[locks + 2]
local job = ARGV[1] .. '#'

local function take()
  local token, now = mint(fence, ARGV[3])
  local owner = job .. token
  if locks == 1 then
    redis.call('SET', KEYS[1], owner, 'PX', ARGV[2])
  elseif locks > AT_ONCE_MAX then
    for i = 1, locks do
      redis.call('SET', KEYS[i], owner, 'PX', ARGV[2])
    end
  else
    local keys, set = KEYS, {}
    for i = 1, locks do
      set[2 * i - 1], set[2 * i] = keys[i], owner
    end
    redis.call('MSET', unpack(set))
    end_all(keys, 1, locks, string.format('%.0f', now + ARGV[2]))
  end
  return tonumber(token)
end

-- Whoever has waited, and only asks again, has queues to leave, whatever is in the list.
local asks_anew = ARGV[4] == '' or ARGV[4] == '0'
if asks_anew and locks <= AT_ONCE_MAX and redis.call('EXISTS', unpack(KEYS, 1, locks + 1)) == 0 then
  return take()
end
