-- Releases the locks that an owner holds. Whoever waits for them gets them: they are never free while somebody live is
-- entitled to them.
-- KEYS  1..n  the locks, n + 1  the list of queues, n + 2..2n + 1  their records, or none for a job
-- ARGV  1  n, 2  owner id, 3  '1': a lock without an owner is open to all; '2': only those without an owner that these
--       attempts took, which come in place of the owner id (see given.lua), 4  '1': others of this process wait for them,
--       5  the locks' tags
-- Reply  1: it held all of them; 0: not all, those that it held are released
local locks, owner, open, more = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', ARGV[4] == '1'
local list = KEYS[locks + 1]
local holders
if locks == 1 then
  holders = { redis.pcall('GET', KEYS[1]) }
elseif locks > AT_ONCE_MAX then
  holders = {}
  for i = 1, locks do
    holders[i] = redis.pcall('GET', KEYS[i])
  end
else
  holders = redis.call('MGET', unpack(KEYS, 1, locks))
end
local attempts = ARGV[3] == '2' and attempts_of(owner, locks)
-- Those of them that it holds.
local its, count = {}, 0
for i = 1, locks do
  local is_its = holders[i] == owner or (open and holders[i] == '*')
  if attempts then
    is_its = holders[i] == '*' and is_given(KEYS[i], KEYS[locks + 1 + i], attempts[i])
  end
  if is_its then
    count = count + 1
    its[count] = i
  end
end
if count == 0 then
  return 0
end
if count == locks and #KEYS == locks + 1 and locks <= AT_ONCE_MAX then
  redis.call('DEL', unpack(KEYS, 1, locks))
else
  local freed = {}
  for _, i in ipairs(its) do
    freed[#freed + 1] = KEYS[i]
    freed[#freed + 1] = KEYS[locks + 1 + i]
  end
  if count <= AT_ONCE_MAX then
    redis.call('DEL', unpack(freed))
  else
    for _, key in ipairs(freed) do
      redis.call('DEL', key)
    end
  end
end
local is_list_there = redis.call('EXISTS', list) == 1
if not is_list_there and not more then
  return count == locks and 1 or 0
end
