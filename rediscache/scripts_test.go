package rediscache_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
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

func TestSetKeepsThe64TokensThatExpireLast(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	key := func(i int) searchtoken.Key { return testKey("ann", strconv.Itoa(i)) }
	life := func(i int) time.Duration { return time.Hour + time.Duration(i)*time.Second }
	const total, kept = 70, 64
	for i := range total {
		mustSet(t, c, key(i), newToken("secret", life(i)))
	}
	if got := tokenFields(t, admin, onlyKey(t, admin)); len(got) != kept {
		t.Errorf("%d tokens of one user, want %d", len(got), kept)
	}
	for i := range total {
		if got, want := cached(t, c, key(i)) != "", i >= total-kept; got != want {
			t.Errorf("token %d is there: %v, want %v", i, got, want)
		}
	}
	// A token that is replaced takes no additional room.
	mustSet(t, c, key(total-1), newToken("replaced", life(total)))
	if got := cached(t, c, key(total-kept)); got == "" {
		t.Error("the first token to expire was removed for one that was replaced")
	}
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
		{"no expiry", func(e entry) [][]string { return [][]string{{"HDEL", e.key, "x"}} }},
		{"expiry is not a number", func(e entry) [][]string { return [][]string{{"HSET", e.key, "x", "soon"}} }},
		{"infinite expiry", func(e entry) [][]string { return [][]string{{"HSET", e.key, "x", "inf"}} }},
		{"expiry by a clock that was wrong", func(e entry) [][]string {
			const far = "99999999999999"
			return [][]string{{"HSET", e.key, "x", far}, {"PEXPIREAT", e.key, far}, {"HDEL", e.key, e.token}}
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
