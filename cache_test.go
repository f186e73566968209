package searchtoken_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// keyOf is a key of user and params.
func keyOf(user, params int) (key searchtoken.Key) {
	// Spread as a hash is.
	for i := range 4 {
		binary.LittleEndian.PutUint64(key.User[8*i:], uint64(user+1)*0x9e3779b97f4a7c15>>i)
	}
	binary.LittleEndian.PutUint64(key.Params[:], uint64(params))
	return key
}

// cacheTest is a cache in a test's bubble.
type cacheTest struct {
	*testing.T
	*searchtoken.MemoryCache
}

// set keeps a token for life, as a fetch does that begins now, and returns
// whether it was kept.
func (c cacheTest) set(key searchtoken.Key, value string, life time.Duration) bool {
	c.Helper()
	_, epoch, err := c.Get(c.Context(), key)
	if err != nil {
		c.Fatal(err)
	}
	return c.setAt(key, value, life, epoch)
}

func (c cacheTest) setAt(key searchtoken.Key, value string, life time.Duration, epoch uint64) bool {
	c.Helper()
	kept, err := c.Set(c.Context(), key, searchtoken.Token{Value: value, Issued: time.Now(), Expiry: time.Now().Add(life)}, epoch)
	if err != nil {
		c.Fatal(err)
	}
	return kept
}

func (c cacheTest) value(key searchtoken.Key) string {
	c.Helper()
	t, _, err := c.Get(c.Context(), key)
	if err != nil {
		c.Fatal(err)
	}
	return t.Value
}

func (c cacheTest) forget(key searchtoken.Key) {
	c.Helper()
	if err := c.Forget(c.Context(), key.User); err != nil {
		c.Fatal(err)
	}
}

