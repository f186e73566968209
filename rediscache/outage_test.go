package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// impatient is a configuration with the defaults.
func impatient(addr string, secret []byte) rediscache.Config {
	return rediscache.Config{Client: rueidis.ClientOption{InitAddress: []string{addr}}, Secrets: [][]byte{secret}}
}

// TestRedisFails has Redis fail in all ways that it has, and come back: no request
// fails, nobody waits for long, users are not fetched for again and again, and in the
// end the instances share again.
func TestRedisFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		breaks func(t *testing.T, redis *redisserver.Server, p *proxy)
		mends  func(t *testing.T, redis *redisserver.Server, p *proxy)
		tells  bool // in the log, and by events
	}{
		{"stopped",
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Signal(syscall.SIGSTOP) },
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Signal(syscall.SIGCONT) }, true},
		{"killed and restarted",
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Kill() },
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Start() }, true},
		{"full",
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Do("CONFIG", "SET", "maxmemory", "1") },
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Do("CONFIG", "SET", "maxmemory", "0") }, true},
		{"flushed",
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Do("FLUSHALL") },
			func(*testing.T, *redisserver.Server, *proxy) {}, false},
		{"read-only",
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Do("REPLICAOF", "127.0.0.1", "1") },
			func(_ *testing.T, redis *redisserver.Server, _ *proxy) { redis.Do("REPLICAOF", "NO", "ONE") }, true},
		{"slow",
			func(_ *testing.T, _ *redisserver.Server, p *proxy) { p.slow(400 * time.Millisecond) },
			func(_ *testing.T, _ *redisserver.Server, p *proxy) { p.slow(0) }, true},
		{"cut off",
			func(_ *testing.T, _ *redisserver.Server, p *proxy) { p.block() },
			func(_ *testing.T, _ *redisserver.Server, p *proxy) { p.open() }, true},
		{"broken connections",
			func(_ *testing.T, _ *redisserver.Server, p *proxy) { p.cut() },
			func(*testing.T, *redisserver.Server, *proxy) {}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			p := newProxy(t, redis.Addr)
			issuer, secret := &issuer{}, newSecret()
			site := []*instance{
				newInstance(t, newCacheOf(t, impatient(p.addr, secret)), issuer),
				newInstance(t, newCacheOf(t, impatient(p.addr, secret)), issuer),
			}
			redisserver.Eventually(t, "they share", func() bool { return site[0].page(t, "before") == site[1].page(t, "before") })

			tt.breaks(t, redis, p)
			began := time.Now()
			calls := issuer.calls.Load()
			const users, pages = 10, 5
			for range pages {
				for user := range users {
					for _, instance := range site {
						if instance.page(t, fmt.Sprint("user", user)) == "" {
							t.Error("no token")
						}
					}
				}
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%d requests took %v", 2*users*pages, took)
			}
			// As long as the cache answers some and fails some, one more each.
			if got := issuer.calls.Load() - calls; got > 2*2*users {
				t.Errorf("%d calls for %d users of two instances", got, users)
			}
			for i, instance := range site {
				log := instance.log.String()
				if tt.tells && (!strings.Contains(log, "the cache fails") || instance.log.errors.Load() == 0) {
					t.Errorf("instance %d: %d events, log %q", i, instance.log.errors.Load(), log)
				}
				if lines := strings.Count(log, "\n"); lines > 4 { // one for each method
					t.Errorf("%d lines in the log:\n%s", lines, log)
				}
			}

			tt.mends(t, redis, p)
			user := 0
			redisserver.Eventually(t, "they share again", func() bool {
				user++
				return site[0].page(t, fmt.Sprint("after", user)) == site[1].page(t, fmt.Sprint("after", user))
			})
			redisserver.Eventually(t, "users of the outage, too", func() bool { return site[0].page(t, "user1") == site[1].page(t, "user1") })
		})
	}
}

// TestFlushDuringAFetch has Redis lose its epochs while a token is fetched.
func TestFlushDuringAFetch(t *testing.T) {
	redis := redisserver.Start(t)
	issuer := &issuer{delay: 300 * time.Millisecond}
	site := fleet(t, 2, redis.Addr, issuer)
	page := make(chan string)
	go func() { page <- site[0].page(t, "ann") }()
	redisserver.Eventually(t, "it fetches", func() bool { return issuer.calls.Load() == 1 })
	redis.Do("FLUSHALL")
	if here, there := <-page, site[1].page(t, "ann"); here == "" || here != there {
		t.Errorf("%q and %q", here, there)
	}
	if got := issuer.calls.Load(); got != 2 {
		t.Errorf("%d calls, want the one whose epoch was lost and another", got)
	}
}

