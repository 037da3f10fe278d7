-- Appends entries to streams, all in one round trip and all visible at once.
-- KEYS[i]: stream of entry i.
-- ARGV[1]: most entries a stream keeps. ARGV[2]: its safety lifetime in seconds.
-- ARGV[3]: '1' when an earlier attempt may have been carried out: equal entries are then ours.
-- ARGV[2i+2], ARGV[2i+3]: id and payload of entry i.
-- Returns the indexes of entries whose place was taken; later ones of that stream are left out.
local refused = {}
local dead = {}
for i = 1, #KEYS do
  local key, id, payload = KEYS[i], ARGV[2 * i + 2], ARGV[2 * i + 3]
  if not dead[key] then
    local added = redis.pcall('XADD', key, 'MAXLEN', '~', ARGV[1], id, 'e', payload)
    if type(added) == 'table' and added.err then
      if not string.find(added.err, 'equal or smaller', 1, true) then
        return added
      end
      local there = ARGV[3] == '1' and redis.call('XRANGE', key, id, id) or {}
      if not (there[1] and there[1][2][2] == payload) then
        dead[key] = true
        refused[#refused + 1] = i
      end
    end
    -- Refreshing at some entries is enough; the first one of a stream always ends in '1-0'.
    if string.find(id, '1-0', -3, true) or redis.call('TTL', key) == -1 then
      redis.call('EXPIRE', key, ARGV[2])
    end
  end
end
return refused
