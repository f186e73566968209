package rediscache_test

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// This is the contract of searchtoken.Cache, with two processes.
func TestProcessesShareTokensAndEpochs(t *testing.T) {
	redis := redisserver.Start(t)
	cfg := patientConfig(redis.Addr, newSecret())
	a, b := newCache(t, cfg), newCache(t, cfg)
	key := testKey("ann", "all")

	_, epoch, err := a.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, other, err := b.Get(t.Context(), key); err != nil || other != epoch {
		t.Errorf("the processes have the epochs %d and %d, error %v", epoch, other, err)
	}
	want := newToken("secret", time.Hour)
	if kept, err := a.Set(t.Context(), key, want, epoch); !kept || err != nil {
		t.Fatalf("Set: kept %v, error %v", kept, err)
	}
	for name, c := range map[string]*rediscache.Cache{"the process that set the token": a, "the other process": b} {
		redisserver.Eventually(t, name+" has the token", func() bool { return cached(t, c, key) != "" })
		token, tokenEpoch, _ := c.Get(t.Context(), key)
		if token.Value != want.Value || tokenEpoch != epoch {
			t.Errorf("%s got %q in epoch %d, want %q in epoch %d", name, token.Value, tokenEpoch, want.Value, epoch)
		}
		if token.Expiry.Sub(token.Issued) != time.Hour || token.Expiry.Sub(want.Expiry).Abs() > time.Second {
			t.Errorf("%s got the life from %v to %v, want from %v to %v", name, token.Issued, token.Expiry, want.Issued,
				want.Expiry)
		}
	}
	for name, other := range map[string]searchtoken.Key{
		"user": testKey("bob", "all"), "grant": testKey("ann", "some"),
	} {
		if got := cached(t, b, other); got != "" {
			t.Errorf("another %s got the token", name)
		}
	}

	if err := b.Forget(t.Context(), key.User); err != nil {
		t.Fatal(err)
	}
	if token, later, err := b.Get(t.Context(), key); token.Value != "" || later == epoch || err != nil {
		t.Errorf("after Forget: token of %d characters, epoch %d, error %v", len(token.Value), later, err)
	}
	redisserver.Eventually(t, "the other process has no token", func() bool { return cached(t, a, key) == "" })
	if kept, err := a.Set(t.Context(), key, newToken("late", time.Hour), epoch); kept || err != nil {
		t.Errorf("Set with the epoch before Forget: kept %v, error %v", kept, err)
	}
}

// The process does not wait for Redis's invalidation message to arrive.
func TestSetAndForgetTakeEffectBeforeTheyReturn(t *testing.T) {
	redis := redisserver.Start(t)
	c, key := newCache(t, patientConfig(redis.Addr, newSecret())), testKey("ann", "")
	for i := range 300 {
		mustSet(t, c, key, newToken("secret", time.Hour))
		if cached(t, c, key) == "" {
			t.Fatalf("Set %d had no effect", i)
		}
		if err := c.Forget(t.Context(), key.User); err != nil {
			t.Fatal(err)
		}
		if cached(t, c, key) != "" {
			t.Fatalf("Forget %d had no effect", i)
		}
	}
}

// Each token names the epoch that it was set in.
func TestConcurrentGetSetAndForget(t *testing.T) {
	const forgets, goroutines = 200, 3 // goroutines of each kind and process
	redis := redisserver.Start(t)
	cfg, key := patientConfig(redis.Addr, newSecret()), testKey("ann", "")
	a, b := newCache(t, cfg), newCache(t, cfg)
	var (
		wg    sync.WaitGroup
		ended atomic.Uint64 // the epoch that a's latest Forget ended
		hits  atomic.Int64
		done  = make(chan struct{})
	)
	run := func(step func()) {
		for range goroutines {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						step()
					}
				}
			})
		}
	}
	get := func(c *rediscache.Cache) (epoch uint64) {
		before := ended.Load()
		token, epoch, err := c.Get(t.Context(), key)
		switch {
		case err != nil:
			t.Error(err)
		case token.Value != "" && token.Value != strconv.FormatUint(epoch, 10):
			t.Errorf("Get returned a token of epoch %s in epoch %d", token.Value, epoch)
		case c == a && epoch == before: // b may not have Redis's message yet
			t.Errorf("Get returned epoch %d, which Forget has ended", epoch)
		case token.Value != "":
			hits.Add(1)
		}
		return epoch
	}
	for _, c := range []*rediscache.Cache{a, b} {
		run(func() { get(c) })
		run(func() {
			epoch := get(c)
			if _, err := c.Set(t.Context(), key, newToken(strconv.FormatUint(epoch, 10), time.Hour), epoch); err != nil {
				t.Error(err)
			}
		})
	}
	for range forgets {
		epoch := get(a)
		if err := a.Forget(t.Context(), key.User); err != nil {
			t.Error(err)
		}
		ended.Store(epoch)
	}
	close(done)
	wg.Wait()
	if hits.Load() == 0 {
		t.Error("no Get returned a token: this test cannot fail")
	}
}

