-- Takes all locks for a job, or none; or waits for them. Also the poll, and the claim of what was handed over.
-- KEYS  1..n  the locks, n + 1..2n  their queues, 2n + 1  the waiter, 2n + 2  the fence counter
-- ARGV  1  the attempt's id, 2  lease in ms, 3  how many tokens to set aside, 4  empty: do not wait; else the ticket that
--       the attempt has, 0: none yet, 5  us by which a new ticket is older than now, 6  inbox, 7  '1': others of its
--       process wait for the same locks right behind it
-- Reply  the fencing token; or {i, ms}: lock i is held, for so long (-1: without end, -2: it is free and others
--       wait for it), and this attempt holds nothing; or {i, ms, ticket, silent}: it waits (see wait_reply)
-- The same attempt may ask again: what an earlier try of it took is its own.
local locks = (#KEYS - 2) / 2
local job = ARGV[1] .. '#'

local function take()
  local token = mint(KEYS[#KEYS], ARGV[3])
  local owner = job .. token
  for i = 1, locks do
    redis.call('SET', KEYS[i], owner, 'PX', ARGV[2])
  end
  return tonumber(token)
end

if redis.call('EXISTS', unpack(KEYS, 1, #KEYS - 1)) == 0 then
  return take()
end

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

local queues = { unpack(KEYS, locks + 1, 2 * locks) }
local q = open_queues(KEYS[#KEYS - 1], queues, ARGV[7] == '1')
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
      return string.format('%.0f', mint(KEYS[#KEYS], '0') - ARGV[5])
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
