package rediscache_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// restOfLife returns the rest of the life of the only key in Redis.
func restOfLife(t *testing.T, admin rueidis.Client) time.Duration {
	t.Helper()
	ms, err := do(t, admin, "PTTL", onlyKey(t, admin)).AsInt64()
	if err != nil || ms < 0 {
		t.Fatalf("PTTL: %d, error %v", ms, err)
	}
	return (time.Duration(ms) * time.Millisecond).Round(10 * time.Second)
}

func TestEntryLivesAsLongAsItsLongestToken(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)

	cached(t, c, testKey("ann", ""))
	if got := restOfLife(t, admin); got != time.Minute {
		t.Errorf("an entry without a token lives for %v, want 1m", got)
	}
	mustSet(t, c, testKey("ann", "long"), newToken("long", 24*time.Hour))
	mustSet(t, c, testKey("ann", "short"), newToken("short", time.Hour))
	if got := restOfLife(t, admin); got != 24*time.Hour {
		t.Errorf("the entry lives for %v, want 24h", got)
	}
}

func TestSetRemovesExpiredTokens(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	long, brief := testKey("ann", "long"), testKey("ann", "brief")

	mustSet(t, c, long, newToken("long", time.Hour))
	mustSet(t, c, brief, newToken("brief", 50*time.Millisecond))
	redisserver.Eventually(t, "the brief token expires", func() bool { return cached(t, c, brief) == "" })
	mustSet(t, c, testKey("ann", "other"), newToken("other", time.Hour))
	if got := tokenFields(t, admin, onlyKey(t, admin)); len(got) != 2 {
		t.Errorf("%d tokens, want the two that have not expired", len(got))
	}

	_, epoch, err := c.Get(t.Context(), long)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := c.Set(t.Context(), long, newToken("expired", -time.Second), epoch); kept || err != nil {
		t.Errorf("Set of an expired token: kept %v, error %v", kept, err)
	}
	if got := cached(t, c, long); got != "" {
		t.Errorf("after Set of an expired token, Get returned %q", got)
	}
}

// addFields adds n token fields to an entry, without rediscache.
func addFields(t *testing.T, admin rueidis.Client, entry string, n int, expiry time.Time) {
	t.Helper()
	do(t, admin, "EVAL", `for i = 1, ARGV[1] do
		redis.call('HSET', KEYS[1], 't' .. i, ARGV[2] .. ':' .. string.rep('x', 1000))
	end`, "1", entry, strconv.Itoa(n), strconv.FormatInt(expiry.UnixMilli(), 10))
}

func TestSetBoundsTheTokensOfAUser(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	const max, more = 4000, 20
	key := func(i int) searchtoken.Key { return testKey("ann", strconv.Itoa(i)) }
	mustSet(t, c, key(0), newToken("secret", 2*time.Hour))
	addFields(t, admin, onlyKey(t, admin), max-1, time.Now().Add(time.Hour))
	for i := 1; i <= more; i++ {
		mustSet(t, c, key(i), newToken("secret", 2*time.Hour))
	}
	if got := len(tokenFields(t, admin, onlyKey(t, admin))); got != max {
		t.Errorf("%d tokens of one user, want %d", got, max)
	}
	for i := range more + 1 {
		if cached(t, c, key(i)) == "" {
			t.Errorf("token %d was removed, although others expire before", i)
		}
	}
}

func TestExpiredTokensDoNotAccumulate(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	mustSet(t, c, testKey("ann", ""), newToken("secret", time.Hour))
	addFields(t, admin, onlyKey(t, admin), 100, time.Now().Add(-time.Second))
	for i := range 100 {
		mustSet(t, c, testKey("ann", strconv.Itoa(i)), newToken("secret", time.Hour))
	}
	if got := len(tokenFields(t, admin, onlyKey(t, admin))); got > 110 {
		t.Errorf("%d tokens, want 101 and a few that have expired", got)
	}
}

