package rediscache_test

import (
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

// tokenField is the name of the only token's field in an entry.
func tokenField(t testing.TB, admin rueidis.Client, name string) string {
	t.Helper()
	fields, err := do(t, admin, "HKEYS", name).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		if field[0] == 't' {
			return field
		}
	}
	t.Fatalf("no token among %q", fields)
	return ""
}

// value is that of a field.
func value(t testing.TB, admin rueidis.Client, name, field string) string {
	t.Helper()
	value, err := do(t, admin, "HGET", name, field).ToString()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// TestThief has somebody with all of Redis's content, and the right to write.
func TestThief(t *testing.T) {
	ann, bob, other := keyOf("ann@example.com", "all"), keyOf("bob@example.com", "all"), keyOf("ann@example.com", "other")
	for _, tt := range []struct {
		name  string
		steal func(t *testing.T, admin rueidis.Client, c *rediscache.Cache, annName, bobName string)
		key   searchtoken.Key // which does not get ann's token
	}{
		{"to another user", func(t *testing.T, admin rueidis.Client, _ *rediscache.Cache, annName, bobName string) {
			do(t, admin, "HSET", bobName, tokenField(t, admin, bobName), value(t, admin, annName, tokenField(t, admin, annName)))
		}, bob},
		{"another user's whole entry", func(t *testing.T, admin rueidis.Client, _ *rediscache.Cache, annName, bobName string) {
			field := tokenField(t, admin, bobName)
			stolen := value(t, admin, annName, tokenField(t, admin, annName))
			do(t, admin, "COPY", annName, bobName, "REPLACE")
			do(t, admin, "HSET", bobName, field, stolen)
		}, bob},
		{"to another grant", func(t *testing.T, admin rueidis.Client, c *rediscache.Cache, annName, _ string) {
			stolen, first := value(t, admin, annName, tokenField(t, admin, annName)), tokenField(t, admin, annName)
			do(t, admin, "HDEL", annName, first)
			set(t, c, other, tokenOf("other", time.Hour))
			do(t, admin, "HSET", annName, tokenField(t, admin, annName), stolen)
		}, other},
		{"past a Forget", func(t *testing.T, admin rueidis.Client, c *rediscache.Cache, annName, _ string) {
			field := tokenField(t, admin, annName)
			stolen := value(t, admin, annName, field)
			if err := c.Forget(t.Context(), ann.User); err != nil {
				t.Fatal(err)
			}
			got(t, c, ann)
			do(t, admin, "HSET", annName, field, stolen)
		}, ann},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			secret := newSecret()
			c, reader, admin := newCache(t, redis.Addr, secret), newCache(t, redis.Addr, secret), newClient(t, redis.Addr)
			set(t, c, ann, tokenOf("ann's", time.Hour))
			annName := names(t, admin)[0]
			set(t, c, bob, tokenOf("bob's", time.Hour))
			bobName := names(t, admin)[0]
			if bobName == annName {
				bobName = names(t, admin)[1]
			}
			tt.steal(t, admin, c, annName, bobName)
			if got := got(t, reader, tt.key); got == "ann's" {
				t.Error("the token opens in another place")
			}
		})
	}
}

// TestThiefBetweenSites moves a user's whole entry to a site with another prefix.
func TestThiefBetweenSites(t *testing.T) {
	redis := redisserver.Start(t)
	secret, key := newSecret(), keyOf("ann", "")
	cfg := rediscache.Config{
		Client: rueidis.ClientOption{InitAddress: []string{redis.Addr}}, Secrets: [][]byte{secret}, Prefix: "other:", Timeout: 10 * time.Second,
	}
	c, other, admin := newCache(t, redis.Addr, secret), newCacheOf(t, cfg), newClient(t, redis.Addr)
	set(t, c, key, tokenOf("ann's", time.Hour))
	name := names(t, admin)[0]
	do(t, admin, "COPY", name, "other:"+strings.TrimPrefix(name, "searchtoken:"))
	if got := got(t, other, key); got != "" {
		t.Error("the token opens at another site")
	}
}

