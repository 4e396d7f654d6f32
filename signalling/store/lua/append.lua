-- SPDX-License-Identifier: Apache-2.0
-- Add events to one or two streams, with content, all or nothing.
--
-- KEYS: head, log, due; the list of each stream; then for each owner its key and its content.
-- ARGV: log length, number of streams;
--       for each stream: name, expected version, due time or '', number of events, the events;
--       for each owner: wrapped key, number of items, then id and sealed body of each.
-- Returns the position of the last event, or a refusal:
--       {'conflict', stream index, version found}, {'erased', owner index}, {'key', owner index, wrapped key found}.
-- Everything is checked before the first write: Redis does not roll back.

local streams = tonumber(ARGV[2])
local at = 3
for i = 1, streams do
  local version = redis.call('LLEN', KEYS[3 + i])
  if version ~= tonumber(ARGV[at + 1]) then
    return {'conflict', i - 1, version}
  end
  at = at + 4 + tonumber(ARGV[at + 3])
end

local owners = (#KEYS - 3 - streams) / 2
local owners_at = at
for i = 1, owners do
  local wrapped = redis.call('GET', KEYS[3 + streams + 2 * i - 1])
  if wrapped == '' then
    return {'erased', i - 1}
  elseif wrapped and wrapped ~= ARGV[at] then
    return {'key', i - 1, wrapped}
  end
  at = at + 2 + 2 * tonumber(ARGV[at + 1])
end

at = 3
local added = 0
for i = 1, streams do
  added = added + tonumber(ARGV[at + 3])
  at = at + 4 + tonumber(ARGV[at + 3])
end

local position
if added > 0 then
  position = redis.call('INCRBY', KEYS[1], added) - added
else
  position = tonumber(redis.call('GET', KEYS[1]) or 0)
end

at = 3
for i = 1, streams do
  local name, version, due = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  for j = at + 4, at + 3 + tonumber(ARGV[at + 3]) do
    position = position + 1
    version = version + 1
    local place = string.format('%.0f', position)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], place .. '-0',
      's', name, 'v', version, 'd', ARGV[j])
    redis.call('RPUSH', KEYS[3 + i], place .. ':' .. ARGV[j])
  end
  if due == '' then
    redis.call('ZREM', KEYS[3], name)
  else
    redis.call('ZADD', KEYS[3], due, name)
  end
  at = at + 4 + tonumber(ARGV[at + 3])
end

at = owners_at
for i = 1, owners do
  local key = KEYS[3 + streams + 2 * i - 1]
  local content = KEYS[3 + streams + 2 * i]
  redis.call('SET', key, ARGV[at])
  for j = at + 2, at + 1 + 2 * tonumber(ARGV[at + 1]), 2 do
    redis.call('HSET', content, ARGV[j], ARGV[j + 1])
  end
  at = at + 2 + 2 * tonumber(ARGV[at + 1])
end

return position