func TestHitsAskRedisNothing(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	key := testKey("ann", "")
	mustSet(t, c, key, newToken("secret", time.Hour))
	redisserver.Eventually(t, "the token is in memory", func() bool { return cached(t, c, key) != "" })
	reads := func() string {
		stats, err := do(t, admin, "INFO", "commandstats").ToString()
		if err != nil {
			t.Fatal(err)
		}
		_, stats, found := strings.Cut(stats, "cmdstat_hmget:")
		if !found {
			t.Fatal("Redis has counted no HMGET")
		}
		count, _, _ := strings.Cut(stats, ",")
		return count
	}
	before := reads()
	for range 100 {
		cached(t, c, key)
	}
	if diff := cmp.Diff(before, reads()); diff != "" {
		t.Errorf("reads in Redis (-before +after):\n%s", diff)
	}
	cached(t, c, testKey("bob", ""))
	if before == reads() {
		t.Error("a miss was not counted: this test cannot fail")
	}
}

// A fetch that began in an epoch must not store its token after the epoch has
// ended.
func TestEndedEpochsNeverReturn(t *testing.T) {
	key := testKey("ann", "")
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, redis *redisserver.Server, admin rueidis.Client, c *rediscache.Cache)
	}{
		{"forgotten twice", func(t *testing.T, _ *redisserver.Server, _ rueidis.Client, c *rediscache.Cache) {
			for range 2 {
				if err := c.Forget(t.Context(), key.User); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"flushed", func(t *testing.T, _ *redisserver.Server, admin rueidis.Client, _ *rediscache.Cache) {
			do(t, admin, "FLUSHALL")
		}},
		{"evicted", func(t *testing.T, _ *redisserver.Server, admin rueidis.Client, _ *rediscache.Cache) {
			do(t, admin, "DEL", onlyKey(t, admin))
		}},
		{"restarted", func(t *testing.T, redis *redisserver.Server, _ rueidis.Client, c *rediscache.Cache) {
			redis.Kill()
			redis.Start()
			redisserver.Eventually(t, "Redis is used again", answers(t, c))
		}},
	} {
		for _, next := range []string{"no entry", "another entry"} {
			t.Run(tt.name+", then "+next, func(t *testing.T) {
				redis := redisserver.Start(t)
				c := newCache(t, patientConfig(redis.Addr, newSecret()))
				_, epoch, err := c.Get(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				tt.end(t, redis, newAdmin(t, redis.Addr), c)
				if next == "another entry" {
					cached(t, c, key) // creates it
				}
				if kept, err := c.Set(t.Context(), key, newToken("late", time.Hour), epoch); kept || err != nil {
					t.Errorf("Set: kept %v, error %v", kept, err)
				}
				if got := cached(t, c, key); got != "" {
					t.Errorf("Get returned %q", got)
				}
			})
		}
	}
}

// Get reads under several secrets, one after the other. A Forget at any moment
// in between must not pair the old token with the epoch that Forget began.
func TestForgetDuringGetDoesNotRenewAToken(t *testing.T) {
	const delay = 60 * time.Millisecond // of each message
	key, old, next := testKey("ann", ""), newSecret(), newSecret()
	for step := range 10 {
		t.Run(fmt.Sprint("after ", step, " delays"), func(t *testing.T) {
			t.Parallel()
			redis := redisserver.Start(t)
			writer := newCache(t, patientConfig(redis.Addr, old, next))
			mustSet(t, writer, key, newToken("secret", time.Hour))
			proxy := redisserver.StartProxy(t, redis.Addr)
			reader := newCache(t, patientConfig(proxy.Addr, next, old))
			redisserver.Eventually(t, "the reader is connected", answers(t, reader))
			proxy.Delay(delay)

			forgotten := make(chan error)
			time.AfterFunc(time.Duration(step)*delay+delay/2, func() {
				forgotten <- writer.Forget(t.Context(), key.User)
			})
			token, epoch, err := reader.Get(t.Context(), key)
			if err := <-forgotten; err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			kept, err := reader.Set(t.Context(), key, newToken("another", time.Hour), epoch)
			if err != nil {
				t.Fatal(err)
			}
			if token.Value != "" && kept {
				t.Error("Get returned the forgotten token with an epoch that is still valid")
			}
		})
	}
}

// Otherwise a Get between two of its commands could return a token of an ended
// epoch with a new one.
func TestForgetRemovesTheEpochLast(t *testing.T) {
	redis := redisserver.Start(t)
	first, second, user := newSecret(), newSecret(), testKey("ann", "").User
	admin := newAdmin(t, redis.Addr)
	cached(t, newCache(t, patientConfig(redis.Addr, first)), testKey("ann", ""))
	entry := onlyKey(t, admin)
	c := newCache(t, patientConfig(redis.Addr, first, second))
	redisserver.Eventually(t, "the cache is connected", answers(t, c))
	redis.Do("CONFIG", "SET", "slowlog-log-slower-than", "0")
	if err := c.Forget(t.Context(), user); err != nil {
		t.Fatal(err)
	}
	// The log has the latest command first.
	commands := redis.Do("SLOWLOG", "GET", "100")
	if got := strings.Count(commands, "\r\nDEL\r\n"); got != 2 {
		t.Fatalf("Forget sent %d DEL commands, want 2:\n%s", got, commands)
	}
	_, latest, _ := strings.Cut(commands, "\r\nDEL\r\n")
	if fields := strings.SplitN(latest, "\r\n", 3); fields[1] != entry {
		t.Errorf("the last DEL removes %q, want the entry with the epoch, %q", fields[1], entry)
	}
}

func TestForgetWorksWhileRedisIsFull(t *testing.T) {
	redis := redisserver.Start(t)
	c, key := newCache(t, patientConfig(redis.Addr, newSecret())), testKey("ann", "")
	mustSet(t, c, key, newToken("secret", time.Hour))
	redis.Do("CONFIG", "SET", "maxmemory", "1")
	if err := c.Forget(t.Context(), key.User); err != nil {
		t.Fatal(err)
	}
	if token, _, _ := c.Get(t.Context(), key); token.Value != "" {
		t.Error("the token is still there")
	}
}

// A pause of Redis opens the breaker.
func TestMemoryIsServedAndForgetIsSentWhileTheBreakerIsOpen(t *testing.T) {
	redis := redisserver.Start(t)
	ann, bob := testKey("ann", ""), testKey("bob", "")
	c := newCache(t, defaultConfig(redis.Addr, newSecret()))
	redisserver.Eventually(t, "the cache is connected", answers(t, c))
	mustSet(t, c, ann, newToken("secret", time.Hour))
	_, epoch, err := c.Get(t.Context(), ann)
	if err != nil {
		t.Fatal(err)
	}
	redis.Signal(syscall.SIGSTOP)
	if _, _, err := c.Get(t.Context(), bob); err == nil {
		t.Fatal("a stopped Redis answers")
	}
	token, tokenEpoch, err := c.Get(t.Context(), ann)
	if token.Value != "secret" || tokenEpoch != epoch || err != nil {
		t.Errorf("Get returned %q in epoch %d, error %v; want what is in memory", token.Value, tokenEpoch, err)
	}
	if _, _, err := c.Get(t.Context(), testKey("ann", "another grant")); err == nil {
		t.Error("Get returned no error for a token that is not in memory")
	}
	redis.Signal(syscall.SIGCONT)
	if err := c.Forget(t.Context(), ann.User); err != nil {
		t.Fatal(err)
	}
	if got := cached(t, c, ann); got != "" {
		t.Error("the token is not forgotten")
	}
}

// A machine loses its connection, and then another one forgets a user whose
// token the first one has in memory.
func TestLostConnectionDelaysForgetByTwoSecondsAtMost(t *testing.T) {
	const slack = time.Second // of a busy machine
	for _, tt := range []struct {
		name   string
		client rueidis.ClientOption // without an address
		lose   func(*redisserver.Proxy)
		bound  time.Duration
	}{
		{"silent", rueidis.ClientOption{}, (*redisserver.Proxy).Block, 2 * time.Second}, // as documented
		{
			name: "silent for a client that waits for long",
			client: rueidis.ClientOption{
				Dialer: net.Dialer{KeepAlive: time.Minute}, ConnWriteTimeout: time.Minute,
			},
			lose:  (*redisserver.Proxy).Block,
			bound: 2 * time.Second,
		},
		{"broken", rueidis.ClientOption{}, func(p *redisserver.Proxy) {
			p.Delay(time.Minute) // a new connection gets no answer
			p.Break()
		}, 0},
		{"not lost", rueidis.ClientOption{}, func(*redisserver.Proxy) {}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			proxy := redisserver.StartProxy(t, redis.Addr)
			secret, key := newSecret(), testKey("ann", "")
			here := newCache(t, patientConfig(redis.Addr, secret))
			cfg := defaultConfig(proxy.Addr, secret)
			tt.client.InitAddress = cfg.Client.InitAddress
			cfg.Client = tt.client
			there := newCache(t, cfg)
			redisserver.Eventually(t, "the other process is connected", answers(t, there))
			mustSet(t, here, key, newToken("secret", time.Hour))
			redisserver.Eventually(t, "the other process has the token", func() bool {
				token, _, _ := there.Get(t.Context(), key)
				return token.Value == "secret"
			})

			tt.lose(proxy)
			lost := time.Now()
			if err := here.Forget(t.Context(), key.User); err != nil {
				t.Fatal(err)
			}
			if got := cached(t, here, key); got != "" {
				t.Error("the process that forgot the token returns it")
			}
			var served time.Duration
			redisserver.Eventually(t, "the other process has no token", func() bool {
				token, _, _ := there.Get(t.Context(), key)
				if token.Value != "" {
					served = time.Since(lost)
				}
				return token.Value == "" && time.Since(lost) > tt.bound+slack
			})
			if served > tt.bound+slack {
				t.Errorf("the other process returned the token for %v, want at most %v", served, tt.bound)
			}
			t.Logf("the other process returned the token for %v", served)
		})
	}
}
