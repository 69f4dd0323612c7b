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
local is_new = ARGV[4] == '' or ARGV[4] == '0'
if is_new and are_free(KEYS, locks, ARGV[8]) then
  return take()
end

local queues = queues_of(KEYS, locks, ARGV[8])
local me = waiter_of(queues[1], ARGV[1])

local mine, held = {}, false
for i = 1, locks do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'table' then
    return no_lock(holder, KEYS[i])
  end
  if holder and string.sub(holder, 1, #job) == job then
    mine[#mine + 1] = KEYS[i]
  elseif holder then
    held = true
  end
end

local q = open_queues(list, me, queues, ARGV[7] == '1')
if #mine < locks then
  -- Whoever waits holds nothing.
  if #mine > 0 then
    redis.call('DEL', unpack(mine))
  end
  if ARGV[4] == '' then
    q.hand_over(queues)
    for i = 1, locks do
      if redis.call('EXISTS', KEYS[i]) == 1 or not q.are_empty({ queues[i] }) then
        return { i, redis.call('PTTL', KEYS[i]) }
      end
    end
  elseif held or not q.are_empty(queues) or q.pause_of(queues) > 0 then
    local ticket = q.enter(queues, ARGV[4], function()
      return string.format('%.0f', mint(fence, '0') - ARGV[5])
    end, '', '', ARGV[6])
    q.hand_over(queues)
    if not q.granted then
      return q.wait_reply(queues, ticket)
    end
  end
end
local token = take()
q.served(queues, tonumber(ARGV[2]), '')
return token
