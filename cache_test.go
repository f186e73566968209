package searchtoken_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// keyOf returns a key of a user and of parameters, spread as hashes are.
func keyOf(user, params int) (key searchtoken.Key) {
	for i := range 4 {
		binary.LittleEndian.PutUint64(key.User[8*i:], uint64(user+1)*0x9e3779b97f4a7c15>>i)
	}
	binary.LittleEndian.PutUint64(key.Params[:], uint64(params))
	return key
}

// cacheTest is a MemoryCache in a bubble.
type cacheTest struct {
	*testing.T
	*searchtoken.MemoryCache
}

// set stores a token for life, as a fetch that begins now does.
func (c cacheTest) set(key searchtoken.Key, value string, life time.Duration) (kept bool) {
	c.Helper()
	return c.setAt(key, value, life, c.epoch(key))
}

// setAt stores a token for life, as a fetch that began in an epoch does.
func (c cacheTest) setAt(key searchtoken.Key, value string, life time.Duration, epoch uint64) (kept bool) {
	c.Helper()
	now := time.Now()
	kept, err := c.Set(c.Context(), key, searchtoken.Token{Value: value, Issued: now, Expiry: now.Add(life)}, epoch)
	if err != nil {
		c.Fatal(err)
	}
	return kept
}

func (c cacheTest) epoch(key searchtoken.Key) uint64 {
	c.Helper()
	_, epoch, err := c.Get(c.Context(), key)
	if err != nil {
		c.Fatal(err)
	}
	return epoch
}

// values returns the values of the tokens under keys.
func (c cacheTest) values(keys ...searchtoken.Key) (values []string) {
	c.Helper()
	for _, key := range keys {
		t, _, err := c.Get(c.Context(), key)
		if err != nil {
			c.Fatal(err)
		}
		values = append(values, t.Value)
	}
	return values
}

func (c cacheTest) forget(key searchtoken.Key) {
	c.Helper()
	if err := c.Forget(c.Context(), key.User); err != nil {
		c.Fatal(err)
	}
}

