package searchtoken_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/searchtoken/searchtoken"
)

// TestNothingOutlivesItsUse lets many users come once. Two thirds get a token, and
// force a renewal; some of them log out. The others are refused, and half of
// those who wait leave first. What stays is the cache's 1,000 users, and what is
// remembered of 4,096 refusals and 4,096 renewals: 4 MB at most, where any of
// it without a bound would take more.
func TestNothingOutlivesItsUse(t *testing.T) {
	const (
		batch = 500
		most  = 4 << 20 // bytes
	)
	users := 100_000
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		users = 10_000 // the race detector takes ten times as long
	}
	synctest.Test(t, func(t *testing.T) {
		refusal := strings.Repeat("No. ", 70)
		issuer := roundTrips(func(ctx context.Context, p searchtoken.TokenParams) (searchtoken.Token, error) {
			time.Sleep(time.Second)
			if strings.HasPrefix(p.UserIDs[0].Name, "refused") {
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 403, Message: refusal}
			}
			return tokenFor(int(time.Now().UnixNano()), p), nil
		})
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: searchtoken.NewMemoryCache(1000), MaxInFlight: batch})
		renew := m.RenewHandler()
		visit := func(n int) {
			kind := []string{"served", "renewed", "refused"}[n%3]
			user := fmt.Sprintf("%s %d", kind, n)
			ctx, cancel := context.WithTimeout(t.Context(), []time.Duration{500 * time.Millisecond, time.Minute}[n/3%2])
			defer cancel()
			token := get(m, request(user).WithContext(ctx)).Body.String()
			if kind != "refused" && ctx.Err() == nil {
				r := httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(`{"rejected":"`+token+`"}`))
				r.Header.Set("User", user)
				renew.ServeHTTP(httptest.NewRecorder(), r)
			}
			if n%5 == 0 {
				if err := m.Forget(ctx, searchtoken.Email(user)); err != nil {
					t.Error(err)
				}
			}
		}
		run := func(first, last int) {
			for first := first; first < last; first += batch {
				var wg sync.WaitGroup
				for n := range batch {
					wg.Go(func() { visit(first + n) })
				}
				wg.Wait()
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		run(0, batch) // what is allocated once
		heap := heapInUse()
		run(batch, users)
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if left := bytes.Count(stacks, []byte("searchtoken.(*source)")); left > 0 {
			t.Errorf("%d goroutines are left:\n%s", left, stacks)
		}
		if grown := heapInUse() - heap; grown > most {
			t.Errorf("%d users leave %d bytes behind, want at most %d", users, grown, most)
		}
		runtime.KeepAlive(m)
	})
}

// roundTrips is an Issuer that keeps nothing.
type roundTrips func(context.Context, searchtoken.TokenParams) (searchtoken.Token, error)

func (f roundTrips) Issue(ctx context.Context, p searchtoken.TokenParams) (searchtoken.Token, error) {
	return f(ctx, p)
}

// heapInUse is what is left after garbage collection, with the finalizers' wards.
func heapInUse() int64 {
	var stats runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
