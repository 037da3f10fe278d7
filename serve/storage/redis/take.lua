-- Generic cell rate algorithm: one timestamp per subject, by the server's own clock.
-- KEYS[1]: the subject. ARGV[1]: requests per window. ARGV[2]: window in seconds.
-- ARGV[3]: how many requests to count, all or none.
-- Returns allowed (0/1), requests left, microseconds until the reset or the next chance.
local limit, window_us = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
local now = redis.call('TIME')
local now_us = tonumber(now[1]) * 1000000 + tonumber(now[2])
local gap_us = window_us / limit
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now_us)
local next_full_at = full_at + gap_us * tonumber(ARGV[3])
local wait_us = next_full_at - window_us - now_us
if wait_us > 0 then
  return {0, 0, math.ceil(wait_us)}
end
-- %.0f: a plain number would be written with 14 digits only.
redis.call('SET', KEYS[1], string.format('%.0f', next_full_at), 'EX', tonumber(ARGV[2]) + 1)
return {1, math.floor((window_us - (next_full_at - now_us)) / gap_us + 0.000001), math.ceil(next_full_at - now_us)}
