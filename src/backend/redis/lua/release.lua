-- Releases the locks that an owner holds. Whoever waits for them gets them: they are never free while somebody live is
-- entitled to them.
-- KEYS  1..n  the locks, n + 1..2n  their queues, then their records, or none for a job
-- ARGV  1  n, 2  owner id, 3  '1': a lock without an owner is open to all, 4  '1': others of this process wait for them
-- Reply  1: it held all of them; 0: not all, those that it held are released
local locks, owner, open, more = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', ARGV[4] == '1'
local holders
if locks == 1 then
  holders = { redis.pcall('GET', KEYS[1]) }
else
  holders = redis.call('MGET', unpack(KEYS, 1, locks))
end
local freed, queues, all = {}, {}, 1
for i = 1, locks do
  if holders[i] == owner or (open and holders[i] == '*') then
    freed[#freed + 1] = KEYS[i]
    freed[#freed + 1] = KEYS[2 * locks + i]
    queues[#queues + 1] = KEYS[locks + i]
  else
    all = 0
  end
end
if #queues > 0 then
  redis.call('DEL', unpack(freed))
  if redis.call('EXISTS', unpack(queues)) > 0 then
    open_queues('', queues, more).hand_over(queues)
  elseif more then
    open_queues('', queues, true).begin_passing()
  end
end
return all
