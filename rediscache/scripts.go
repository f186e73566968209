package rediscache

import "github.com/redis/rueidis"

// A user's entry is a hash with the fields
//
//	e            its epoch, 8 random bytes
//	x            when the entry expires
//	t and grant  "time:sealed token", the time being that of the token's expiry
//	c and grant  "holder:time" of a claim, until when it holds
//
// Times are milliseconds of Redis's clock. As one key, it changes at once, lives in
// one node of a cluster, and goes with all that is in it.

// scriptBegin begins each script.
const scriptBegin = `
local key = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function text(ms) return string.format('%.0f', ms) end
-- When the entry expires: 0, unless that is a time within what a process keeps.
local function expiry()
  local x = tonumber(redis.call('HGET', key, 'x') or '') or 0
  if x > 0 and x <= now + 172800000 then return x end
  return 0
end
-- The entry, which is there, lives until at, or for longer.
local function keep(at)
  at = math.max(at, expiry())
  redis.call('HSET', key, 'x', text(at))
  redis.call('PEXPIREAT', key, text(at))
end
local function ishash() return redis.call('TYPE', key).ok == 'hash' end
-- The epoch. Where there is none, or something else than an entry, one begins. It
-- lives for longer than a fetch.
local function epoch(fresh)
  local kind = redis.call('TYPE', key).ok
  local e = kind == 'hash' and redis.call('HGET', key, 'e')
  if not e or #e ~= 8 or expiry() == 0 then
    if kind ~= 'none' then redis.call('DEL', key) end
    redis.call('HSET', key, 'e', fresh)
    e = fresh
  end
  keep(now + 60000)
  return e
end
`

var (
	// ARGV: a fresh epoch. Returns the epoch.
	beginScript = rueidis.NewLuaScript(scriptBegin + `
return epoch(ARGV[1])
`)

	// ARGV: epoch, token's field, claim's field, sealed token, its remaining life,
	// how many tokens a user has at most. Returns whether it was kept.
	setScript = rueidis.NewLuaScript(scriptBegin + `
if not ishash() or redis.call('HGET', key, 'e') ~= ARGV[1] then return 0 end
redis.call('HDEL', key, ARGV[2], ARGV[3])
local life, others, first, firstat = tonumber(ARGV[5]), 0, nil, nil
if life <= 0 then return 0 end
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  local kind, at = string.sub(fields[i], 1, 1), nil
  if kind == 't' then at = string.match(fields[i + 1], '^(%d+):') end
  if kind == 'c' then at = string.match(fields[i + 1], ':(%d+)$') end
  at = tonumber(at or '') or 0
  if (kind == 't' or kind == 'c') and at <= now then
    redis.call('HDEL', key, fields[i])
  elseif kind == 't' then
    others = others + 1
    if not first or at < firstat then first, firstat = fields[i], at end
  end
end
if others >= tonumber(ARGV[6]) then redis.call('HDEL', key, first) end
redis.call('HSET', key, ARGV[2], text(now + life) .. ':' .. ARGV[4])
keep(now + life)
return 1
`)

	// ARGV: a fresh epoch, claim's field, holder, how long it holds. Returns 0, or
	// for how long another's holds.
	claimScript = rueidis.NewLuaScript(scriptBegin + `
if ishash() then
  local till = tonumber(string.match(redis.call('HGET', key, ARGV[2]) or '', ':(%d+)$') or '') or 0
  -- No claim holds for longer than it is asked for.
  if till > now and till <= now + ARGV[4] then return till - now end
end
epoch(ARGV[1])
redis.call('HSET', key, ARGV[2], ARGV[3] .. ':' .. text(now + ARGV[4]))
return 0
`)

	// ARGV: claim's field, holder, how long it holds from now on; 0 ends it.
	holdScript = rueidis.NewLuaScript(scriptBegin + `
if not ishash() or string.match(redis.call('HGET', key, ARGV[1]) or '', '^(.*):') ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then return redis.call('HDEL', key, ARGV[1]) end
return redis.call('HSET', key, ARGV[1], ARGV[2] .. ':' .. text(now + ARGV[3]))
`)

	// ARGV: interval, burst. Returns how long to wait. The key, which is not an
	// entry, holds when the user has the whole burst again (GCRA).
	renewalScript = rueidis.NewLuaScript(scriptBegin + `
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kind = redis.call('TYPE', key).ok
if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', key) end
local at = tonumber(redis.call('GET', key) or '') or 0
at = math.min(math.max(at, now), now + burst * interval)
local wait = at + interval - burst * interval - now
if wait > 0 then return wait end
redis.call('SET', key, text(at + interval), 'PX', text(at + interval - now))
return 0
`)
)
