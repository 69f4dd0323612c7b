-- Goes on where acquire_job_now.lua ends: a lock is held, or somebody waits for some lock.
if asks_anew and are_free(KEYS, locks, ARGV[8]) then
  return take()
end

if locks > MANY and ARGV[4] ~= '' and ARGV[4] ~= '0' then
  local reply = kept_reply(list, KEYS, ARGV[8], ARGV[1], ARGV[6])
  if reply then
    return reply
  end
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
  for _, lock in ipairs(mine) do
    redis.call('DEL', lock)
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
      return note_kept(me, locks, q.wait_reply(queues, ticket))
    end
  end
end
local token = take()
q.served(queues, tonumber(ARGV[2]), '')
return token
