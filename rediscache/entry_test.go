package rediscache_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestWrongClockOfRedisDoesNotChangeATokensLife(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(wrong.String(), func(t *testing.T) {
			redis := redisserver.Start(t)
			c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
			key, token := testKey("ann", ""), newToken("secret", 12*time.Hour)
			mustSet(t, c, key, token)

			// Write the times that such a Redis would have written.
			name := onlyKey(t, admin)
			shift := func(ms string) string {
				n, err := strconv.ParseInt(ms, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return strconv.FormatInt(n+wrong.Milliseconds(), 10)
			}
			field := onlyTokenField(t, admin, name)
			expiry, sealed, _ := strings.Cut(fieldValue(t, admin, name, field), ":")
			entryExpiry := fieldValue(t, admin, name, "x")
			do(t, admin, "HSET", name, "x", shift(entryExpiry), field, shift(expiry)+":"+sealed)

			redisserver.Eventually(t, "the token is read", func() bool { return cached(t, c, key) != "" })
			got, _, _ := c.Get(t.Context(), key)
			if off := got.Expiry.Sub(token.Expiry).Abs(); off > time.Second {
				t.Errorf("the expiry is off by %v", off)
			}
		})
	}
}

func TestTimesInRedisCannotExtendATokensLife(t *testing.T) {
	redis := redisserver.Start(t)
	secret, key := newSecret(), testKey("ann", "")
	writer, admin := newCache(t, patientConfig(redis.Addr, secret)), newAdmin(t, redis.Addr)
	mustSet(t, writer, key, newToken("secret", time.Hour))
	name := onlyKey(t, admin)
	field := onlyTokenField(t, admin, name)
	_, sealed, _ := strings.Cut(fieldValue(t, admin, name, field), ":")
	do(t, admin, "HSET", name, field, strconv.FormatInt(time.Now().Add(20*time.Hour).UnixMilli(), 10)+":"+sealed)
	do(t, admin, "PERSIST", name)

	token, _, err := newCache(t, patientConfig(redis.Addr, secret)).Get(t.Context(), key)
	if token.Value != "secret" || err != nil {
		t.Fatalf("Get returned %q, error %v", token.Value, err)
	}
	if life := time.Until(token.Expiry); life > time.Hour {
		t.Errorf("the token lives for %v, want at most 1h", life)
	}
	if life := token.Expiry.Sub(token.Issued); life != time.Hour {
		t.Errorf("the token's life is %v, want 1h", life)
	}
}

func TestExpiredTokenIsNotReturned(t *testing.T) {
	redis := redisserver.Start(t)
	c, key := newCache(t, patientConfig(redis.Addr, newSecret())), testKey("ann", "")
	mustSet(t, c, testKey("ann", "long"), newToken("long", time.Hour)) // keeps the entry alive
	token := newToken("brief", 200*time.Millisecond)
	mustSet(t, c, key, token)
	redisserver.Eventually(t, "the token expires", func() bool {
		got := cached(t, c, key)
		if got != "" && time.Since(token.Expiry) > time.Second {
			t.Fatalf("Get returned a token that expired %v ago", time.Since(token.Expiry))
		}
		return got == ""
	})
}
