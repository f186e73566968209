package rediscache_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// No request fails, no user waits long or is fetched again and again, and after
// the outage the instances share tokens again.
func TestSiteSurvivesAnOutageOfRedis(t *testing.T) {
	type (
		server = *redisserver.Server
		proxy  = *redisserver.Proxy
	)
	for _, tt := range []struct {
		name         string
		begin, end   func(server, proxy)
		reportsError bool // with an event and a log line
	}{
		{"stopped", func(s server, _ proxy) { s.Signal(syscall.SIGSTOP) },
			func(s server, _ proxy) { s.Signal(syscall.SIGCONT) }, true},
		{"killed", func(s server, _ proxy) { s.Kill() },
			func(s server, _ proxy) { s.Start() }, true},
		{"full", func(s server, _ proxy) { s.Do("CONFIG", "SET", "maxmemory", "1") },
			func(s server, _ proxy) { s.Do("CONFIG", "SET", "maxmemory", "0") }, true},
		{"read-only", func(s server, _ proxy) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s server, _ proxy) { s.Do("REPLICAOF", "NO", "ONE") }, true},
		{"slow", func(_ server, p proxy) { p.Delay(400 * time.Millisecond) },
			func(_ server, p proxy) { p.Delay(0) }, true},
		{"unreachable", func(_ server, p proxy) { p.Block() },
			func(_ server, p proxy) { p.Unblock() }, true},
		{"flushed", func(s server, _ proxy) { s.Do("FLUSHALL") },
			func(server, proxy) {}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			proxy := redisserver.StartProxy(t, redis.Addr)
			issuer := &countingIssuer{}
			fleet := newFleet(t, 2, defaultConfig(proxy.Addr, newSecret()), issuer)
			redisserver.Eventually(t, "the instances share a token", func() bool { return share(t, fleet, "before") })
			errorsBefore := []int64{fleet[0].cacheErrors.Load(), fleet[1].cacheErrors.Load()}

			tt.begin(redis, proxy)
			began, callsBefore := time.Now(), issuer.calls.Load()
			const users, pages = 10, 5
			for range pages {
				for user := range users {
					for _, instance := range fleet {
						instance.page(t, fmt.Sprint("user", user))
					}
				}
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%d requests took %v", len(fleet)*users*pages, took)
			}
			// While Redis answers some commands only, each instance fetches
			// twice.
			if got := issuer.calls.Load() - callsBefore; got > int64(2*len(fleet)*users) {
				t.Errorf("%d calls for %d users of %d instances", got, users, len(fleet))
			}
			for i, instance := range fleet {
				failures, log := instance.cacheErrors.Load()-errorsBefore[i], instance.log.String()
				logged := strings.Contains(log, "rediscache: cannot ")
				if tt.reportsError && (failures == 0 || !logged) || !tt.reportsError && failures != 0 {
					t.Errorf("instance %d: %d events, log %q; reports an error: want %v", i, failures, log,
						tt.reportsError)
				}
				if lines := strings.Count(log, "\n"); lines > 4 { // one for each method of the cache
					t.Errorf("instance %d: %d lines in the log:\n%s", i, lines, log)
				}
			}

			tt.end(redis, proxy)
			user := 0
			redisserver.Eventually(t, "the instances share a token again", func() bool {
				user++
				return share(t, fleet, fmt.Sprint("after", user))
			})
			redisserver.Eventually(t, "a user of the outage has one token", func() bool {
				return share(t, fleet, "user1")
			})
		})
	}
}

// Depending on what was in flight, the instances see an error or none.
func TestSiteSurvivesBrokenConnections(t *testing.T) {
	redis := redisserver.Start(t)
	proxy := redisserver.StartProxy(t, redis.Addr)
	fleet := newFleet(t, 2, defaultConfig(proxy.Addr, newSecret()), &countingIssuer{})
	redisserver.Eventually(t, "the instances share a token", func() bool { return share(t, fleet, "before") })
	proxy.Break()
	for user := range 10 {
		share(t, fleet, fmt.Sprint("user", user)) // fails unless each page is served
	}
	redisserver.Eventually(t, "the instances share a token again", func() bool { return share(t, fleet, "user1") })
}

func TestSiteStartsBeforeRedis(t *testing.T) {
	redis := redisserver.Start(t)
	redis.Kill()
	fleet := newFleet(t, 2, defaultConfig(redis.Addr, newSecret()), &countingIssuer{})
	if first, second := fleet[0].page(t, "ann"), fleet[0].page(t, "ann"); first == "" || first != second {
		t.Errorf("the instance fetched the token %q and then %q", first, second)
	}
	redis.Start()
	redisserver.Eventually(t, "the instances share a token", func() bool { return share(t, fleet, "bob") })
}

