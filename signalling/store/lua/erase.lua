-- SPDX-License-Identifier: Apache-2.0
-- Destroy an owner's content and key; an empty key stays behind as the tombstone that append.lua looks for.
--
-- KEYS: the owner's key, the owner's content. Returns 1 if there was a key, else 0.

local wrapped = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], '')
if wrapped and wrapped ~= '' then
  return 1
end
return 0
