package rediscache_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestRenewalLimitHoldsAcrossProcesses(t *testing.T) {
	const (
		interval = time.Minute
		burst    = 3
	)
	redis := redisserver.Start(t)
	cfg := patientConfig(redis.Addr, newSecret())
	a, b := newCache(t, cfg), newCache(t, cfg)
	ann, bob := testKey("ann", "").User, testKey("bob", "").User
	for i := range burst {
		c := a
		if i%2 == 1 {
			c = b
		}
		if wait, err := c.AllowRenewal(t.Context(), ann, interval, burst); wait != 0 || err != nil {
			t.Errorf("renewal %d: wait %v, error %v", i, wait, err)
		}
	}
	// A refused renewal counts nothing, so the wait does not grow.
	for range 2 {
		wait, err := b.AllowRenewal(t.Context(), ann, interval, burst)
		if wait > interval || wait < interval-10*time.Second || err != nil {
			t.Errorf("a renewal beyond the burst: wait %v, error %v; want %v", wait, err, interval)
		}
	}
	if err := a.Forget(t.Context(), ann); err != nil {
		t.Fatal(err)
	}
	if wait, err := a.AllowRenewal(t.Context(), ann, interval, burst); wait == 0 || err != nil {
		t.Errorf("after Forget: wait %v, error %v; want a wait", wait, err)
	}
	if wait, err := a.AllowRenewal(t.Context(), bob, interval, burst); wait != 0 || err != nil {
		t.Errorf("another user: wait %v, error %v", wait, err)
	}
}

func TestRenewalIsAllowedAgainAfterTheWait(t *testing.T) {
	const interval = 200 * time.Millisecond
	redis := redisserver.Start(t)
	c, user := newCache(t, patientConfig(redis.Addr, newSecret())), testKey("ann", "").User
	if wait, err := c.AllowRenewal(t.Context(), user, interval, 1); wait != 0 || err != nil {
		t.Fatalf("the first renewal: wait %v, error %v", wait, err)
	}
	began := time.Now()
	redisserver.Eventually(t, "the next renewal is allowed", func() bool {
		wait, err := c.AllowRenewal(t.Context(), user, interval, 1)
		return wait == 0 && err == nil
	})
	if took := time.Since(began); took < interval/2 || took > 10*interval {
		t.Errorf("the next renewal is allowed after %v, want %v", took, interval)
	}
}

func TestRenewalCountExpires(t *testing.T) {
	redis := redisserver.Start(t)
	c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
	if _, err := c.AllowRenewal(t.Context(), testKey("ann", "").User, time.Minute, 3); err != nil {
		t.Fatal(err)
	}
	if got := restOfLife(t, admin); got != time.Minute {
		t.Errorf("the count lives for %v, want 1m, when the user has the whole burst again", got)
	}
}

func TestMiddlewareLimitsRenewalsOfAFleet(t *testing.T) {
	redis := redisserver.Start(t)
	fleet := newFleet(t, 5, patientConfig(redis.Addr, newSecret()), &countingIssuer{})
	statuses := map[int]int{}
	for range 2 {
		for _, instance := range fleet {
			statuses[instance.renew(instance.page(t, "ann"), "ann")]++
		}
	}
	// The next renewal is allowed after 20 seconds, when this test is over.
	if diff := cmp.Diff(map[int]int{200: 3, 429: 7}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

// Somebody else may write to Redis, or a clock may have been wrong.
func TestMalformedRenewalCountIsReplaced(t *testing.T) {
	for _, tt := range []struct {
		name           string
		command, value string
		maxWait        time.Duration
	}{
		{"text", "SET", "x", 0},
		{"not a number", "SET", "nan", 0},
		{"infinite", "SET", "inf", 0},
		{"hexadecimal", "SET", "0xfffffffffffff", 0},
		{"list", "RPUSH", "x", 0},
		{"far future", "SET", "99999999999999", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			redis := redisserver.Start(t)
			c, admin := newCache(t, patientConfig(redis.Addr, newSecret())), newAdmin(t, redis.Addr)
			user := testKey("ann", "").User
			if _, err := c.AllowRenewal(t.Context(), user, time.Minute, 3); err != nil {
				t.Fatal(err)
			}
			key := onlyKey(t, admin)
			do(t, admin, "DEL", key)
			do(t, admin, tt.command, key, tt.value)
			wait, err := c.AllowRenewal(t.Context(), user, time.Minute, 3)
			if wait > tt.maxWait || err != nil {
				t.Errorf("wait %v, error %v; want at most %v", wait, err, tt.maxWait)
			}
		})
	}
}