func TestErrorsSayWhyWithoutSecrets(t *testing.T) {
	protected := redisserver.Start(t, "--requirepass", "hunter2")
	stopped := redisserver.Start(t)
	stopped.Signal(syscall.SIGSTOP)
	for _, tt := range []struct {
		name, addr, password string
		want                 string
	}{
		{"wrong password", protected.Addr, "hunter3", "WRONGPASS"},
		{"no password", protected.Addr, "", "NOAUTH"},
		{"nothing listens", redisserver.FreeAddr(t), "", "connection refused"},
		{"no answer", stopped.Addr, "", "deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaultConfig(tt.addr, newSecret())
			cfg.Client.Password = tt.password
			c, key := newCache(t, cfg), testKey("ann", "")
			redisserver.Eventually(t, "the error says "+tt.want, func() bool {
				_, _, err := c.Get(t.Context(), key)
				return err != nil && strings.Contains(err.Error(), tt.want)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, _, getErr := c.Get(t.Context(), key)
			_, setErr := c.Set(t.Context(), key, newToken("secret", time.Hour), 0)
			_, claimErr := c.Claim(t.Context(), key)
			_, renewalErr := c.AllowRenewal(t.Context(), key.User, time.Minute, 1)
			for prefix, err := range map[string]error{
				"rediscache: cannot read a token: ":    getErr,
				"rediscache: cannot store a token: ":   setErr,
				"rediscache: cannot claim a fetch: ":   claimErr,
				"rediscache: cannot count a renewal: ": renewalErr,
				"rediscache: cannot forget a user: ":   c.Forget(ctx, key.User),
			} {
				if err == nil || !strings.HasPrefix(err.Error(), prefix) {
					t.Errorf("error %v, want one that starts with %q", err, prefix)
				} else if strings.Contains(err.Error(), "hunter") {
					t.Errorf("error %q contains a password", err)
				}
			}
			if getErr != nil && !strings.Contains(getErr.Error(), tt.want) {
				t.Errorf("error %q does not contain %q", getErr, tt.want)
			}
		})
	}
}

func TestMethodsFailAtOnceDuringAnOutage(t *testing.T) {
	redis := redisserver.Start(t)
	c := newCache(t, defaultConfig(redis.Addr, newSecret()))
	redisserver.Eventually(t, "the cache is connected", answers(t, c))
	redis.Signal(syscall.SIGSTOP)
	began := time.Now()
	if answers(t, c)() {
		t.Fatal("a stopped Redis answers")
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("the first call failed after %v, want the timeout of 250ms", took)
	}
	began = time.Now()
	for range 100 {
		if answers(t, c)() {
			t.Fatal("a stopped Redis answers")
		}
	}
	if took := time.Since(began); took > 2*time.Second { // with some attempts among them
		t.Errorf("100 calls took %v", took)
	}
	redis.Signal(syscall.SIGCONT)
	redisserver.Eventually(t, "Redis is used again", answers(t, c))
}

// A visitor who leaves says nothing about Redis.
func TestCallerWhoGivesUpDoesNotStartAnOutage(t *testing.T) {
	redis := redisserver.Start(t)
	c := newCache(t, patientConfig(redis.Addr, newSecret()))
	redisserver.Eventually(t, "the cache is connected", answers(t, c))
	for name, newContext := range map[string]func() (context.Context, context.CancelFunc){
		"canceled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 50*time.Millisecond)
		},
	} {
		t.Run(name, func(t *testing.T) {
			redis.Signal(syscall.SIGSTOP)
			ctx, cancel := newContext()
			defer cancel()
			if _, _, err := c.Get(ctx, testKey(name, "")); err == nil {
				t.Fatal("a stopped Redis answers")
			}
			redis.Signal(syscall.SIGCONT)
			if _, _, err := c.Get(t.Context(), testKey("bob", name)); err != nil {
				t.Error(err)
			}
		})
	}
}

// An error that Redis answers, here for lack of a permission, is not an outage.
func TestRefusedCommandDoesNotStartAnOutage(t *testing.T) {
	redis := redisserver.Start(t)
	cfg, ann, bob := patientConfig(redis.Addr, newSecret()), testKey("ann", ""), testKey("bob", "")
	c := newCache(t, cfg)
	mustSet(t, newCache(t, cfg), ann, newToken("secret", time.Hour))
	redisserver.Eventually(t, "the cache is connected", answers(t, c))
	redis.Do("ACL", "SETUSER", "default", "-@scripting")
	if _, _, err := c.Get(t.Context(), bob); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Fatalf("error %v, want NOPERM", err)
	}
	if got := cached(t, c, ann); got != "secret" {
		t.Errorf("Get returned %q", got)
	}
}