// TestHiccup has Redis pause for longer than a Get waits: who was held in memory is
// served all the time, and a Forget right after it is carried out.
func TestHiccup(t *testing.T) {
	redis := redisserver.Start(t)
	secret, ann, bob := newSecret(), keyOf("ann", ""), keyOf("bob", "")
	c := newCacheOf(t, impatient(redis.Addr, secret))
	redisserver.Eventually(t, "it is connected", func() bool { _, _, err := c.Get(t.Context(), ann); return err == nil })
	set(t, c, ann, tokenOf("secret", time.Hour))
	got(t, c, ann)
	redis.Signal(syscall.SIGSTOP)
	if _, _, err := c.Get(t.Context(), bob); err == nil {
		t.Fatal("a Redis that is stopped answers")
	}
	if token, _, err := c.Get(t.Context(), ann); token.Value != "secret" {
		t.Errorf("what is in memory is not served: %v", err)
	}
	redis.Signal(syscall.SIGCONT)
	if err := c.Forget(t.Context(), ann.User); err != nil {
		t.Fatal(err)
	}
	if got := got(t, c, ann); got != "" {
		t.Error("it is not forgotten")
	}
}

// TestForgetWhileRedisIsFull is possible.
func TestForgetWhileRedisIsFull(t *testing.T) {
	redis := redisserver.Start(t)
	c, key := newCache(t, redis.Addr, newSecret()), keyOf("ann", "")
	set(t, c, key, tokenOf("secret", time.Hour))
	redis.Do("CONFIG", "SET", "maxmemory", "1")
	if err := c.Forget(t.Context(), key.User); err != nil {
		t.Fatal(err)
	}
	if token, _, _ := c.Get(t.Context(), key); token.Value != "" {
		t.Error("the token is still there")
	}
}

// TestEviction has less memory than users.
func TestEviction(t *testing.T) {
	redis := redisserver.Start(t, "--maxmemory", "2200kb", "--maxmemory-policy", "allkeys-lru")
	issuer := &issuer{}
	site := fleet(t, 2, redis.Addr, issuer)
	for user := range 3000 {
		site[0].page(t, fmt.Sprint("user", user))
	}
	if here, there := site[0].page(t, "user2999"), site[1].page(t, "user2999"); here != there {
		t.Error("the last user's token is not shared")
	}
	if here, there := site[0].page(t, "user0"), site[1].page(t, "user0"); here != there {
		t.Error("a user whose entry was evicted has two tokens")
	}
	if log := site[0].log.String(); log != "" {
		t.Errorf("it logged %s", log)
	}
	if stats := redis.Do("INFO", "stats"); strings.Contains(stats, "evicted_keys:0") {
		t.Error("nobody was evicted")
	}
}

// TestLostConnection has an instance's connection die without a word, or with one,
// and another forget a user whose token it holds: the time that it serves it is
// bounded.
func TestLostConnection(t *testing.T) {
	const (
		bound = 2 * time.Second // as the package's documentation has it
		slack = time.Second     // of a machine that is busy
	)
	for _, tt := range []struct {
		name  string
		lose  func(*redisserver.Server, *proxy)
		bound time.Duration
	}{
		{"in silence", func(_ *redisserver.Server, p *proxy) { p.block() }, bound},
		{"broken", func(_ *redisserver.Server, p *proxy) {
			p.slow(time.Minute) // nobody gets through any more
			p.cut()
		}, 0},
		{"not at all", func(*redisserver.Server, *proxy) {}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			p := newProxy(t, redis.Addr)
			secret, key := newSecret(), keyOf("ann", "")
			here, there := newCache(t, redis.Addr, secret), newCacheOf(t, impatient(p.addr, secret))
			redisserver.Eventually(t, "it is connected", func() bool { _, _, err := there.Get(t.Context(), key); return err == nil })
			set(t, here, key, tokenOf("secret", time.Hour))
			redisserver.Eventually(t, "it is held there", func() bool { return got(t, there, key) == "secret" })

			tt.lose(redis, p)
			lost := time.Now()
			if err := here.Forget(t.Context(), key.User); err != nil {
				t.Fatal(err)
			}
			if got := got(t, here, key); got != "" {
				t.Error("it is served where it was forgotten")
			}
			var served time.Duration
			redisserver.Eventually(t, "it is served no longer", func() bool {
				token, _, _ := there.Get(t.Context(), key)
				if token.Value != "" {
					served = time.Since(lost)
				}
				return token.Value == "" && time.Since(lost) > tt.bound+slack
			})
			if served > tt.bound+slack {
				t.Errorf("it was served for %v, want %v at most", served, tt.bound)
			}
			t.Logf("it was served for %v", served)
		})
	}
}

