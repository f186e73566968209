package rediscache

import (
	"strconv"

	"github.com/redis/rueidis"
)

// The scripts change entries (see entry.go) atomically. They compare epochs and
// times by the clock of Redis, which all processes share.

// prelude starts every script. KEYS[1] is the key that the script works on.
var prelude = `
local epochSize = ` + strconv.Itoa(epochSize) + `
local epochLife, maxEntryLife = ` + milliseconds(epochLife) + `, ` + milliseconds(maxEntryLife) + `
local key = KEYS[1]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local function text(ms) return string.format('%.0f', ms) end
local function ishash() return redis.call('TYPE', key).ok == 'hash' end
-- keepfor makes an existing entry live for at least ms.
local function keepfor(ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, text(ms)) end
end
-- epoch returns the epoch of the entry. If there is no valid entry, it creates
-- one with the epoch fresh, and removes anything else under the key. The entry
-- outlives a fetch.
local function epoch(fresh)
  local kind = redis.call('TYPE', key).ok
  local e = kind == 'hash' and redis.call('HGET', key, 'e')
  if not e or #e ~= epochSize or redis.call('PTTL', key) > maxEntryLife then
    if kind ~= 'none' then redis.call('DEL', key) end
    redis.call('HSET', key, 'e', fresh)
    e = fresh
  end
  keepfor(epochLife)
  return e
end
`

var (
	// epochScript returns the epoch of an entry.
	//
	// ARGV: the epoch of the entry that the script creates if there is none.
	epochScript = rueidis.NewLuaScript(prelude + `
return epoch(ARGV[1])
`)

	// setScript stores a token and ends the claim of its fetch, if the entry
	// still has the given epoch. It returns 1 if it stored the token, and 0
	// otherwise. Its cost does not depend on the number of tokens: it looks at
	// a few random fields, and removes those that have expired. That is more
	// than one, so that their number shrinks.
	//
	// ARGV: epoch, token's field, claim's field, encrypted token, expiry.
	setScript = rueidis.NewLuaScript(prelude + `
if not ishash() or redis.call('HGET', key, 'e') ~= ARGV[1] then return 0 end
redis.call('HDEL', key, ARGV[2], ARGV[3])
local expiry, first, firstat = tonumber(ARGV[5]), nil, nil
if expiry <= now then return 0 end
local fields = redis.call('HRANDFIELD', key, 8, 'WITHVALUES')
for i = 1, #fields, 2 do
  local kind, at = string.sub(fields[i], 1, 1), nil
  if kind == 't' then at = string.match(fields[i + 1], '^(%d+):') end
  if kind == 'c' then at = string.match(fields[i + 1], ':(%d+)$') end
  at = tonumber(at or '') or 0
  if (kind == 't' or kind == 'c') and at <= now then
    redis.call('HDEL', key, fields[i])
  elseif kind == 't' and (not first or at < firstat) then
    first, firstat = fields[i], at
  end
end
if first and redis.call('HLEN', key) > ` + strconv.Itoa(maxTokensPerUser) + ` then redis.call('HDEL', key, first) end
redis.call('HSET', key, ARGV[2], ARGV[5] .. ':' .. ARGV[4])
keepfor(expiry - now)
return 1
`)

	// claimScript claims a fetch, and returns 0. If another process holds the
	// claim, it returns the rest of that claim in ms.
	//
	// ARGV: the epoch of the entry that the script creates if there is none,
	// claim's field, holder, life of the claim in ms.
	claimScript = rueidis.NewLuaScript(prelude + `
if ishash() then
  local till = tonumber(string.match(redis.call('HGET', key, ARGV[2]) or '', ':(%d+)$') or '') or 0
  -- Ignore a claim that is longer than any process asks for.
  if till > now and till <= now + ARGV[4] then return till - now end
end
epoch(ARGV[1])
redis.call('HSET', key, ARGV[2], ARGV[3] .. ':' .. text(now + ARGV[4]))
return 0
`)

	// extendClaimScript extends a claim, if holder still holds it.
	//
	// ARGV: claim's field, holder, life of the claim from now in ms; 0 ends it.
	extendClaimScript = rueidis.NewLuaScript(prelude + `
if not ishash() or string.match(redis.call('HGET', key, ARGV[1]) or '', '^(.*):') ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then return redis.call('HDEL', key, ARGV[1]) end
return redis.call('HSET', key, ARGV[1], ARGV[2] .. ':' .. text(now + ARGV[3]))
`)

	// allowRenewalScript counts a renewal with the generic cell rate algorithm
	// (GCRA). It returns 0 if the renewal is allowed, and otherwise the time
	// until the next one is, in ms. The key is a string, not an entry: the time
	// at which the user has the whole burst again.
	//
	// ARGV: interval in ms, burst.
	allowRenewalScript = rueidis.NewLuaScript(prelude + `
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local kind = redis.call('TYPE', key).ok
if kind ~= 'string' and kind ~= 'none' then redis.call('DEL', key) end
local full = tonumber(string.match(redis.call('GET', key) or '', '^%d+$') or '') or 0
full = math.min(math.max(full, now), now + burst * interval)
local wait = full + interval - burst * interval - now
if wait > 0 then return wait end
redis.call('SET', key, text(full + interval), 'PX', text(full + interval - now))
return 0
`)
)
