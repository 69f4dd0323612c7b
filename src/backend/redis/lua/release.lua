-- Goes on where release_now.lua ends: somebody waits for some lock, or others of this process come right behind.
local queues = {}
for at, i in ipairs(its) do
  queues[at] = queue_of(KEYS[i], ARGV[5], i)
end
if is_list_there and is_any_there(queues, #queues) then
  open_queues(list, '', queues, more).hand_over(queues)
elseif more then
  open_queues(list, '', queues, true).begin_passing()
end
return count == locks and 1 or 0