// TestNothingToReadInRedis looks for what would tell a reader of Redis who is there.
func TestNothingToReadInRedis(t *testing.T) {
	redis := redisserver.Start(t)
	admin := newClient(t, redis.Addr)
	c := newCache(t, redis.Addr, newSecret())
	site := newInstance(t, c, &issuer{})
	token := site.page(t, "ann@example.com")
	site.renew(token, "ann@example.com")
	key := keyOf("ann@example.com", "")
	set(t, c, key, tokenOf("secret", time.Hour))
	var all strings.Builder
	for _, name := range names(t, admin) {
		if !strings.HasPrefix(name, "searchtoken:") {
			t.Errorf("the key %q is without the prefix", name)
		}
		dump, err := do(t, admin, "DUMP", name).ToString()
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(name + dump)
	}
	for _, secret := range []string{"ann", "example", "secret", token, string(key.User[:]), string(key.Params[:])} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%q stands in Redis", secret)
		}
	}
}

// TestGarbage has something else stand where entries are: it is no token, costs no
// error, and goes when there is a token.
func TestGarbage(t *testing.T) {
	for _, tt := range []struct {
		name    string
		garbage func(t *testing.T, admin rueidis.Client, name, field string)
	}{
		{"a string", func(t *testing.T, admin rueidis.Client, name, _ string) { do(t, admin, "SET", name, "x") }},
		{"a list", func(t *testing.T, admin rueidis.Client, name, _ string) {
			do(t, admin, "DEL", name)
			do(t, admin, "RPUSH", name, "x")
		}},
		{"a short epoch", func(t *testing.T, admin rueidis.Client, name, _ string) { do(t, admin, "HSET", name, "e", "x") }},
		{"no epoch", func(t *testing.T, admin rueidis.Client, name, _ string) { do(t, admin, "HDEL", name, "e") }},
		{"no time of expiry", func(t *testing.T, admin rueidis.Client, name, _ string) { do(t, admin, "HDEL", name, "x") }},
		{"infinity as one", func(t *testing.T, admin rueidis.Client, name, _ string) { do(t, admin, "HSET", name, "x", "inf") }},
		{"one of a clock that was wrong", func(t *testing.T, admin rueidis.Client, name, field string) {
			do(t, admin, "HSET", name, "x", "99999999999999")
			do(t, admin, "PEXPIREAT", name, "99999999999999")
			do(t, admin, "HDEL", name, field)
		}},
		{"no number as one", func(t *testing.T, admin rueidis.Client, name, _ string) { do(t, admin, "HSET", name, "x", "soon") }},
		{"an empty token", func(t *testing.T, admin rueidis.Client, name, field string) { do(t, admin, "HSET", name, field, "") }},
		{"a token without a time", func(t *testing.T, admin rueidis.Client, name, field string) { do(t, admin, "HSET", name, field, "x:y") }},
		{"a token that is cut", func(t *testing.T, admin rueidis.Client, name, field string) {
			v := value(t, admin, name, field)
			do(t, admin, "HSET", name, field, v[:len(v)-1])
		}},
		{"another byte", func(t *testing.T, admin rueidis.Client, name, field string) {
			v := []byte(value(t, admin, name, field))
			v[len(v)-1] ^= 1
			do(t, admin, "HSET", name, field, string(v))
		}},
		{"a claim for all time", func(t *testing.T, admin rueidis.Client, name, field string) {
			do(t, admin, "HDEL", name, field)
			do(t, admin, "HSET", name, "c"+field[1:], "nobody:99999999999999")
		}},
		{"a claim of nobody", func(t *testing.T, admin rueidis.Client, name, field string) {
			do(t, admin, "HDEL", name, field)
			do(t, admin, "HSET", name, "c"+field[1:], "x")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			c, admin := newCache(t, redis.Addr, newSecret()), newClient(t, redis.Addr)
			key := keyOf("ann", "")
			set(t, c, key, tokenOf("first", time.Hour))
			name := names(t, admin)[0]
			tt.garbage(t, admin, name, tokenField(t, admin, name))
			redisserver.Eventually(t, "the token is gone", func() bool { return got(t, c, key) == "" })
			release, err := c.Claim(t.Context(), key)
			if release == nil || err != nil {
				t.Fatalf("not claimed: %v", err)
			}
			set(t, c, key, tokenOf("second", time.Hour))
			release()
			redisserver.Eventually(t, "there is another", func() bool { return got(t, c, key) == "second" })
		})
	}

	t.Run("no life can be made longer", func(t *testing.T) {
		redis := redisserver.Start(t)
		c, admin := newCache(t, redis.Addr, newSecret()), newClient(t, redis.Addr)
		key := keyOf("ann", "")
		set(t, c, key, tokenOf("brief", time.Hour))
		name := names(t, admin)[0]
		field := tokenField(t, admin, name)
		_, sealed, _ := strings.Cut(value(t, admin, name, field), ":")
		do(t, admin, "HSET", name, field, strconv.FormatInt(time.Now().Add(20*time.Hour).UnixMilli(), 10)+":"+sealed)
		do(t, admin, "PERSIST", name)
		redisserver.Eventually(t, "it is read", func() bool { return got(t, c, key) != "" })
		if token, _, _ := c.Get(t.Context(), key); time.Until(token.Expiry) > time.Hour {
			t.Errorf("it lives for %v", time.Until(token.Expiry))
		}
	})

	t.Run("a limit of renewals", func(t *testing.T) {
		redis := redisserver.Start(t)
		c, admin := newCache(t, redis.Addr, newSecret()), newClient(t, redis.Addr)
		user := keyOf("ann", "").User
		if _, err := c.AllowRenewal(t.Context(), user, time.Minute, 3); err != nil {
			t.Fatal(err)
		}
		name := names(t, admin)[0]
		for _, garbage := range [][]string{{"SET", name, "x"}, {"RPUSH", name, "x"}} {
			do(t, admin, "DEL", name)
			do(t, admin, garbage...)
			if wait, err := c.AllowRenewal(t.Context(), user, time.Minute, 3); wait != 0 || err != nil {
				t.Errorf("%s: %v, %v", garbage[0], wait, err)
			}
		}
		do(t, admin, "SET", name, "99999999999999")
		if wait, err := c.AllowRenewal(t.Context(), user, time.Minute, 3); wait > time.Minute || err != nil {
			t.Errorf("for all time: %v, %v", wait, err)
		}
	})
}

