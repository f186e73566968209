package rediscache_test

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// The clock of a bubble shows the year 2000.
func TestWrongClockDoesNotChangeATokensLife(t *testing.T) {
	const life = 12 * time.Hour
	secret, key := newSecret(), testKey("ann", "")
	for _, tt := range []struct {
		name       string
		set, check func(t *testing.T, f func(t *testing.T))
	}{
		{"of the process that sets it", synctest.Test, func(t *testing.T, f func(t *testing.T)) { f(t) }},
		{"of the process that gets it", func(t *testing.T, f func(t *testing.T)) { f(t) }, synctest.Test},
		{"of both", synctest.Test, synctest.Test},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			tt.set(t, func(t *testing.T) {
				mustSet(t, newCache(t, patientConfig(redis.Addr, secret)), key, newToken("secret", life))
			})
			tt.check(t, func(t *testing.T) {
				token, _, err := newCache(t, patientConfig(redis.Addr, secret)).Get(t.Context(), key)
				if token.Value != "secret" || err != nil {
					t.Fatalf("Get returned %q, error %v", token.Value, err)
				}
				if off := time.Until(token.Expiry) - life; off.Abs() > 2*time.Second {
					t.Errorf("the expiry is off by %v", off)
				}
				if got := token.Expiry.Sub(token.Issued); got != life {
					t.Errorf("the token's life is %v, want %v", got, life)
				}
			})
		})
	}
}

// The time that a command or an answer spends on its way is not added to the
// life of a token.
func TestSlowAnswersDoNotExtendATokensLife(t *testing.T) {
	const delay = 400 * time.Millisecond // of the whole round trip
	for _, tt := range []struct{ name, slow string }{
		{"of the process that sets it", "setter"},
		{"of the process that gets it", "getter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			proxy := redisserver.StartProxy(t, redis.Addr)
			secret, key := newSecret(), testKey("ann", "")
			connect := func(name string) *rediscache.Cache {
				addr := redis.Addr
				if name == tt.slow {
					addr = proxy.Addr
				}
				c := newCache(t, patientConfig(addr, secret))
				redisserver.Eventually(t, "the cache is connected", answers(t, c))
				return c
			}
			setter, getter := connect("setter"), connect("getter")
			_, epoch, err := setter.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			proxy.Delay(delay / 2)
			want := newToken("secret", time.Hour)
			if kept, err := setter.Set(t.Context(), key, want, epoch); !kept || err != nil {
				t.Fatalf("Set: kept %v, error %v", kept, err)
			}
			for _, from := range []string{"Redis", "memory"} {
				got, _, err := getter.Get(t.Context(), key)
				if got.Value != "secret" || err != nil {
					t.Fatalf("Get returned %q, error %v", got.Value, err)
				}
				if late := got.Expiry.Sub(want.Expiry); late > 0 || late < -2*time.Second {
					t.Errorf("from %s: the expiry is %v later than that which was set", from, late)
				}
			}
		})
	}
}

// Somebody else may write to Redis.
func TestTimesInRedisDoNotChangeATokensExpiry(t *testing.T) {
	far, past := time.Now().Add(20*time.Hour), time.Now().Add(-time.Hour)
	prefix := func(at time.Time) func(t *testing.T, admin rueidis.Client, entry, field string) {
		return func(t *testing.T, admin rueidis.Client, entry, field string) {
			_, sealed, _ := strings.Cut(fieldValue(t, admin, entry, field), ":")
			do(t, admin, "HSET", entry, field, strconv.FormatInt(at.UnixMilli(), 10)+":"+sealed)
		}
	}
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, admin rueidis.Client, entry, field string)
	}{
		{"later token", prefix(far)},
		{"earlier token", prefix(past)},
		{"later entry", func(t *testing.T, admin rueidis.Client, entry, _ string) {
			do(t, admin, "PEXPIREAT", entry, strconv.FormatInt(far.UnixMilli(), 10))
		}},
		{"earlier entry", func(t *testing.T, admin rueidis.Client, entry, _ string) {
			do(t, admin, "PEXPIRE", entry, "60000")
		}},
		{"entry without an expiry", func(t *testing.T, admin rueidis.Client, entry, _ string) {
			do(t, admin, "PERSIST", entry)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			cfg, key, admin := patientConfig(redis.Addr, newSecret()), testKey("ann", ""), newAdmin(t, redis.Addr)
			want := newToken("secret", time.Hour)
			mustSet(t, newCache(t, cfg), key, want)
			entry := onlyKey(t, admin)
			tt.change(t, admin, entry, onlyTokenField(t, admin, entry))
			got, _, err := newCache(t, cfg).Get(t.Context(), key)
			if got.Value != "secret" || err != nil {
				t.Fatalf("Get returned %q, error %v", got.Value, err)
			}
			if off := got.Expiry.Sub(want.Expiry).Abs(); off > time.Second {
				t.Errorf("the expiry is off by %v", off)
			}
		})
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
