-- SPDX-License-Identifier: Apache-2.0
-- Extend leases that are still held with the same token.
--
-- KEYS: the leases. ARGV: time to live in ms, then the token of each. Returns the indexes of those that were lost.

local lost = {}
for i = 1, #KEYS do
  if redis.call('HGET', KEYS[i], 'token') == ARGV[i + 1] then
    redis.call('PEXPIRE', KEYS[i], ARGV[1])
  else
    lost[#lost + 1] = i - 1
  end
end
return lost
