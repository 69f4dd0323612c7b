-- Part of every script that looks at queues: the list of all that there are.
--
-- A sorted set of their names, each by the ms at which it expires at the latest. A queue is listed for as long as it is
-- there, and the list does not end before its queues: where it is not there, nobody waits for anything.

-- How long a queue lives after whoever waits in it has asked.
local KEEP_MS = 60000

-- Whether nobody waits for the first `count` of `keys`, which are locks and behind which the list comes. Whoever waits stands in
-- its queues, so it takes no look at waiters.
local function nobody_waits(keys, count, tags)
  return redis.call('EXISTS', keys[count + 1]) == 0 or not is_any_there(queues_of(keys, count, tags), count)
end

-- Whether nobody holds them either.
local function are_free(keys, count, tags)
  return not is_any_there(keys, count) and nobody_waits(keys, count, tags)
end

-- The list as a script changes it; `now_us` answers the server's time.
local function open_list(list, now_us)
  -- The clock may go on while a script runs: what is listed must not end first.
  local SLACK_MS = 5000
  local listed = {}

  -- Lists these queues, which will live for `ms` from now on.
  function listed.add(queues, ms)
    local live_ms = ms + SLACK_MS
    local entries, ends_at = {}, string.format('%.0f', now_us() / 1000 + live_ms)
    for i, queue in ipairs(queues) do
      entries[2 * i - 1], entries[2 * i] = ends_at, queue
    end
    in_parts(entries, 1, #entries, function(...)
      redis.call('ZADD', list, 'GT', ...)
    end)
    -- No queue is listed for longer than that.
    if ms == KEEP_MS or redis.call('PTTL', list) < live_ms then
      redis.call('PEXPIRE', list, live_ms)
    end
  end

  -- Has a queue live for `ms` from now on, if it is there.
  function listed.prolong(queue, ms)
    if redis.call('PEXPIRE', queue, ms) == 1 then
      listed.add({ queue }, ms)
    else
      -- Whoever was the last one in it has just left it.
      redis.call('ZREM', list, queue)
    end
  end

  -- What is left of a queue, if anything is, is of no use to anybody.
  function listed.drop(queue)
    redis.call('DEL', queue)
    redis.call('ZREM', list, queue)
  end

  -- Of queues that have expired by themselves.
  function listed.drop_expired()
    redis.call('ZREMRANGEBYSCORE', list, '-inf', string.format('%.0f', now_us() / 1000))
  end

  return listed
end
