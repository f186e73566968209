package rediscache_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestNewNamesWhatIsWrong(t *testing.T) {
	good := func() rediscache.Config {
		return rediscache.Config{Client: rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, Secrets: [][]byte{newSecret()}}
	}
	for _, tt := range []struct {
		name   string
		change func(*rediscache.Config)
		want   []string
	}{
		{"nothing", func(*rediscache.Config) {}, nil},
		{"everything is missing", func(c *rediscache.Config) { *c = rediscache.Config{} }, []string{"Client.InitAddress", "Secrets"}},
		{"a short secret", func(c *rediscache.Config) { c.Secrets = append(c.Secrets, []byte("hunter2")) }, []string{"Secrets[1]: has 7 bytes; 32 are required"}},
		{"no client-side caching", func(c *rediscache.Config) { c.Client.DisableCache = true }, []string{"Client.DisableCache"}},
		{"RESP2", func(c *rediscache.Config) { c.Client.AlwaysRESP2 = true }, []string{"Client.AlwaysRESP2"}},
		{"replicas", func(c *rediscache.Config) { c.Client.SendToReplicas = func(rueidis.Completed) bool { return true } }, []string{"Client.SendToReplicas"}},
		{"another tracking", func(c *rediscache.Config) { c.Client.ClientTrackingOptions = []string{"BCAST"} }, []string{"Client.ClientTrackingOptions"}},
		{"no sign of life", func(c *rediscache.Config) { c.Client.Dialer.KeepAlive = -1 }, []string{"Client.Dialer.KeepAlive"}},
		{"a negative timeout", func(c *rediscache.Config) { c.Timeout = -1 }, []string{"Timeout"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good()
			tt.change(&cfg)
			c, err := rediscache.New(cfg)
			if err == nil {
				c.Close()
			}
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q tells a secret", err)
			}
		})
	}
}

// TestCacheOfTwo is what searchtoken.Cache asks for, of two processes.
func TestCacheOfTwo(t *testing.T) {
	redis := redisserver.Start(t)
	secret := newSecret()
	a, b := newCache(t, redis.Addr, secret), newCache(t, redis.Addr, secret)
	key := keyOf("ann", "all")

	_, epoch, err := a.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, same, err := b.Get(t.Context(), key); err != nil || same != epoch {
		t.Errorf("epochs %d and %d, %v", epoch, same, err)
	}
	want := tokenOf("secret", time.Hour)
	if kept, err := a.Set(t.Context(), key, want, epoch); !kept || err != nil {
		t.Fatalf("not kept: %v", err)
	}
	for name, c := range map[string]*rediscache.Cache{"the one that set it": a, "another": b} {
		redisserver.Eventually(t, name+" has it", func() bool { return got(t, c, key) != "" })
		token, same, _ := c.Get(t.Context(), key)
		if token.Value != want.Value || same != epoch || token.Expiry.Sub(token.Issued) != time.Hour || token.Expiry.Sub(want.Expiry).Abs() > time.Second {
			t.Errorf("%s got the life from %v to %v, want from %v to %v", name, token.Issued, token.Expiry, want.Issued, want.Expiry)
		}
	}
	for name, other := range map[string]searchtoken.Key{"user": keyOf("bob", "all"), "grant": keyOf("ann", "some")} {
		if got := got(t, b, other); got != "" {
			t.Errorf("another %s has it, too", name)
		}
	}

	if err := b.Forget(t.Context(), key.User); err != nil {
		t.Fatal(err)
	}
	if token, later, err := b.Get(t.Context(), key); token.Value != "" || later == epoch || err != nil {
		t.Errorf("after Forget: %d characters in epoch %d, %v", len(token.Value), later, err)
	}
	redisserver.Eventually(t, "it is forgotten elsewhere", func() bool { return got(t, a, key) == "" })
	if kept, err := a.Set(t.Context(), key, tokenOf("late", time.Hour), epoch); kept || err != nil {
		t.Errorf("a fetch from before the Forget was kept, %v", err)
	}
}

// TestForgetHoldsHereAtOnce does not wait for Redis's message.
func TestForgetHoldsHereAtOnce(t *testing.T) {
	redis := redisserver.Start(t)
	c, key := newCache(t, redis.Addr, newSecret()), keyOf("ann", "")
	for i := range 300 {
		set(t, c, key, tokenOf("secret", time.Hour))
		if got(t, c, key) == "" {
			t.Fatalf("Set %d is not seen at once", i)
		}
		if err := c.Forget(t.Context(), key.User); err != nil {
			t.Fatal(err)
		}
		if got(t, c, key) != "" {
			t.Fatalf("Forget %d does not hold at once", i)
		}
	}
}

// TestEpochsNeverComeAgain has a fetch end after its epoch, however that ended.
func TestEpochsNeverComeAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		ends func(t *testing.T, redis *redisserver.Server, admin rueidis.Client, c *rediscache.Cache)
	}{
		{"forgotten twice", func(t *testing.T, _ *redisserver.Server, _ rueidis.Client, c *rediscache.Cache) {
			for range 2 {
				if err := c.Forget(t.Context(), keyOf("ann", "").User); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"flushed", func(t *testing.T, _ *redisserver.Server, admin rueidis.Client, _ *rediscache.Cache) {
			do(t, admin, "FLUSHALL")
		}},
		{"expired or evicted", func(t *testing.T, _ *redisserver.Server, admin rueidis.Client, _ *rediscache.Cache) {
			do(t, admin, "DEL", names(t, admin)[0])
		}},
		{"restarted", func(t *testing.T, redis *redisserver.Server, _ rueidis.Client, c *rediscache.Cache) {
			redis.Kill()
			redis.Start()
			redisserver.Eventually(t, "it is used again", func() bool { _, _, err := c.Get(t.Context(), keyOf("bob", "")); return err == nil })
		}},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, asked again %v", tt.name, again), func(t *testing.T) {
				redis := redisserver.Start(t)
				c, key := newCache(t, redis.Addr, newSecret()), keyOf("ann", "")
				_, epoch, err := c.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				tt.ends(t, redis, newClient(t, redis.Addr), c)
				if again {
					got(t, c, key) // begins another epoch
				}
				if kept, err := c.Set(t.Context(), key, tokenOf("late", time.Hour), epoch); kept || err != nil {
					t.Errorf("kept %v, %v", kept, err)
				}
				if got := got(t, c, key); got != "" {
					t.Errorf("it has %q", got)
				}
			})
		}
	}
}

