-- Part of every script that frees a lock or waits for one: the queues. docs/PROTOCOL.md describes them.
--
-- A queue is a sorted set of waiters by ticket. Below all tickets it may hold marks: 'since <us>', since when its lock has
-- been passed on without a pause, or 'gap <us>', until when it is left free for nodes that know no queue; and
-- 'old <us>', until when such a node counts as being about. A waiter is a hash: owner ('' for a job), inbox ('': none),
-- ticket, open, polled (us), granted (us until when it may claim what was handed over to it; '': nothing was), and its
-- queues under 1, 2, ... Of one that waits for many locks also kept: which of them kept it when it was last looked at, since
-- when not all have been looked at (us), and how many they are.

-- The queues as seen by `me`, the name of the waiter that this call is for ('': none). `more`: others of the same
-- process are right behind it, for the same `queues`. `list`: the name of the list of queues.
local function open_queues(list, me, queues, more)
  local CLAIM_MS, STALE_US, FOLLOW_MS, WATCH_MS = 2000, 2000000, 2000, 1200
  local REIGN_US, GAP_MS, OLD_GAP_MS, OLD_US = 1000000, 30, 250, 60000000
  local ROUNDS_MAX = 100000
  -- Two looks at when one lock ends differ by less, for the clock goes on while a script runs.
  local SAME_END_MS = 5

  local q = { granted = false, pause = 0 }
  -- Inboxes that nobody listens to, waiters that have been read, and those that have been looked at.
  local gone, known, seen = {}, {}, {}
  -- Queues that somebody has left in this call; `fresh`: whose first has not been looked at since.
  local left, fresh = {}, {}
  local followed = {}
  for _, queue in ipairs(more and queues or {}) do
    followed[queue] = true
  end
  local time

  local function now_us()
    if not time then
      local parts = redis.call('TIME')
      time = parts[1] * 1000000 + parts[2]
    end
    return time
  end

  local listed = open_list(list, now_us)

  -- The first waiter, or nil; and the marks, each in us, or nil.
  local function head(queue)
    local marks = {}
    for _, member in ipairs(redis.call('ZRANGE', queue, 0, 2)) do
      local mark, us = string.match(member, '^(%l+) (%d+)$')
      if not mark then
        return member, marks
      end
      marks[mark] = tonumber(us)
    end
    return nil, marks
  end

  local function set_mark(queue, score, mark, us)
    redis.call('ZREMRANGEBYSCORE', queue, score, score)
    redis.call('ZADD', queue, score, mark .. ' ' .. string.format('%.0f', us))
    -- A queue that is there lives for as long as those who wait in it have it live.
    if redis.call('PTTL', queue) < 0 then
      listed.prolong(queue, KEEP_MS)
    end
  end

  -- Marks do not outlive the waiters, but where others are about to come.
  local function tidy(queue)
    if head(queue) then
      return
    elseif followed[queue] then
      listed.prolong(queue, FOLLOW_MS)
    else
      listed.drop(queue)
    end
  end

  -- Once in a call, for it may be looked at whenever somebody leaves one of its queues; and no more of these than most have.
  local function read(name)
    if known[name] then
      return known[name]
    end
    local fields =
      redis.call('HMGET', name, 'ticket', 'owner', 'open', 'inbox', 'polled', 'granted', 'kept', 1, 2, 3, 4, 5)
    local waiter = { name = name, ticket = fields[1], owner = fields[2], open = fields[3], inbox = fields[4] }
    if not waiter.owner then
      return nil
    end
    waiter.polled, waiter.granted = fields[5], fields[6]
    for i = 8, 12 do
      waiter[i - 7] = fields[i] or nil
    end
    waiter.has_more = fields[12] and true
    waiter.at, waiter.looked, waiter.count = string.match(fields[7] or '', '^(%d+) (%d+) (%d+)$')
    waiter.at, waiter.count = tonumber(waiter.at) or 1, tonumber(waiter.count)
    waiter.left_to_see = waiter.count
    known[name] = waiter
    return waiter
  end

  -- Reads the rest of its queues.
  local function read_all(waiter)
    local read_to, count = 5, 16
    while waiter.has_more do
      local indexes = {}
      for i = 1, count do
        indexes[i] = read_to + i
      end
      local queues = redis.call('HMGET', waiter.name, unpack(indexes))
      for i = 1, count do
        waiter[read_to + i] = queues[i] or nil
      end
      waiter.has_more = queues[count]
      read_to, count = read_to + count, math.min(4 * count, AT_ONCE_MAX)
    end
  end

  local function queue_at(waiter, i)
    waiter[i] = waiter[i] or redis.call('HGET', waiter.name, i)
    return waiter[i]
  end

  -- Whether somebody subscribes to an inbox. Where the server's ACL does not let us know, somebody does. What PUBLISH
  -- answers would count those who listen to every channel.
  local function listens(inbox)
    if inbox ~= '' and gone[inbox] == nil then
      gone[inbox] = redis.pcall('PUBSUB', 'NUMSUB', inbox)[2] == 0
    end
    return not gone[inbox]
  end

  local function say(inbox, word, name, ms)
    if inbox and inbox ~= '' then
      redis.pcall('PUBLISH', inbox, word .. ' ' .. string.match(name, '%d+$') .. (ms and ' ' .. ms or ''))
    end
  end

  -- Its hash goes first: a name without one keeps nobody waiting, should one of the queues be no queue.
  local function leave(name, queues)
    redis.call('DEL', name)
    known[name] = nil
    for _, queue in ipairs(queues) do
      redis.call('ZREM', queue, name)
      left[queue], fresh[queue] = true, true
    end
  end

  -- Whom the lock comes to next: the first waiter that is there and has not been handed it already; its name and inbox.
  local function next_of(queue)
    local first = 0
    repeat
      local members = redis.call('ZRANGE', queue, first, first + 3)
      for _, member in ipairs(members) do
        if member == me then
          return me
        end
        if not string.find(member, '^%l+ %d+$') then
          local inbox = redis.call('HGET', member, 'inbox')
          if inbox and redis.call('HGET', member, 'granted') == '' and listens(inbox) then
            return member, inbox
          end
        end
      end
      first = first + 4
    until #members == 0
  end

  -- Has the next one look when the lock lapses, if that is before it asks by itself.
  local function warn(queue, ms)
    if ms > 0 and ms < WATCH_MS then
      local name, inbox = next_of(queue)
      if name then
        say(inbox, 'look', name, ms)
      end
    end
  end

  local function is_own(waiter, holder)
    if holder == '*' then
      return waiter.open == '1' and waiter.owner ~= ''
    end
    return waiter.owner ~= '' and holder == waiter.owner
  end
  q.is_own = is_own

  -- Each lock is free and the waiter the first for it, or its owner holds the lock already. What was found to be so stays so
  -- during a call: nobody else is handed a lock for which it is the first. So the next look begins `at` the lock where the last one
  -- ended, also in another call, and `left_to_see` counts those of which it is not known. `behind`: where it is not the first.
  local function may_have(waiter)
    if not waiter.count then
      read_all(waiter)
      waiter.count, waiter.left_to_see = #waiter, #waiter
    end
    waiter.behind = nil
    local first = waiter.at
    while waiter.left_to_see > 0 do
      local queue = queue_at(waiter, waiter.at)
      local holder = redis.pcall('GET', lock_of(queue))
      local is_kept = holder and (type(holder) == 'table' or not is_own(waiter, holder))
      if not holder and head(queue) ~= waiter.name then
        is_kept, waiter.behind = true, queue
      end
      if is_kept then
        if waiter.looked and waiter.at ~= first then
          redis.call('HSET', waiter.name, 'kept', waiter.at .. ' ' .. waiter.looked .. ' ' .. waiter.count)
        end
        return false
      end
      waiter.at, waiter.left_to_see = waiter.at % waiter.count + 1, waiter.left_to_see - 1
    end
    read_all(waiter)
    return true
  end

  -- For how many ms the locks are to be left free before they are passed on once more; 0: not at all.
  function q.pause_of(queues)
    local now, pause, due, rested = now_us(), 0, {}, {}
    for _, queue in ipairs(queues) do
      local _, marks = head(queue)
      local gap_ms = (marks.old or 0) > now and OLD_GAP_MS or GAP_MS
      -- A mark from beyond is of before the clock was set back.
      if marks.gap and marks.gap > now and marks.gap <= now + OLD_GAP_MS * 1000 then
        pause = math.max(pause, math.ceil((marks.gap - now) / 1000))
      elseif not marks.since or marks.since > now then
        rested[#rested + 1] = queue
      elseif now - marks.since >= REIGN_US then
        due[queue] = gap_ms
      end
    end
    for queue, ms in pairs(due) do
      set_mark(queue, -1, 'gap', now + ms * 1000)
      pause = math.max(pause, ms)
    end
    if pause == 0 then
      for _, queue in ipairs(rested) do
        set_mark(queue, -1, 'since', now)
      end
    end
    return pause
  end

  -- The waiter has CLAIM_MS to claim its locks, or what is left of that where they were released before it did. It keeps
  -- its places until then.
  local function grant(waiter)
    local until_us = math.min(tonumber(waiter.granted) or math.huge, now_us() + CLAIM_MS * 1000)
    local ends_at = math.max(math.ceil(until_us / 1000), math.floor(now_us() / 1000) + 1)
    ends_at = string.format('%.0f', ends_at)
    for _, queue in ipairs(waiter) do
      local lock, attempt = lock_of(queue), attempt_of(waiter.name)
      if redis.call('EXISTS', lock) == 0 then
        if waiter.owner == '' then
          redis.call('SET', lock, attempt .. '#0', 'PXAT', ends_at)
        else
          redis.call('SET', lock, waiter.owner, 'PXAT', ends_at)
          redis.call('SET', record_of(queue), attempt .. ' 0', 'PXAT', ends_at)
        end
      end
    end
    redis.call('HSET', waiter.name, 'granted', string.format('%.0f', until_us))
    waiter.has_it = true
  end

  -- What becomes of the first waiter of a free lock. False: it is gone.
  local function serve(waiter)
    if waiter.name == me then
      if may_have(waiter) then
        q.pause = q.pause_of(waiter)
        q.granted = q.pause == 0
      end
      return true
    end
    if waiter.granted ~= '' and tonumber(waiter.granted) <= now_us() then
      -- Its claim has lapsed: its process is frozen, whatever else it waits for.
      gone[waiter.inbox] = waiter.inbox ~= ''
      -- Others of that process, which were there until now, are gone as well.
      seen = {}
      return false
    end
    if not listens(waiter.inbox) then
      return false
    end
    if not may_have(waiter) then
      -- Others shall not wait for a free lock behind one that is frozen. A poll from beyond is of before the clock was set
      -- back.
      local silent_us = now_us() - (tonumber(waiter.polled) or 0)
      return silent_us >= 0 and silent_us < STALE_US
    end
    local pause = q.pause_of(waiter)
    if pause > 0 then
      say(waiter.inbox, 'look', waiter.name, pause)
    else
      say(waiter.inbox, 'granted', waiter.name)
      grant(waiter)
    end
    return true
  end

  -- Looks at the first waiter of each of these queues whose lock is free, until nobody is left who could have what is
  -- free. Those that are gone leave all their queues, which are then looked at too.
  function q.hand_over(queues)
    -- `refused`: waiters of named owners that could not have their locks when they were looked at.
    local work, noted, refused = {}, {}, {}
    local function note(more_queues)
      for _, queue in ipairs(more_queues) do
        if not noted[queue] then
          noted[queue] = true
          work[#work + 1] = queue
        end
      end
    end
    note(queues)
    -- Ends by itself. If ever it would not, the server must not stop for it: polls do the rest.
    for _ = 1, ROUNDS_MAX do
      local queue = table.remove(work)
      if not queue then
        return
      end
      noted[queue] = nil
      local name = head(queue)
      local is_due = fresh[queue] or not seen[name]
      fresh[queue] = nil
      if not name then
        tidy(queue)
      elseif is_due and redis.call('EXISTS', lock_of(queue)) == 0 then
        local waiter = read(name)
        if not waiter then
          redis.call('ZREM', queue, name)
          fresh[queue] = true
          note({ queue })
        elseif not serve(waiter) then
          read_all(waiter)
          leave(name, waiter)
          note(waiter)
        elseif waiter.owner ~= '' and waiter.has_it then
          -- Others of the same owner may now have what they were refused.
          seen[name] = true
          for other, its in pairs(refused) do
            if its.owner == waiter.owner or waiter.owner == '*' then
              seen[other], refused[other] = nil, nil
              note({ its.refused_in })
            end
          end
        else
          seen[name] = true
          if waiter.owner ~= '' then
            refused[name], waiter.refused_in = waiter, queue
          end
          -- It may stand behind one that is gone in a queue that nobody else would look at. When that one leaves, it is looked
          -- at again, and may stand behind the next one.
          if waiter.behind then
            note({ waiter.behind })
          end
        end
      elseif left[queue] then
        -- Whoever knew when the lock lapses is not next any more.
        left[queue] = nil
        local ms = redis.call('PTTL', lock_of(queue))
        warn(queue, ms == 0 and 1 or ms)
      end
    end
  end

  -- Nobody waits in any of these queues.
  function q.are_empty(queues)
    for _, queue in ipairs(queues) do
      if head(queue) then
        return false
      end
    end
    return true
  end

  -- Puts `me` into its queues, at the ticket that it has, or had, or at a new one.
  function q.enter(queues, place, new_ticket, owner, open, inbox)
    local known = redis.call('HGET', me, 'ticket')
    local ticket = known or (place ~= '0' and place) or new_ticket()
    listed.add(queues, KEEP_MS)
    local fields = { 'inbox', inbox, 'granted', '', 'polled', string.format('%.0f', now_us()) }
    if not known then
      listed.drop_expired()
      for name, value in pairs({ ticket = ticket, owner = owner, open = open }) do
        fields[#fields + 1] = name
        fields[#fields + 1] = value
      end
      for i, queue in ipairs(queues) do
        fields[#fields + 1] = i
        fields[#fields + 1] = queue
      end
    end
    in_parts(fields, 1, #fields, function(...)
      redis.call('HSET', me, ...)
    end)
    redis.call('PEXPIRE', me, KEEP_MS)
    for _, queue in ipairs(queues) do
      redis.call('ZADD', queue, ticket, me)
      redis.call('PEXPIRE', queue, KEEP_MS)
    end
    return ticket
  end

  -- The token of a lock's grant; '0': it is handed over and not claimed. Nil: a node that knows no queue holds it, which says
  -- neither when it took it nor when it releases it.
  local function token_of(holder, queue)
    local token = string.match(holder, '^execute:.*#(%d+)$')
    if token then
      return token
    end
    -- A record that ends at another time than the lock is of a lock before it. The clock goes on while a script runs.
    local ms, record_ms = redis.call('PTTL', lock_of(queue)), redis.call('PTTL', record_of(queue))
    if record_ms ~= -2 and (ms < 0 or (record_ms <= ms and record_ms >= redis.call('PTTL', lock_of(queue)))) then
      return string.match(redis.call('GET', record_of(queue)) or '', '^%S+ (%d+)') or '0'
    end
  end

  -- Such a node holds the lock, and `me` is next.
  local function note_old(queue)
    local _, marks = head(queue)
    if (marks.old or 0) < now_us() + OLD_US / 2 then
      set_mark(queue, -2, 'old', now_us() + OLD_US)
    end
    redis.call('ZREMRANGEBYSCORE', queue, -1, -1)
  end

  -- Since when (us) `waiter` has found the same lock of such a node. Two of nobody differ by when they end.
  local function seen_since(waiter, holder, queue)
    local ends_ms = holder == '*' and redis.call('PTTL', lock_of(queue)) or -1
    ends_ms = ends_ms < 0 and -1 or ends_ms + math.floor(now_us() / 1000)
    local before_ms, since, before = string.match(redis.call('HGET', waiter.name, queue) or '', '^(%S+) (%S+) (.*)$')
    if before == holder and math.abs(before_ms - ends_ms) <= SAME_END_MS then
      return tonumber(since)
    end
    local seen = string.format('%.0f %.0f %s', ends_ms, now_us(), holder)
    redis.call('HSET', waiter.name, queue, seen)
    return now_us()
  end

  -- Since when (us) a lock that is held against `waiter` has been its holder's.
  local function held_since(waiter, holder, queue, token)
    local since = token and tonumber(token) or seen_since(waiter, holder, queue)
    -- Token 0 has just been handed over.
    return since > 0 and math.min(since, now_us()) or now_us()
  end

  -- The same of all locks that are held against the waiter of this name: the earliest, for one that stays is what counts. Of many
  -- locks the one that kept it.
  local function all_held_since(name)
    local waiter, oldest = read(name), now_us()
    if not waiter then
      return oldest
    end
    local queues = waiter
    if waiter.count then
      queues = { queue_at(waiter, waiter.at) or nil }
    else
      read_all(waiter)
    end
    for _, queue in ipairs(queues) do
      local holder = redis.pcall('GET', lock_of(queue))
      if type(holder) == 'string' and not is_own(waiter, holder) then
        oldest = math.min(oldest, held_since(waiter, holder, queue, token_of(holder, queue)))
      end
    end
    return oldest
  end

  -- The reply to `me`, which waits: which lock keeps it, when to look again because that may lapse (ms; -1: no telling),
  -- its ticket, whether a silent node holds what it waits for, and for how long (ms) what keeps it has not changed hands.
  -- `waiter`: what is known of `me`, if it has been read.
  function q.wait_reply(queues, ticket, waiter)
    waiter = waiter or read(me)
    local index, look, silent = nil, q.pause > 0 and q.pause or -1, 0
    local oldest, firsts = now_us(), {}
    for i, queue in ipairs(queues) do
      local lock = lock_of(queue)
      local holder = redis.pcall('GET', lock)
      if holder and not (type(holder) == 'string' and is_own(waiter, holder)) then
        index = index or i
        local is_next = next_of(queue) == me
        if is_next then
          local ms = redis.call('PTTL', lock)
          look = math.max(look, ms < 0 and math.huge or ms)
        end
        if type(holder) == 'string' then
          local token = token_of(holder, queue)
          if is_next and not token then
            silent = 1
            note_old(queue)
          end
          oldest = math.min(oldest, held_since(waiter, holder, queue, token))
        end
      elseif not holder then
        -- Who is first for a free lock waits for others of its own.
        local first = head(queue)
        if first and first ~= me and not firsts[first] then
          firsts[first] = true
          oldest = math.min(oldest, all_held_since(first))
        end
      end
    end
    local held_ms = math.floor((now_us() - oldest) / 1000)
    return { index or 1, look == math.huge and -1 or look, tonumber(ticket), silent, held_ms }
  end

  -- `me` has its locks for `ms`, as `owner` ('' for a job): it leaves its queues. Whoever comes next is told if they may
  -- lapse before it looks, or if it is of the same owner.
  function q.served(queues, ms, owner)
    if redis.call('DEL', me) == 1 then
      for _, queue in ipairs(queues) do
        redis.call('ZREM', queue, me)
      end
    end
    for _, queue in ipairs(queues) do
      local name = head(queue)
      if name then
        if owner ~= '' and redis.call('HGET', name, 'owner') == owner then
          say(redis.call('HGET', name, 'inbox'), 'look', name, 0)
        else
          warn(queue, ms)
        end
      elseif followed[queue] then
        listed.prolong(queue, KEEP_MS)
      else
        listed.drop(queue)
      end
    end
  end

  -- Locks that nobody waits for have been released: they are passed on to those who follow.
  function q.begin_passing()
    listed.drop_expired()
    q.pause_of(queues)
    for _, queue in ipairs(queues) do
      tidy(queue)
    end
  end

  -- `me` has gone.
  function q.leave(queues)
    leave(me, queues)
  end

  return q
end
