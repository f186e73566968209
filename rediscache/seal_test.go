package rediscache_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// A thief can read and write everything in Redis, but has no secret.
func TestStolenTokenCannotBeDecryptedElsewhere(t *testing.T) {
	ann, bob := testKey("ann@example.com", "all"), testKey("bob@example.com", "all")
	annOther := testKey("ann@example.com", "other")
	// theft holds the keys of both entries, the field of the token in each, and
	// the value of ann's token.
	type theft struct{ ann, annField, bob, bobField, value string }
	for _, tt := range []struct {
		name   string
		steal  func(t *testing.T, admin rueidis.Client, c *rediscache.Cache, x theft)
		reader searchtoken.Key // must not get ann's token
	}{
		{"by another user", func(t *testing.T, admin rueidis.Client, _ *rediscache.Cache, x theft) {
			do(t, admin, "HSET", x.bob, x.bobField, x.value)
		}, bob},
		{
			name: "by another user with the whole entry",
			steal: func(t *testing.T, admin rueidis.Client, _ *rediscache.Cache, x theft) {
				do(t, admin, "COPY", x.ann, x.bob, "REPLACE")
				do(t, admin, "HSET", x.bob, x.bobField, x.value)
			},
			reader: bob,
		},
		{"with another grant", func(t *testing.T, admin rueidis.Client, c *rediscache.Cache, x theft) {
			do(t, admin, "HDEL", x.ann, x.annField)
			mustSet(t, c, annOther, newToken("other", time.Hour))
			do(t, admin, "HSET", x.ann, onlyTokenField(t, admin, x.ann), x.value)
		}, annOther},
		{"after a Forget", func(t *testing.T, admin rueidis.Client, c *rediscache.Cache, x theft) {
			if err := c.Forget(t.Context(), ann.User); err != nil {
				t.Fatal(err)
			}
			cached(t, c, ann) // creates the next entry
			do(t, admin, "HSET", x.ann, x.annField, x.value)
		}, ann},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			cfg := patientConfig(redis.Addr, newSecret())
			c, admin := newCache(t, cfg), newAdmin(t, redis.Addr)
			var x theft
			mustSet(t, c, ann, newToken("ann's", time.Hour))
			x.ann = onlyKey(t, admin)
			x.annField = onlyTokenField(t, admin, x.ann)
			x.value = fieldValue(t, admin, x.ann, x.annField)
			mustSet(t, c, bob, newToken("bob's", time.Hour))
			for _, key := range redisKeys(t, admin) {
				if key != x.ann {
					x.bob, x.bobField = key, onlyTokenField(t, admin, key)
				}
			}
			tt.steal(t, admin, c, x)
			if got := cached(t, newCache(t, cfg), tt.reader); got != "" {
				t.Errorf("Get returned %q", got)
			}
		})
	}
}

func TestTokenCannotBeDecryptedUnderAnotherPrefix(t *testing.T) {
	redis := redisserver.Start(t)
	key, admin := testKey("ann", ""), newAdmin(t, redis.Addr)
	cfg := patientConfig(redis.Addr, newSecret())
	mustSet(t, newCache(t, cfg), key, newToken("secret", time.Hour))
	name := onlyKey(t, admin)
	cfg.Prefix = "other:"
	do(t, admin, "COPY", name, cfg.Prefix+strings.TrimPrefix(name, "searchtoken:"))
	other := newCache(t, cfg)
	if got := cached(t, other, key); got != "" {
		t.Errorf("Get returned %q", got)
	}
	if keys := redisKeys(t, admin); len(keys) != 2 {
		t.Errorf("Redis has the keys %q, want the original and the copy", keys)
	}
}

// During each step some processes have the configuration before it, and some
// the one after it.
func TestRotationOfSecretsIsInvisible(t *testing.T) {
	old, next, key := newSecret(), newSecret(), testKey("ann", "")
	steps := [][][]byte{{old}, {old, next}, {next, old}, {next}}
	for i := range steps[1:] {
		t.Run(fmt.Sprint("step ", i+1), func(t *testing.T) {
			redis := redisserver.Start(t)
			before := newCache(t, patientConfig(redis.Addr, steps[i]...))
			after := newCache(t, patientConfig(redis.Addr, steps[i+1]...))
			for _, pair := range [][2]*rediscache.Cache{{before, after}, {after, before}} {
				writer, reader := pair[0], pair[1]
				mustSet(t, writer, key, newToken("secret", time.Hour))
				redisserver.Eventually(t, "the reader has the token", func() bool {
					return cached(t, reader, key) == "secret"
				})
				if err := reader.Forget(t.Context(), key.User); err != nil {
					t.Fatal(err)
				}
				if got := cached(t, reader, key); got != "" {
					t.Error("the reader has the token after its own Forget")
				}
				redisserver.Eventually(t, "the writer has no token", func() bool {
					return cached(t, writer, key) == ""
				})
			}
		})
	}
}

// The length of a token depends on the length of its user's name.
func TestSimilarTokensHaveEqualLengths(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	key, lengths := testKey("ann", ""), map[int64]int{}
	for size := range 200 {
		mustSet(t, c, key, newToken(strings.Repeat("t", 1000+size), time.Hour))
		entry := onlyKey(t, admin)
		length, err := do(t, admin, "HSTRLEN", entry, onlyTokenField(t, admin, entry)).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		lengths[length]++
		if got := cached(t, c, key); len(got) != 1000+size {
			t.Errorf("Get returned a token of %d bytes, want %d", len(got), 1000+size)
		}
	}
	if len(lengths) > 5 {
		t.Errorf("200 lengths of tokens give %d lengths in Redis, want at most 5", len(lengths))
	}
}

func TestUnknownSecretReadsNothing(t *testing.T) {
	redis, key := redisserver.Start(t), testKey("ann", "")
	mustSet(t, newCache(t, patientConfig(redis.Addr, newSecret())), key, newToken("secret", time.Hour))
	if got := cached(t, newCache(t, patientConfig(redis.Addr, newSecret())), key); got != "" {
		t.Errorf("Get returned %q", got)
	}
}