// setAll stores a token for each of n grants of one user, and returns the time
// that Redis needs for one of them.
func setAll(t *testing.T, redis *redisserver.Server, admin rueidis.Client, c *rediscache.Cache, n int) time.Duration {
	t.Helper()
	redis.Do("CONFIG", "SET", "slowlog-log-slower-than", "0")
	for i := range n {
		mustSet(t, c, testKey("ann", strconv.Itoa(i)), newToken(strings.Repeat("t", tokenSize), time.Hour))
	}
	redis.Do("CONFIG", "SET", "slowlog-log-slower-than", "-1")
	commands, err := do(t, admin, "SLOWLOG", "GET", "-1").ToArray() // the latest first
	if err != nil {
		t.Fatal(err)
	}
	var costs []int64 // in microseconds
	for _, command := range commands {
		fields, err := command.ToArray()
		if err != nil {
			t.Fatal(err)
		}
		cost, _ := fields[2].AsInt64()
		args, _ := fields[3].AsStrSlice()
		if args[0] == "EVALSHA" && len(args) >= 9 { // no other script has as many arguments as Set's
			costs = append(costs, cost)
		}
	}
	slices.Sort(costs)
	return time.Duration(costs[len(costs)/2]) * time.Microsecond
}

func TestUserMayHaveManyGrants(t *testing.T) {
	redis := redisserver.Start(t, "--slowlog-max-len", "100") // about 30 Sets
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	const few, many = 40, 1000
	fewCost := setAll(t, redis, admin, c, few)
	manyCost := setAll(t, redis, admin, c, many)
	if manyCost > 10*fewCost {
		t.Errorf("Redis needs %v for a Set with %d tokens, and %v with %d", manyCost, many, fewCost, few)
	}
	missing := 0
	for i := range many {
		if cached(t, c, testKey("ann", strconv.Itoa(i))) == "" {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d tokens are missing", missing, many)
	}
	t.Logf("%v for a Set with %d tokens, %v with %d", manyCost, many, fewCost, few)
}

// Anything may stand under a key: it costs no error, is not returned as a
// token, and is replaced by the next token.
func TestMalformedEntriesCountAsMissing(t *testing.T) {
	type entry struct{ key, token, claim, value string } // key, fields, and the value of the token
	for _, tt := range []struct {
		name     string
		commands func(e entry) [][]string
	}{
		{"string", func(e entry) [][]string { return [][]string{{"SET", e.key, "x"}} }},
		{"list", func(e entry) [][]string { return [][]string{{"DEL", e.key}, {"RPUSH", e.key, "x"}} }},
		{"short epoch", func(e entry) [][]string { return [][]string{{"HSET", e.key, "e", "x"}} }},
		{"no epoch", func(e entry) [][]string { return [][]string{{"HDEL", e.key, "e"}} }},
		{"no expiry", func(e entry) [][]string {
			return [][]string{{"PERSIST", e.key}, {"HDEL", e.key, e.token}}
		}},
		{"expiry by a clock that was wrong", func(e entry) [][]string {
			return [][]string{{"PEXPIREAT", e.key, "99999999999999"}, {"HDEL", e.key, e.token}}
		}},
		{"empty token", func(e entry) [][]string { return [][]string{{"HSET", e.key, e.token, ""}} }},
		{"token without expiry", func(e entry) [][]string { return [][]string{{"HSET", e.key, e.token, "x:y"}} }},
		{"truncated token", func(e entry) [][]string {
			return [][]string{{"HSET", e.key, e.token, e.value[:len(e.value)-1]}}
		}},
		{"token with a flipped bit", func(e entry) [][]string {
			flipped := []byte(e.value)
			flipped[len(flipped)-1] ^= 1
			return [][]string{{"HSET", e.key, e.token, string(flipped)}}
		}},
		{"claim without end", func(e entry) [][]string {
			return [][]string{{"HDEL", e.key, e.token}, {"HSET", e.key, e.claim, "nobody:99999999999999"}}
		}},
		{"claim without holder", func(e entry) [][]string {
			return [][]string{{"HDEL", e.key, e.token}, {"HSET", e.key, e.claim, "x"}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
			key := testKey("ann", "")
			mustSet(t, c, key, newToken("first", time.Hour))
			e := entry{key: onlyKey(t, admin)}
			e.token = onlyTokenField(t, admin, e.key)
			e.claim, e.value = "c"+e.token[1:], fieldValue(t, admin, e.key, e.token)
			for _, command := range tt.commands(e) {
				do(t, admin, command...)
			}
			redisserver.Eventually(t, "Get returns no token", func() bool { return cached(t, c, key) == "" })
			release, err := c.Claim(t.Context(), key)
			if release == nil || err != nil {
				t.Fatalf("Claim failed: %v", err)
			}
			mustSet(t, c, key, newToken("second", time.Hour))
			release()
			redisserver.Eventually(t, "Get returns the next token", func() bool {
				return cached(t, c, key) == "second"
			})
			// Redis removes the entry by itself.
			if got := restOfLife(t, admin); got > time.Hour {
				t.Errorf("the entry lives for %v, want 1h", got)
			}
		})
	}
}
