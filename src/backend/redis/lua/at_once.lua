-- Part of every script that names all locks of a call in one command.
--
-- What Lua unpacks goes on its stack, which takes less than 8,000 values; a lock that is set with its record takes four of
-- them. Calls for more locks than this go on in parts, or lock by lock.
local AT_ONCE_MAX = 1000
