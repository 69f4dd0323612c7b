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

-- Whoever has waited, and only asks again, has queues to leave, whatever is in the list.
local is_new = ARGV[4] == '' or ARGV[4] == '0'
if is_new and not must_hold and are_free(KEYS, locks, ARGV[11]) then
  local token, now = mint(fence, '0')
  local record = attempt .. ' ' .. token
  if locks == 1 then
    put(1, record, now)
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

local queues = queues_of(KEYS, locks, ARGV[11])
local me = waiter_of(queues[1], attempt)

local function is_ours(holder, i)
  if holder ~= '*' then
    return holder == owner
  end
  return open or (owner == '*' and without(read_record(KEYS[records + i]).first or '', attempt) ~= nil)
end

local ours, held = 0, false
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'table' then
    return no_lock(holder, KEYS[i])
  end
  if must_hold and not (holder and is_ours(holder, i)) then
    return { i, redis.call('PTTL', KEYS[i]) }
  end
  if holder and is_ours(holder, i) then
    ours = ours + 1
  elseif holder then
    held = true
  end
end

local q = open_queues(list, me, queues, ARGV[7] == '1')
if ours < locks then
  -- Whoever waits, or is told no, holds nothing of this attempt.
  for i = 1, locks do
    undo(KEYS[i], KEYS[records + i], owner, attempt, ARGV[10])
  end
  if ARGV[4] == '' then
    q.hand_over(queues)
    for i = 1, locks do
      local holder = redis.call('GET', KEYS[i])
      if holder and not is_ours(holder, i) or not holder and not q.are_empty({ queues[i] }) then
        return { i, redis.call('PTTL', KEYS[i]) }
      end
    end
  elseif held or not q.are_empty(queues) or q.pause_of(queues) > 0 then
    local ticket = q.enter(queues, ARGV[4], function()
      return string.format('%.0f', mint(fence, '0') - ARGV[5])
    end, owner, ARGV[9], ARGV[6])
    q.hand_over(queues)
    if not q.granted then
      return q.wait_reply(queues, ticket)
    end
  end
end

-- How many bytes of attempts a record names.
local NAMED_MAX = 400

local function record_of_again(i, holder, token)
  local before = read_record(KEYS[records + i])
  local first, again = before.first or '-', before.again or ''
  -- Token 0: handed over to another attempt of this owner, which has not claimed it.
  local token_before = before.token ~= '0' and before.token or token
  local ms = redis.call('PTTL', KEYS[i])
  ms = ms < 0 and -1 or now_ms() + ms
  if again == attempt then
    return redis.call('GET', KEYS[records + i])
  elseif without(first, attempt) then
    if again == '' then
      return first .. ' ' .. token
    end
    -- Without the last one the lock would be as this one wants it.
    return write_record(first, token_before, again, expire > 0 and now_ms() + expire or -1, before.owner)
  end
  if again ~= '' then
    first = first .. ',' .. again
  end
  return write_record(#first > NAMED_MAX and '-' or first, token_before, attempt, ms, holder)
end

local token, now = mint(fence, '0')
for i = 1, locks do
  local holder = redis.call('GET', KEYS[i])
  put(i, holder and record_of_again(i, holder, token) or attempt .. ' ' .. token, now)
end
q.served(queues, expire, owner)
return tonumber(token)