// TestStartWithoutRedis has an instance start before Redis.
func TestStartWithoutRedis(t *testing.T) {
	redis := redisserver.Start(t)
	redis.Kill()
	issuer, secret := &issuer{}, newSecret()
	a := newInstance(t, newCacheOf(t, impatient(redis.Addr, secret)), issuer)
	b := newInstance(t, newCacheOf(t, impatient(redis.Addr, secret)), issuer)
	if first, second := a.page(t, "ann"), a.page(t, "ann"); first == "" || first != second {
		t.Errorf("%q and %q", first, second)
	}
	redis.Start()
	redisserver.Eventually(t, "they share", func() bool { return a.page(t, "bob") == b.page(t, "bob") })
}

// TestErrorsTellWhy, and no secrets.
func TestErrorsTellWhy(t *testing.T) {
	redis := redisserver.Start(t, "--requirepass", "hunter2")
	stopped := redisserver.Start(t)
	stopped.Signal(syscall.SIGSTOP)
	for name, tt := range map[string]struct {
		addr, password string
		want           string
	}{
		"a wrong password":    {redis.Addr, "hunter3", "WRONGPASS"},
		"none":                {redis.Addr, "", "NOAUTH"},
		"nobody there":        {redisserver.FreeAddr(t), "", "connection refused"},
		"somebody who is mum": {stopped.Addr, "", "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := impatient(tt.addr, newSecret())
			cfg.Client.Password = tt.password
			c := newCacheOf(t, cfg)
			redisserver.Eventually(t, "it is known why", func() bool {
				_, _, err := c.Get(t.Context(), keyOf("ann", ""))
				return err != nil && strings.Contains(err.Error(), tt.want)
			})
			for range 3 {
				_, _, err := c.Get(t.Context(), keyOf("ann", ""))
				if err == nil || !strings.HasPrefix(err.Error(), "rediscache: ") || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v does not say %q", err, tt.want)
				}
				if err != nil && strings.Contains(err.Error(), "hunter") {
					t.Errorf("%v tells a password", err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := c.Forget(ctx, keyOf("ann", "").User); err == nil {
				t.Error("Forget says that it has forgotten")
			}
		})
	}
}

// TestFailover has a primary die, whose replica a sentinel makes the primary.
func TestFailover(t *testing.T) {
	primary := redisserver.Start(t)
	host, port, _ := strings.Cut(primary.Addr, ":")
	replica := redisserver.Start(t, "--replicaof", host+" "+port)
	sentinel := redisserver.StartSentinel(t, primary)
	redisserver.Eventually(t, "the replica is known", func() bool {
		return strings.Contains(sentinel.Do("SENTINEL", "REPLICAS", redisserver.MasterSet), replica.Addr) &&
			strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up")
	})

	cfg := impatient(sentinel.Addr, newSecret())
	cfg.Client.Sentinel.MasterSet = redisserver.MasterSet
	issuer := &issuer{}
	site := []*instance{newInstance(t, newCacheOf(t, cfg), issuer), newInstance(t, newCacheOf(t, cfg), issuer)}
	redisserver.Eventually(t, "they share", func() bool { return site[0].page(t, "before") == site[1].page(t, "before") })

	primary.Kill()
	user := 0
	redisserver.Eventually(t, "they share again", func() bool {
		user++
		return site[0].page(t, fmt.Sprint("user", user)) == site[1].page(t, fmt.Sprint("user", user))
	})
	if !strings.Contains(replica.Do("INFO", "replication"), "role:master") {
		t.Error("there was no failover")
	}
	if err := site[0].Forget(t.Context(), searchtoken.Email("before")); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}