func TestMemoryCacheKeepsTokensUntilTheyExpire(t *testing.T) {
	ann, annOther, bob := keyOf(1, 1), keyOf(1, 2), keyOf(2, 1)
	for _, tt := range []struct {
		name string
		do   func(c cacheTest)
		want []string // under ann, annOther and bob
	}{
		{"one token", func(c cacheTest) { c.set(ann, "a", time.Hour) }, []string{"a", "", ""}},
		{"another token under the same key", func(c cacheTest) {
			c.set(ann, "a", 2*time.Hour)
			c.set(ann, "b", time.Hour)
		}, []string{"b", "", ""}},
		{"just before the expiry", func(c cacheTest) {
			c.set(ann, "a", time.Hour)
			time.Sleep(time.Hour - 1)
		}, []string{"a", "", ""}},
		{"at the expiry", func(c cacheTest) {
			c.set(ann, "a", time.Hour)
			time.Sleep(time.Hour)
		}, []string{"", "", ""}},
		{"one of a user's tokens expires", func(c cacheTest) {
			c.set(ann, "a", 2*time.Hour)
			c.set(annOther, "b", time.Hour)
			time.Sleep(90 * time.Minute)
		}, []string{"a", "", ""}},
		{"an expired token removes", func(c cacheTest) {
			c.set(ann, "a", time.Hour)
			c.set(annOther, "b", time.Hour)
			if c.set(ann, "c", -time.Second) {
				c.Error("Set kept an expired token")
			}
		}, []string{"", "b", ""}},
		{"a token that expires at this moment removes", func(c cacheTest) {
			c.set(ann, "a", time.Hour)
			if c.set(ann, "c", 0) {
				c.Error("Set kept an expired token")
			}
		}, []string{"", "", ""}},
		{"Forget removes every token of one user", func(c cacheTest) {
			c.set(ann, "a", time.Hour)
			c.set(annOther, "b", time.Hour)
			c.set(bob, "c", time.Hour)
			c.forget(ann)
		}, []string{"", "", "c"}},
		{"a Set from before a Forget stores nothing", func(c cacheTest) {
			epoch := c.epoch(ann)
			c.forget(ann)
			if c.setAt(ann, "a", time.Hour, epoch) {
				c.Error("Set kept a token from before the Forget")
			}
		}, []string{"", "", ""}},
		{"a Set from before a Forget removes nothing", func(c cacheTest) {
			epoch := c.epoch(ann)
			c.forget(ann)
			c.set(ann, "b", time.Hour)
			c.setAt(ann, "a", -time.Hour, epoch)
		}, []string{"b", "", ""}},
		{"a Set after a Forget stores", func(c cacheTest) {
			c.forget(ann)
			if !c.set(ann, "a", time.Hour) {
				c.Error("Set did not keep the token")
			}
		}, []string{"a", "", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cacheTest{t, searchtoken.NewMemoryCache(0)}
				tt.do(c)
				if diff := cmp.Diff(tt.want, c.values(ann, annOther, bob)); diff != "" {
					t.Errorf("tokens (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestFullMemoryCacheEvictsTheTokenThatExpiresFirst(t *testing.T) {
	user := func(n int) searchtoken.Key { return keyOf(n, 0) }
	for _, tt := range []struct {
		name string
		max  int
		do   func(c cacheTest)
		keys []searchtoken.Key
		want []string
	}{
		{"first to expire", 3, func(c cacheTest) {
			for i, life := range []time.Duration{3, 1, 2, 4} {
				c.set(user(i), fmt.Sprint(i), life*time.Hour)
			}
		}, []searchtoken.Key{user(0), user(1), user(2), user(3)}, []string{"0", "", "2", "3"}},
		{"never the added token", 2, func(c cacheTest) {
			c.set(user(0), "0", 3*time.Hour)
			c.set(user(1), "1", 2*time.Hour)
			if !c.set(user(2), "2", time.Hour) {
				c.Error("Set did not keep the token")
			}
		}, []searchtoken.Key{user(0), user(1), user(2)}, []string{"0", "", "2"}},
		{"expired tokens first", 2, func(c cacheTest) {
			c.set(user(0), "0", time.Minute)
			c.set(user(1), "1", time.Hour)
			time.Sleep(2 * time.Minute)
			c.set(user(2), "2", time.Hour)
		}, []searchtoken.Key{user(1), user(2)}, []string{"1", "2"}},
		{"no other token for a refresh", 2, func(c cacheTest) {
			c.set(user(0), "0", time.Hour)
			c.set(user(1), "1", 2*time.Hour)
			c.set(user(1), "1b", 3*time.Hour)
		}, []searchtoken.Key{user(0), user(1)}, []string{"0", "1b"}},
		{"a refreshed token by its later expiry", 2, func(c cacheTest) {
			c.set(user(0), "0", time.Hour)
			c.set(user(1), "1", 2*time.Hour)
			c.set(user(0), "0b", 3*time.Hour)
			c.set(user(2), "2", 3*time.Hour)
		}, []searchtoken.Key{user(0), user(1), user(2)}, []string{"0b", "", "2"}},
		{"no token for an expired one", 2, func(c cacheTest) {
			c.set(user(0), "0", time.Hour)
			c.set(user(1), "1", time.Hour)
			c.set(user(2), "2", -time.Hour)
		}, []searchtoken.Key{user(0), user(1), user(2)}, []string{"0", "1", ""}},
		{"nobody's after a Forget of the same user", 2, func(c cacheTest) {
			c.set(user(0), "0", time.Hour)
			c.forget(user(0))
			c.set(user(0), "0b", 2*time.Hour)
			c.set(user(1), "1", time.Hour)
		}, []searchtoken.Key{user(0), user(1)}, []string{"0b", "1"}},
		{"nobody's after a Forget of another user", 2, func(c cacheTest) {
			c.set(user(0), "0", time.Hour)
			c.set(user(1), "1", 2*time.Hour)
			c.forget(user(1))
			c.set(user(2), "2", 3*time.Hour)
		}, []searchtoken.Key{user(0), user(1), user(2)}, []string{"0", "", "2"}},
		{"a token of the same user", 2, func(c cacheTest) {
			for i := range 3 {
				c.set(keyOf(1, i), fmt.Sprint(i), time.Hour+time.Duration(i))
			}
		}, []searchtoken.Key{keyOf(1, 0), keyOf(1, 1), keyOf(1, 2)}, []string{"", "1", "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cacheTest{t, searchtoken.NewMemoryCache(tt.max)}
				tt.do(c)
				if diff := cmp.Diff(tt.want, c.values(tt.keys...)); diff != "" {
					t.Errorf("tokens (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestMemoryCacheIsBoundedAcrossItsShards adds more tokens to a cache of
// several shards than fit. In a full cache, each Set evicts the token of all
// shards that expires first.
func TestMemoryCacheIsBoundedAcrossItsShards(t *testing.T) {
	const most, tokens = 5000, 8000
	for _, tt := range []struct {
		name   string
		expiry func(i int) int // a permutation: in seconds
	}{
		{"the oldest expires first", func(i int) int { return 1 + i }},
		{"the newest expires first", func(i int) int { return tokens - i }},
		{"any order", func(i int) int { return 1 + i*4931%tokens }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cacheTest{t, searchtoken.NewMemoryCache(most)}
				var byExpiry [tokens + 1]searchtoken.Key // a second cache: a zero Key is no token
				first := tokens
				for i := range tokens {
					key, expiry := keyOf(i, 0), tt.expiry(i)
					if i >= most {
						byExpiry[first] = searchtoken.Key{}
					}
					byExpiry[expiry] = key
					for first = 1; byExpiry[first] == (searchtoken.Key{}); first++ {
					}
					c.set(key, fmt.Sprint(expiry), time.Hour+time.Duration(expiry)*time.Second)
					if want := min(i+1, most); c.Len() != want {
						t.Fatalf("%d tokens after %d Sets, want %d", c.Len(), i+1, want)
					}
				}
				var want, got []int
				for i := range tokens {
					expiry := tt.expiry(i)
					if byExpiry[expiry] != (searchtoken.Key{}) {
						want = append(want, expiry)
					}
					if c.values(keyOf(i, 0))[0] != "" {
						got = append(got, expiry)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("expiries of the tokens that remain (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestKeysWithEqualHalvesShareNoToken has keys that the cache stores under the
// same name.
func TestKeysWithEqualHalvesShareNoToken(t *testing.T) {
	ann := keyOf(1, 1)
	otherUser, otherParams := ann, ann
	otherUser.User[31]++
	otherParams.Params[31]++
	c := cacheTest{t, searchtoken.NewMemoryCache(0)}
	for i, key := range []searchtoken.Key{ann, otherUser, otherParams} {
		c.set(key, "t", time.Hour)
		want := make([]string, 3)
		want[i] = "t"
		if diff := cmp.Diff(want, c.values(ann, otherUser, otherParams)); diff != "" || c.Len() != 1 {
			t.Errorf("%d tokens after Set %d, want 1 (-want +got):\n%s", c.Len(), i, diff)
		}
	}
	c.forget(ann) // the token is that of otherParams, which has the same user
	if c.Len() != 0 {
		t.Errorf("%d tokens after Forget, want 0", c.Len())
	}
}

func TestMemoryCacheHasNoLimitPerUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tokens = 20_000
		c := cacheTest{t, searchtoken.NewMemoryCache(0)}
		for i := range tokens {
			c.set(keyOf(1, i), fmt.Sprint(i), time.Hour)
		}
		if diff := cmp.Diff([]string{"0", "19999"}, c.values(keyOf(1, 0), keyOf(1, tokens-1))); diff != "" ||
			c.Len() != tokens {
			t.Errorf("%d tokens, want %d; the first and the last (-want +got):\n%s", c.Len(), tokens, diff)
		}
		c.forget(keyOf(1, 0))
		if c.Len() != 0 {
			t.Errorf("%d tokens after Forget, want 0", c.Len())
		}
	})
}

func TestMemoryCacheHasADefaultSize(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cache *searchtoken.MemoryCache
		want  int
	}{
		{"zero MemoryCache", &searchtoken.MemoryCache{}, 100_000},
		{"0", searchtoken.NewMemoryCache(0), 100_000},
		{"negative", searchtoken.NewMemoryCache(-1), 100_000},
		{"1", searchtoken.NewMemoryCache(1), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cacheTest{t, tt.cache}
			if c.Len() != 0 {
				t.Errorf("%d tokens at the start", c.Len())
			}
			for i := range tt.want + 100 {
				c.set(keyOf(i, 0), "t", time.Hour)
			}
			if c.Len() != tt.want {
				t.Errorf("%d tokens, want %d", c.Len(), tt.want)
			}
		})
	}
}

func TestMemoryCacheRemovesExpiredTokensStepByStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cacheTest{t, searchtoken.NewMemoryCache(500)} // one shard
		for i := range 100 {
			c.set(keyOf(i, 0), "t", time.Hour)
		}
		time.Sleep(2 * time.Hour)
		var got []int
		for i := range 3 {
			c.set(keyOf(1000+i, 0), "t", time.Hour)
			got = append(got, c.Len())
		}
		if diff := cmp.Diff([]int{97, 94, 91}, got); diff != "" {
			t.Errorf("tokens after each Set (-want +got):\n%s", diff)
		}
	})
}

// TestConcurrentSetsExceedTheBoundByTheirNumber has several goroutines add
// tokens to a full cache.
func TestConcurrentSetsExceedTheBoundByTheirNumber(t *testing.T) {
	const most, writers, sets = 3000, 8, 2000
	c := cacheTest{t, searchtoken.NewMemoryCache(most)}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range sets {
				key := keyOf(w*sets+i, 0)
				c.set(key, "t", time.Hour+time.Duration(i)*time.Second)
				c.values(key)
				if n := c.Len(); n > most+writers {
					t.Errorf("%d tokens, want at most %d", n, most+writers)
					return
				}
				if i%100 == 0 {
					c.forget(key)
				}
			}
		})
	}
	group.Wait()
	for i := range writers + 1 {
		c.set(keyOf(-1-i, 0), "t", time.Hour)
	}
	if n := c.Len(); n != most {
		t.Errorf("%d tokens in the end, want %d", n, most)
	}
}

func TestZeroMemoryCacheMayBeUsedConcurrently(t *testing.T) {
	const writers = 8
	for range 50 {
		c := cacheTest{t, &searchtoken.MemoryCache{}}
		var group sync.WaitGroup
		start := make(chan struct{})
		for i := range writers {
			group.Go(func() {
				<-start
				c.set(keyOf(i, 0), "t", time.Hour)
			})
		}
		close(start)
		group.Wait()
		for i := range writers {
			if c.values(keyOf(i, 0))[0] == "" {
				t.Fatal("the first Set of a goroutine was lost")
			}
		}
	}
}

// TestMemoryCacheForgetDiscardsConcurrentSets runs Sets against a Forget. A
// token from before the Forget must not be there after it.
func TestMemoryCacheForgetDiscardsConcurrentSets(t *testing.T) {
	c := cacheTest{t, searchtoken.NewMemoryCache(0)}
	key := keyOf(1, 1)
	for range 200 {
		epoch := c.epoch(key)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() { c.setAt(key, "old", time.Hour, epoch) })
		}
		group.Go(func() { c.forget(key) })
		group.Wait()
		if diff := cmp.Diff([]string{""}, c.values(key)); diff != "" {
			t.Fatalf("token after the Forget (-want +got):\n%s", diff)
		}
	}
}

// TestMemoryCacheGetsNoOldTokenWithALaterEpoch forgets a user again and again
// while others read. The value of each token is its epoch.
func TestMemoryCacheGetsNoOldTokenWithALaterEpoch(t *testing.T) {
	c, key := cacheTest{t, searchtoken.NewMemoryCache(0)}, keyOf(1, 1)
	var group sync.WaitGroup
	var done atomic.Bool
	var read atomic.Int64
	for range 2 {
		group.Go(func() {
			for !done.Load() {
				token, epoch, _ := c.Get(t.Context(), key)
				var n uint64
				if _, err := fmt.Sscan(token.Value, &n); err != nil {
					continue // no token
				}
				read.Add(1)
				if n < epoch {
					t.Errorf("a token of epoch %d came with epoch %d", n, epoch)
					return
				}
			}
		})
	}
	for n := range uint64(30_000) {
		c.setAt(key, fmt.Sprint(n), time.Hour, n)
		c.forget(key)
	}
	for n := uint64(30_000); read.Load() == 0 && !t.Failed(); n++ { // a slow machine: until there is a read
		c.setAt(key, fmt.Sprint(n), time.Hour, n)
		c.forget(key)
	}
	done.Store(true)
	group.Wait()
}

// TestForgetCostsNoSetOfAnotherUser has a cache with one shard.
func TestForgetCostsNoSetOfAnotherUser(t *testing.T) {
	for _, tt := range []struct {
		name      string
		forgotten func(i int) searchtoken.Key
	}{
		{"one user, again and again", func(int) searchtoken.Key { return keyOf(2, 1) }},
		{"two users in turns", func(i int) searchtoken.Key { return keyOf(2+i%2, 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, key := cacheTest{t, searchtoken.NewMemoryCache(1)}, keyOf(1, 1)
			_, epoch, _ := c.Get(t.Context(), key)
			for i := range 500_000 {
				c.forget(tt.forgotten(i))
			}
			kept, err := c.Set(t.Context(), key, searchtoken.Token{Value: "t", Expiry: time.Now().Add(time.Hour)}, epoch)
			if !kept || err != nil {
				t.Errorf("Set() = %v, %v, want true", kept, err)
			}
			if _, after, _ := c.Get(t.Context(), key); after != epoch {
				t.Errorf("the epoch went from %d to %d", epoch, after)
			}
		})
	}
}

func TestMemoryCacheHitDoesNotAllocate(t *testing.T) {
	c, key := cacheTest{t, searchtoken.NewMemoryCache(0)}, keyOf(1, 1)
	c.set(key, "t", time.Hour)
	ctx := t.Context()
	got := testing.AllocsPerRun(100, func() {
		if token, _, _ := c.Get(ctx, key); token.Value != "t" {
			t.Error("no hit")
		}
	})
	if got != 0 {
		t.Errorf("Get allocates %v times, want 0", got)
	}
}

// claimFunc is a Claimer.
type claimFunc func() (release func(), err error)

// Claim implements searchtoken.Claimer.
func (f claimFunc) Claim(context.Context, searchtoken.Key) (release func(), err error) { return f() }

// limitFunc is a RenewalLimiter.
type limitFunc func(interval time.Duration, burst int) (wait time.Duration, err error)

// AllowRenewal implements searchtoken.RenewalLimiter.
func (f limitFunc) AllowRenewal(
	_ context.Context, _ searchtoken.UserKey, interval time.Duration, burst int,
) (wait time.Duration, err error) {
	return f(interval, burst)
}

// TestClaimerAndRenewalLimiterWorkAlone has a Cache that implements one of the
// two optional interfaces.
func TestClaimerAndRenewalLimiterWorkAlone(t *testing.T) {
	var claims, releases, limits int
	claimer := claimFunc(func() (func(), error) {
		claims++
		return func() { releases++ }, nil
	})
	limiter := limitFunc(func(interval time.Duration, burst int) (time.Duration, error) {
		if interval != 20*time.Second || burst != 3 {
			t.Errorf("AllowRenewal of %d, then one per %v, want 3 and 20s", burst, interval)
		}
		if limits++; limits > 1 { // the limit of all processes
			return 7 * time.Second, nil
		}
		return 0, nil
	})
	memory := searchtoken.NewMemoryCache(0)
	type counts struct{ Claims, Releases, Limits int }
	for _, tt := range []struct {
		name   string
		cache  searchtoken.Cache
		want   []int // the statuses of a page and of five renewals
		counts counts
	}{
		{"Claimer", struct {
			searchtoken.Cache
			searchtoken.Claimer
		}{memory, claimer}, []int{200, 200, 200, 200, 429, 429}, counts{Claims: 4, Releases: 4}},
		{"RenewalLimiter", struct {
			searchtoken.Cache
			searchtoken.RenewalLimiter
		}{memory, limiter}, []int{200, 200, 429, 429, 429, 429}, counts{Limits: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				claims, releases, limits = 0, 0, 0
				h.configure(searchtoken.Config{Cache: tt.cache})
				current := h.get(tt.name)
				statuses := []int{current.Status}
				for range 5 {
					a := h.renew(tt.name, current.Body)
					statuses = append(statuses, a.Status)
					if a.Status == http.StatusOK {
						current = a
					}
				}
				if diff := cmp.Diff(tt.want, statuses); diff != "" {
					t.Errorf("statuses (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.counts, counts{claims, releases, limits}); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestRefusedSetRemovesNoToken lets a Set from before a Forget reach a full
// cache.
func TestRefusedSetRemovesNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cacheTest{t, searchtoken.NewMemoryCache(2)}
		ann, bob, cyd := keyOf(1, 1), keyOf(2, 1), keyOf(3, 1)
		epoch := c.epoch(cyd)
		c.set(ann, "a", time.Hour)
		c.set(bob, "b", time.Hour)
		c.forget(cyd)
		if kept := c.setAt(cyd, "c", time.Hour, epoch); kept {
			t.Error("the Set was kept")
		}
		if diff := cmp.Diff([]string{"a", "b", ""}, c.values(ann, bob, cyd)); diff != "" {
			t.Errorf("tokens (-want +got):\n%s", diff)
		}
	})
}

// TestSetEndsEvenIfNoTokenExpires fills a cache of several shards with tokens
// that live as long as a time can tell.
func TestSetEndsEvenIfNoTokenExpires(t *testing.T) {
	c := searchtoken.NewMemoryCache(4096)
	forever := searchtoken.Token{Value: "t", Expiry: time.Unix(0, math.MaxInt64)}
	for i := range 5000 {
		if _, err := c.Set(t.Context(), keyOf(i, 0), forever, 0); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Len(); n < 4096 || n > 5000 {
		t.Errorf("%d tokens", n)
	}
}
