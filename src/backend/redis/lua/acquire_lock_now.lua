-- Takes all locks for an owner, or none; or waits for them. Also the poll, and the claim of what was handed over. What
-- the owner holds already gets the new expiry.
-- KEYS  1..n  the locks, n + 1  the list of queues, n + 2..2n + 1  the records, 2n + 2  the fence counter
-- ARGV  1  the attempt's id, 2  expiry in ms (0: none), 3  owner id ('*': none), 4  empty: do not wait; else the ticket
--       that the attempt has, 0: none yet, 5  us by which a new ticket is older than now, 6  inbox, 7  '1': others of its
--       process wait for the same locks right behind it, 8  '1': only if the owner holds all of them already, 9  '1': a lock
--       without an owner is open to all, 10  ms that a record lives where its lock does not expire, 11  the locks' tags
-- Reply  as of acquire_job
-- The same attempt may ask again: what an earlier try of it took is its own.
local locks = (#KEYS - 2) / 2
local list, fence = KEYS[locks + 1], KEYS[#KEYS]
local attempt, expire, owner, must_hold, open = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[8] == '1', ARGV[9] == '1'
local records = locks + 1
-- The clock goes on while a script runs: a lock and its record end at one time all the same, by which they are known to
-- belong together.
local function put(i, record, now)
  if expire > 0 then
    local ends_at = string.format('%.0f', now + expire)
    redis.call('SET', KEYS[i], owner, 'PXAT', ends_at)
    redis.call('SET', KEYS[records + i], record, 'PXAT', ends_at)
  else
    redis.call('SET', KEYS[i], owner)
    redis.call('SET', KEYS[records + i], record, 'PX', ARGV[10])
  end
end

local function take()
  local token, now = mint(fence, '0')
  local record = attempt .. ' ' .. token
  if locks == 1 then
    put(1, record, now)
  elseif locks > AT_ONCE_MAX then
    for i = 1, locks do
      put(i, record, now)
    end
  else
    local keys, set = KEYS, {}
    for i = 1, locks do
      local at = 4 * i
      set[at - 3], set[at - 2], set[at - 1], set[at] = keys[i], owner, keys[records + i], record
    end
    redis.call('MSET', unpack(set))
    end_new(keys, locks, records, expire, ARGV[10], now)
  end
  return tonumber(token)
end

-- Whoever has waited, and only asks again, has queues to leave, whatever is in the list. Whoever only extends wants locks that
-- are not free.
local asks_anew = not must_hold and (ARGV[4] == '' or ARGV[4] == '0')
if asks_anew and locks <= AT_ONCE_MAX and redis.call('EXISTS', unpack(KEYS, 1, locks + 1)) == 0 then
  return take()
end