func TestMemoryCache(t *testing.T) {
	ann, annOther, bob := keyOf(1, 1), keyOf(1, 2), keyOf(2, 1)
	for _, tt := range []struct {
		name string
		max  int
		do   func(c cacheTest) (got any)
		want any
	}{
		{"keeps", 0, func(c cacheTest) any {
			kept := c.set(ann, "a", time.Hour)
			return []any{kept, c.value(ann), c.value(annOther), c.value(bob)}
		}, []any{true, "a", "", ""}},
		{"replaces", 0, func(c cacheTest) any {
			c.set(ann, "a", 2*time.Hour)
			c.set(ann, "b", time.Hour)
			return c.value(ann)
		}, "b"},
		{"keeps until expiry", 0, func(c cacheTest) any {
			c.set(ann, "a", time.Hour)
			time.Sleep(time.Hour - time.Nanosecond)
			before := c.value(ann)
			time.Sleep(time.Nanosecond)
			return []any{before, c.value(ann)}
		}, []any{"a", ""}},
		{"one token of a user expires", 0, func(c cacheTest) any {
			c.set(ann, "a", time.Hour)
			c.set(annOther, "b", 2*time.Hour)
			time.Sleep(time.Hour)
			return []any{c.value(ann), c.value(annOther)}
		}, []any{"", "b"}},
		{"a shorter token after a longer one", 0, func(c cacheTest) any {
			c.set(ann, "a", 2*time.Hour)
			c.set(annOther, "b", time.Hour)
			time.Sleep(90 * time.Minute)
			return []any{c.value(ann), c.value(annOther)}
		}, []any{"a", ""}},
		{"a token that has expired removes", 0, func(c cacheTest) any {
			c.set(ann, "a", time.Hour)
			c.set(annOther, "b", time.Hour)
			kept := c.set(ann, "c", -time.Second)
			return []any{kept, c.value(ann), c.value(annOther)}
		}, []any{false, "", "b"}},
		{"a token that has expired at this moment removes, and does not stay for ever", 0, func(c cacheTest) any {
			c.set(ann, "a", time.Hour)
			kept := c.set(ann, "c", 0)
			return []any{kept, c.value(ann)}
		}, []any{false, ""}},
		{"forgets one user", 0, func(c cacheTest) any {
			c.set(ann, "a", time.Hour)
			c.set(annOther, "b", time.Hour)
			c.set(bob, "c", time.Hour)
			c.forget(ann)
			return []any{c.value(ann), c.value(annOther), c.value(bob)}
		}, []any{"", "", "c"}},
		{"a Set from before a Forget keeps nothing", 0, func(c cacheTest) any {
			_, epoch, _ := c.Get(c.Context(), ann)
			c.forget(ann)
			late := c.setAt(ann, "a", time.Hour, epoch)
			value := c.value(ann)
			return []any{late, value, c.set(ann, "b", time.Hour), c.value(ann)}
		}, []any{false, "", true, "b"}},
		{"a Set from before a Forget removes nothing either", 0, func(c cacheTest) any {
			_, epoch, _ := c.Get(c.Context(), ann)
			c.forget(ann)
			c.set(ann, "b", time.Hour)
			return []any{c.setAt(ann, "a", -time.Hour, epoch), c.value(ann)}
		}, []any{false, "b"}},
		{"at the bound the first to expire goes", 3, func(c cacheTest) any {
			for i, life := range []time.Duration{3, 1, 2, 4} {
				c.set(keyOf(i, 0), fmt.Sprint(i), life*time.Hour)
			}
			return []string{c.value(keyOf(0, 0)), c.value(keyOf(1, 0)), c.value(keyOf(2, 0)), c.value(keyOf(3, 0))}
		}, []string{"0", "", "2", "3"}},
		{"at the bound the newest user is never refused", 2, func(c cacheTest) any {
			c.set(keyOf(0, 0), "0", 3*time.Hour)
			c.set(keyOf(1, 0), "1", 2*time.Hour)
			return []any{c.set(keyOf(2, 0), "2", time.Hour), c.value(keyOf(0, 0)), c.value(keyOf(1, 0)), c.value(keyOf(2, 0))}
		}, []any{true, "0", "", "2"}},
		{"at the bound the expired go first", 2, func(c cacheTest) any {
			c.set(keyOf(0, 0), "0", time.Minute)
			c.set(keyOf(1, 0), "1", time.Hour)
			time.Sleep(2 * time.Minute)
			c.set(keyOf(2, 0), "2", time.Hour)
			return []string{c.value(keyOf(1, 0)), c.value(keyOf(2, 0))}
		}, []string{"1", "2"}},
		{"a refresh at the bound displaces nobody", 2, func(c cacheTest) any {
			c.set(keyOf(0, 0), "0", time.Hour)
			c.set(keyOf(1, 0), "1", 2*time.Hour)
			c.set(keyOf(0, 0), "0b", 3*time.Hour)
			c.set(keyOf(2, 0), "2", 3*time.Hour) // user 1 is the first to expire by then
			return []string{c.value(keyOf(0, 0)), c.value(keyOf(1, 0)), c.value(keyOf(2, 0))}
		}, []string{"0b", "", "2"}},
		{"a user may have any number of tokens", 0, func(c cacheTest) any {
			for i := range 5000 {
				c.set(keyOf(1, i), fmt.Sprint(i), time.Hour+time.Duration(i))
			}
			return []any{c.Len(), c.value(keyOf(1, 0)), c.value(keyOf(1, 4999))}
		}, []any{5000, "0", "4999"}},
		{"tokens are bounded", 5000, func(c cacheTest) any {
			n := 0
			for i := range 20_000 {
				c.set(keyOf(i, 0), "t", time.Hour)
			}
			for i := range 20_000 {
				if c.value(keyOf(i, 0)) != "" {
					n++
				}
			}
			return []int{n, c.Len()}
		}, []int{5000, 5000}},
		{"a user who was forgotten takes no place", 2, func(c cacheTest) any {
			c.set(keyOf(0, 0), "0", time.Hour)
			c.forget(keyOf(0, 0))
			c.set(keyOf(0, 0), "0b", 2*time.Hour)
			c.set(keyOf(1, 0), "1", time.Hour)
			return []string{c.value(keyOf(0, 0)), c.value(keyOf(1, 0))}
		}, []string{"0b", "1"}},
		{"a user who is forgotten gives up no other's place", 2, func(c cacheTest) any {
			c.set(keyOf(0, 0), "0", time.Hour)
			c.set(keyOf(1, 0), "1", 2*time.Hour)
			c.forget(keyOf(1, 0))
			c.set(keyOf(2, 0), "2", 3*time.Hour)
			c.set(keyOf(3, 0), "3", 4*time.Hour)
			return []string{c.value(keyOf(0, 0)), c.value(keyOf(2, 0)), c.value(keyOf(3, 0))}
		}, []string{"", "2", "3"}},
		{"a user goes with the last token", 500, func(c cacheTest) any {
			c.set(keyOf(1, 1), "a", 2*time.Hour)
			c.set(keyOf(1, 2), "b", time.Hour)
			time.Sleep(90 * time.Minute)
			for i := range 200 { // as many as meet in one shard
				c.set(keyOf(2+i, 0), "c", time.Hour)
			}
			return c.value(keyOf(1, 1))
		}, "a"},
		{"at the bound a user's own token may make room", 2, func(c cacheTest) any {
			for i := range 3 {
				c.set(keyOf(1, i), fmt.Sprint(i), time.Hour+time.Duration(i))
			}
			return []string{c.value(keyOf(1, 0)), c.value(keyOf(1, 1)), c.value(keyOf(1, 2))}
		}, []string{"", "1", "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := tt.do(cacheTest{t, searchtoken.NewMemoryCache(tt.max)})
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestMemoryCacheForgetWins runs writers against Forget: whatever is asked for
// before a Forget and set after it must not be there.
func TestMemoryCacheForgetWins(t *testing.T) {
	c := searchtoken.NewMemoryCache(0)
	key := keyOf(1, 1)
	for range 200 {
		_, epoch, _ := c.Get(t.Context(), key)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				token := searchtoken.Token{Value: "old", Issued: time.Now(), Expiry: time.Now().Add(time.Hour)}
				if _, err := c.Set(t.Context(), key, token, epoch); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if err := c.Forget(t.Context(), key.User); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if got, _, _ := c.Get(t.Context(), key); got.Value != "" {
			t.Fatal("a token from before the Forget is there after it")
		}
	}
}

// TestMemoryCacheEpochs has a user forgotten again and again: no token from before comes
// with the epoch that a Forget began.
func TestMemoryCacheEpochs(t *testing.T) {
	c, key := searchtoken.NewMemoryCache(0), keyOf(1, 1)
	var wg sync.WaitGroup
	var done atomic.Bool
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				token, epoch, _ := c.Get(t.Context(), key)
				var n uint64
				if _, err := fmt.Sscan(token.Value, &n); err == nil && n < epoch {
					t.Errorf("a token of epoch %d came with epoch %d", n, epoch)
					return
				}
			}
		})
	}
	for n := range uint64(30_000) {
		token := searchtoken.Token{Value: fmt.Sprint(n), Expiry: time.Now().Add(time.Hour)}
		_, _ = c.Set(t.Context(), key, token, n)
		_ = c.Forget(t.Context(), key.User)
	}
	done.Store(true)
	wg.Wait()
}

func TestMemoryCacheHitDoesNotAllocate(t *testing.T) {
	c := searchtoken.NewMemoryCache(0)
	key := keyOf(1, 1)
	token := searchtoken.Token{Value: "t", Issued: time.Now(), Expiry: time.Now().Add(time.Hour)}
	if _, err := c.Set(t.Context(), key, token, 0); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() { c.Get(ctx, key) }); got != 0 {
		t.Errorf("Get allocates %v times, want 0", got)
	}
}
