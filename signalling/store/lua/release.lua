-- SPDX-License-Identifier: Apache-2.0
-- Give a lease back if it is still held with this token.
--
-- KEYS: the lease. ARGV: the token.

if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 0
