-- Goes on where acquire_lock_now.lua ends: a lock is held, or somebody waits for some lock, or more than that must be known.
if asks_anew and are_free(KEYS, locks, ARGV[11]) then
  return take()
end

if locks > MANY and ARGV[4] ~= '' and ARGV[4] ~= '0' then
  local reply = kept_reply(list, KEYS, ARGV[11], ARGV[1], ARGV[6])
  if reply then
    return reply
  end
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
      return note_kept(me, locks, q.wait_reply(queues, ticket))
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
