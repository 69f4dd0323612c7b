-- Part of the scripts that cancel.

-- The attempt leaves the queues of `locks`, and these are handed over. It looks at them whatever is in the list: an attempt
-- that has ended must not be handed anything.
local function leave_queues(list, locks, count, tags, attempt)
  local queues = queues_of(locks, count, tags)
  local me = waiter_of(queues[1], attempt)
  if redis.call('EXISTS', me) == 1 or is_any_there(queues, count) then
    local q = open_queues(list, me, queues, false)
    q.leave(queues)
    q.hand_over(queues)
  end
end
