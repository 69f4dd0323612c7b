-- Gives back what a job's attempt took, if it took anything.
-- KEYS  1..n  the locks
-- ARGV  1  the job: its owner id without the token
-- Reply  1
local job = ARGV[1] .. '#'
for i = 1, #KEYS do
  local holder = redis.pcall('GET', KEYS[i])
  if type(holder) == 'string' and string.sub(holder, 1, #job) == job then
    redis.call('DEL', KEYS[i])
  end
end
return 1