// TestRotation goes through the steps of a change of secrets, at each of which there
// are processes before it and after it.
func TestRotation(t *testing.T) {
	old, next := newSecret(), newSecret()
	steps := [][][]byte{{old}, {old, next}, {next, old}, {next}}
	ann := keyOf("ann", "")
	for i := range steps[1:] {
		t.Run("step "+strconv.Itoa(i+1), func(t *testing.T) {
			redis := redisserver.Start(t)
			before, after := newCache(t, redis.Addr, steps[i]...), newCache(t, redis.Addr, steps[i+1]...)
			for _, pair := range [][2]*rediscache.Cache{{before, after}, {after, before}} {
				setter, other := pair[0], pair[1]
				set(t, setter, ann, tokenOf("secret", time.Hour))
				redisserver.Eventually(t, "the other opens it", func() bool { return got(t, other, ann) == "secret" })
				if err := other.Forget(t.Context(), ann.User); err != nil {
					t.Fatal(err)
				}
				if got := got(t, other, ann); got != "" {
					t.Error("its own Forget does not count")
				}
				redisserver.Eventually(t, "the other's Forget counts", func() bool { return got(t, setter, ann) == "" })
			}
		})
	}

	t.Run("a secret that was dropped", func(t *testing.T) {
		redis := redisserver.Start(t)
		set(t, newCache(t, redis.Addr, old), ann, tokenOf("secret", time.Hour))
		if diff := cmp.Diff("", got(t, newCache(t, redis.Addr, next), ann)); diff != "" {
			t.Error(diff)
		}
	})
}