// TestEntriesExpireWithTheirTokens looks at what Redis will do by itself.
func TestEntriesExpireWithTheirTokens(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, redis.Addr, newSecret()), newClient(t, redis.Addr)
	ttl := func() time.Duration {
		ms, err := do(t, admin, "PTTL", names(t, admin)[0]).AsInt64()
		if err != nil || ms < 0 {
			t.Fatalf("%d, %v", ms, err)
		}
		return (time.Duration(ms) * time.Millisecond).Round(10 * time.Second)
	}
	fields := func() (tokens int) {
		list, err := do(t, admin, "HKEYS", names(t, admin)[0]).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range list {
			if field[0] == 't' {
				tokens++
			}
		}
		return tokens
	}
	key := func(grant int) searchtoken.Key { return keyOf("ann", strconv.Itoa(grant)) }

	got(t, c, key(0))
	if ttl := ttl(); ttl != time.Minute {
		t.Errorf("an entry without a token lives for %v, want a minute", ttl)
	}
	set(t, c, key(1), tokenOf("long", 24*time.Hour))
	set(t, c, key(2), tokenOf("short", time.Hour))
	if ttl := ttl(); ttl != 24*time.Hour {
		t.Errorf("it lives for %v, want as long as the longer", ttl)
	}
	set(t, c, key(3), tokenOf("brief", 50*time.Millisecond))
	redisserver.Eventually(t, "it expires", func() bool { return got(t, c, key(3)) == "" })
	set(t, c, key(4), tokenOf("other", time.Hour))
	if got := fields(); got != 3 {
		t.Errorf("%d tokens, want the three that are good", got)
	}
	_, epoch, _ := c.Get(t.Context(), key(1))
	if kept, err := c.Set(t.Context(), key(1), tokenOf("expired", -time.Second), epoch); kept || err != nil {
		t.Errorf("kept %v, %v", kept, err)
	}
	if got := got(t, c, key(1)); got != "" {
		t.Errorf("a Set of an expired token left %q", got)
	}

	for i := range 100 {
		set(t, c, key(i+10), tokenOf("many", 2*time.Hour+time.Duration(i)*time.Second))
	}
	if got := fields(); got != 64 {
		t.Errorf("%d tokens of one user, want 64", got)
	}
	if got := got(t, c, key(109)); got != "many" {
		t.Error("the last went in the place of the first")
	}
}

// TestRedisClock has a Redis whose clock is wrong: tokens live as long as they live.
func TestRedisClock(t *testing.T) {
	for _, wrong := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(wrong.String(), func(t *testing.T) {
			redis := redisserver.Start(t)
			c, admin := newCache(t, redis.Addr, newSecret()), newClient(t, redis.Addr)
			key := keyOf("ann", "")
			token := tokenOf("secret", 12*time.Hour)
			set(t, c, key, token)
			// What such a Redis would have.
			name := names(t, admin)[0]
			entry, err := do(t, admin, "HGETALL", name).AsStrMap()
			if err != nil {
				t.Fatal(err)
			}
			shifted := func(ms string) string {
				n, err := strconv.ParseInt(ms, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return strconv.FormatInt(n+wrong.Milliseconds(), 10)
			}
			for field, value := range entry {
				switch field[0] {
				case 'x':
					do(t, admin, "HSET", name, field, shifted(value))
				case 't':
					at, sealed, _ := strings.Cut(value, ":")
					do(t, admin, "HSET", name, field, shifted(at)+":"+sealed)
				}
			}
			redisserver.Eventually(t, "it is read", func() bool { return got(t, c, key) != "" })
			read, _, _ := c.Get(t.Context(), key)
			if off := read.Expiry.Sub(token.Expiry).Abs(); off > time.Second {
				t.Errorf("the expiry is off by %v", off)
			}
		})
	}
}

// TestHitsStayInTheProcess counts what Redis is asked.
func TestHitsStayInTheProcess(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, redis.Addr, newSecret()), newClient(t, redis.Addr)
	key := keyOf("ann", "")
	set(t, c, key, tokenOf("secret", time.Hour))
	redisserver.Eventually(t, "it is read", func() bool { return got(t, c, key) != "" })
	asked := func() string {
		stats, err := do(t, admin, "INFO", "commandstats").ToString()
		if err != nil {
			t.Fatal(err)
		}
		_, stats, _ = strings.Cut(stats, "cmdstat_hmget:")
		stats, _, _ = strings.Cut(stats, ",")
		return stats
	}
	before := asked()
	for range 100 {
		got(t, c, key)
	}
	if diff := cmp.Diff(before, asked()); diff != "" {
		t.Errorf("Redis was asked (-before +after):\n%s", diff)
	}
}
