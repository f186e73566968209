package rediscache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// waitForClaim claims until c holds the claim, and returns how long that took.
// After 10 seconds it fails the test.
func waitForClaim(t *testing.T, c *rediscache.Cache, key searchtoken.Key) (release func(), took time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		release, err := c.Claim(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if release != nil {
			return release, time.Since(began)
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the claim of another process does not end")
		}
	}
}

func TestClaimIsExclusiveUntilItIsReleased(t *testing.T) {
	redis := redisserver.Start(t)
	cfg, key := patientConfig(redis.Addr, newSecret()), testKey("ann", "")
	a, b := newCache(t, cfg), newCache(t, cfg)

	release, _ := waitForClaim(t, a, key)
	if other, err := b.Claim(t.Context(), testKey("ann", "other")); other == nil || err != nil {
		t.Errorf("another grant cannot be claimed: %v", err)
	} else {
		other()
	}
	const held = 3 * time.Second // longer than the claim of a dead process
	time.AfterFunc(held, release)
	release, took := waitForClaim(t, b, key)
	if took < held-100*time.Millisecond {
		t.Errorf("two processes had the claim for %v", held-took)
	}
	release()
}

func TestReleaseWakesTheNextProcess(t *testing.T) {
	for _, tt := range []struct {
		name            string
		onInvalidations func([]rueidis.RedisMessage) // of the application
	}{
		{"alone", nil},
		{"with OnInvalidations", func([]rueidis.RedisMessage) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			cfg, key := patientConfig(redis.Addr, newSecret()), testKey("ann", "")
			cfg.Client.OnInvalidations = tt.onInvalidations
			a, b := newCache(t, cfg), newCache(t, cfg)
			const times = 10
			began := time.Now()
			for range times {
				release, _ := waitForClaim(t, a, key)
				time.AfterFunc(20*time.Millisecond, release)
				release, _ = waitForClaim(t, b, key)
				release()
			}
			// Without Redis's message, Claim waits for 500 ms.
			if took := time.Since(began); took > times*250*time.Millisecond {
				t.Errorf("%d claims took %v", times, took)
			}
		})
	}
}

func TestClaimEndsEarly(t *testing.T) {
	key := testKey("ann", "")
	for _, tt := range []struct {
		name string
		end  func(t *testing.T, c *rediscache.Cache, release func())
	}{
		{"by release", func(_ *testing.T, _ *rediscache.Cache, release func()) { release() }},
		{"by a token", func(t *testing.T, c *rediscache.Cache, _ func()) {
			mustSet(t, c, key, newToken("secret", time.Hour))
		}},
		{"by Forget", func(t *testing.T, c *rediscache.Cache, _ func()) {
			if err := c.Forget(t.Context(), key.User); err != nil {
				t.Error(err)
			}
		}},
		{"by Close", func(_ *testing.T, c *rediscache.Cache, _ func()) { c.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			cfg := patientConfig(redis.Addr, newSecret())
			a, b := newCache(t, cfg), newCache(t, cfg)
			release, _ := waitForClaim(t, a, key)
			if other, err := b.Claim(t.Context(), key); other != nil || err != nil {
				t.Fatalf("two processes have the claim, error %v", err)
			}
			tt.end(t, a, release)
			release, took := waitForClaim(t, b, key)
			if took > 1500*time.Millisecond { // a claim of a dead process takes 2 s
				t.Errorf("the next process waited for %v", took)
			}
			release()
		})
	}
}

func TestCloseWaitsUntilItsClaimsHaveEnded(t *testing.T) {
	redis := redisserver.Start(t)
	proxy := redisserver.StartProxy(t, redis.Addr)
	secret, key := newSecret(), testKey("ann", "")
	a, b := newCache(t, patientConfig(proxy.Addr, secret)), newCache(t, patientConfig(redis.Addr, secret))
	waitForClaim(t, a, key)
	redisserver.Eventually(t, "the other process is connected", answers(t, b))
	proxy.Delay(200 * time.Millisecond)
	a.Close()
	release, err := b.Claim(t.Context(), key)
	if release == nil || err != nil {
		t.Fatalf("the claim has not ended, error %v", err)
	}
	release()
}

// After a claim has ended, its former holder must not extend the claim of the
// next process.
func TestLateReleaseKeepsTheNextClaim(t *testing.T) {
	redis := redisserver.Start(t)
	cfg, key := patientConfig(redis.Addr, newSecret()), testKey("ann", "")
	a, b, c := newCache(t, cfg), newCache(t, cfg), newCache(t, cfg)
	releaseA, _ := waitForClaim(t, a, key)
	if err := a.Forget(t.Context(), key.User); err != nil {
		t.Fatal(err)
	}
	releaseB, _ := waitForClaim(t, b, key)
	releaseA()
	a.Close() // waits until the release is done
	if release, err := c.Claim(t.Context(), key); release != nil || err != nil {
		t.Errorf("a third process got the claim, error %v", err)
	}
	releaseB()
}

func TestClaimReturnsWhenItsContextEnds(t *testing.T) {
	redis := redisserver.Start(t)
	cfg, key := patientConfig(redis.Addr, newSecret()), testKey("ann", "")
	a, b := newCache(t, cfg), newCache(t, cfg)
	release, _ := waitForClaim(t, a, key)
	defer release()
	redisserver.Eventually(t, "the other process is connected", answers(t, b))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if other, err := b.Claim(ctx, key); other != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Claim returned a release: %v, error %v", other != nil, err)
	}
}
