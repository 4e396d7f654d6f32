-- SPDX-License-Identifier: Apache-2.0
-- Take a lease that is free or expired, or extend the owner's own. Redis's clock lets it expire.
--
-- KEYS: the lease, the fencing counter (one for all names, so it outlives every lease). ARGV: owner, time to live in ms.
-- Returns the fencing token, or nil if somebody else holds the lease.

local held = redis.call('HMGET', KEYS[1], 'owner', 'token')
local token = held[2]
if held[1] and held[1] ~= ARGV[1] then
  return false
elseif not held[1] then
  token = redis.call('INCR', KEYS[2])
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', token)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return tonumber(token)
