package searchtoken_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"golang.org/x/time/rate"
)

// fleet is a SharedCache of processes that are one: the claims of those who die
// are as a store would have them.
type fleet struct {
	searchtoken.Cache
	// claim and allow come before the fleet's own, and fail in their place.
	claim func(context.Context, searchtoken.Key) (func(), error)
	allow func() error
	wait  time.Duration // what AllowRenewal says, if it is not 0

	mu      sync.Mutex
	dead    time.Duration                 // for so long, the first claim is that of a process that has died
	claims  map[searchtoken.Key]time.Time // until when; zero: until it is released
	changed chan struct{}
	limits  map[searchtoken.UserKey]*rate.Limiter
}

func newFleet() *fleet {
	return &fleet{
		Cache: searchtoken.NewMemoryCache(0), claims: map[searchtoken.Key]time.Time{}, changed: make(chan struct{}),
		limits: map[searchtoken.UserKey]*rate.Limiter{},
	}
}

func (f *fleet) Claim(ctx context.Context, key searchtoken.Key) (release func(), err error) {
	if f.claim != nil {
		return f.claim(ctx, key)
	}
	f.mu.Lock()
	if f.dead > 0 {
		f.claims[key] = time.Now().Add(f.dead)
		f.dead = 0
	}
	until, taken := f.claims[key]
	if !taken || !until.IsZero() && !time.Now().Before(until) {
		f.claims[key] = time.Time{}
		f.mu.Unlock()
		return func() { f.end(key) }, nil
	}
	changed := f.changed
	f.mu.Unlock()
	expired := make(<-chan time.Time)
	if !until.IsZero() {
		expired = time.After(time.Until(until))
	}
	select {
	case <-changed:
	case <-expired:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

// end ends a claim.
func (f *fleet) end(key searchtoken.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.claims, key)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fleet) AllowRenewal(_ context.Context, user searchtoken.UserKey, interval time.Duration, burst int) (time.Duration, error) {
	if f.allow != nil {
		return 0, f.allow()
	}
	if f.wait > 0 {
		return f.wait, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.limits[user] == nil {
		f.limits[user] = rate.NewLimiter(rate.Every(interval), burst)
	}
	r := f.limits[user].Reserve()
	if r.Delay() > 0 {
		defer r.Cancel()
	}
	return r.Delay(), nil
}

// instances are n Middlewares of a site that calls issuer and shares c.
func instances(t testing.TB, n int, c searchtoken.Cache, issuer searchtoken.Issuer) []*searchtoken.Middleware {
	t.Helper()
	var list []*searchtoken.Middleware
	for range n {
		list = append(list, newMiddleware(t, searchtoken.Config{Cache: c, Issuer: issuer}))
	}
	return list
}

// all calls request for every instance at once, and returns how often it returned
// what.
func all(site []*searchtoken.Middleware, request func(m *searchtoken.Middleware) int) map[int]int {
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		codes = map[int]int{}
	)
	for _, m := range site {
		wg.Go(func() {
			code := request(m)
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	wg.Wait()
	return codes
}

// TestOneFetchInAFleet has all instances ask at once: where one answer is good for
// all, it is asked for once.
func TestOneFetchInAFleet(t *testing.T) {
	page := func(m *searchtoken.Middleware) int { return get(m, request("ann")).Code }
	ago := func(d time.Duration) func(*fleet, *searchtoken.Middleware) {
		return func(_ *fleet, m *searchtoken.Middleware) {
			page(m)
			time.Sleep(d)
		}
	}
	unavailable := &searchtoken.APIError{StatusCode: 503}
	for _, tt := range []struct {
		name    string
		before  func(*fleet, *searchtoken.Middleware)
		err     error // the first answer
		request func(m *searchtoken.Middleware) int
		calls   int
		codes   map[int]int
		took    time.Duration
	}{
		{name: "a page", request: page, calls: 1, codes: map[int]int{200: 5}, took: time.Second},
		{name: "near the token's expiry", before: ago(23 * time.Hour), request: page, calls: 2, codes: map[int]int{200: 5}},
		{name: "after its expiry", before: ago(25 * time.Hour), request: page, calls: 2, codes: map[int]int{200: 5}, took: time.Second},
		{
			name: "a token that was rejected", before: ago(time.Hour),
			request: func(m *searchtoken.Middleware) int {
				return renew(m, renewal("ann", get(m, request("ann")).Body.String())).Code
			},
			calls: 2, codes: map[int]int{200: 5}, took: time.Second,
		},
		{name: "the first call fails", err: unavailable, request: page, calls: 2, codes: map[int]int{200: 4, 503: 1}, took: 2 * time.Second},
		{
			name:    "who had claimed it has died",
			before:  func(f *fleet, _ *searchtoken.Middleware) { f.dead = 3 * time.Second },
			request: page, calls: 1, codes: map[int]int{200: 5}, took: 4 * time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{answer: func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					token, err := slowly(time.Second)(ctx, n, p)
					if n == 1 && tt.err != nil {
						return searchtoken.Token{}, tt.err
					}
					return token, err
				}}
				f := newFleet()
				site := instances(t, 5, f, issuer)
				if tt.before != nil {
					tt.before(f, site[0])
				}
				began := time.Now()
				codes := all(site, tt.request)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if diff := cmp.Diff(tt.codes, codes); diff != "" {
					t.Errorf("statuses (-want +got):\n%s", diff)
				}
				time.Sleep(20 * time.Second) // for the refreshes
				if got := issuer.count(); got != tt.calls {
					t.Errorf("%d calls, want %d", got, tt.calls)
				}
				if len(f.claims) > 0 {
					t.Error("a claim was not released")
				}
			})
		})
	}
}

// TestWaitForAnotherProcess has another process hold the claim for as long as it
// takes.
func TestWaitForAnotherProcess(t *testing.T) {
	for _, tt := range []struct {
		name  string
		claim func(ctx context.Context, key searchtoken.Key) (func(), error)
		ctx   time.Duration // the request's; 0: without end
		want  int
		took  time.Duration
	}{
		{"no longer than the request", nil, 2 * time.Second, 503, 2 * time.Second},
		{"no longer than a fetch", nil, 0, 200, 11 * time.Second},
		{"a claim that fails is none", func(context.Context, searchtoken.Key) (func(), error) { return nil, errors.New("down") }, 0, 200, time.Second},
		{"a claim that panics", func(context.Context, searchtoken.Key) (func(), error) { panic("down") }, 0, 503, 0},
		{"one that is never granted", func(context.Context, searchtoken.Key) (func(), error) {
			time.Sleep(3 * time.Second)
			return nil, nil
		}, 0, 200, 13 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				f.claim = tt.claim
				if tt.claim == nil {
					f.claim = func(ctx context.Context, _ searchtoken.Key) (func(), error) {
						<-ctx.Done()
						return nil, ctx.Err()
					}
				}
				m := instances(t, 1, f, &issuer{answer: slowly(time.Second)})[0]
				r := request("ann")
				if tt.ctx > 0 {
					ctx, cancel := context.WithTimeout(r.Context(), tt.ctx)
					defer cancel()
					r = r.WithContext(ctx)
				}
				began := time.Now()
				if w := get(m, r); w.Code != tt.want || time.Since(began) != tt.took {
					t.Errorf("status %d after %v, want %d after %v", w.Code, time.Since(began), tt.want, tt.took)
				}
			})
		})
	}
}

// TestForgetWhileAnotherFetches has an instance forget the user whom another
// instance's fetch is for, and a third one waits for that.
func TestForgetWhileAnotherFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(2 * time.Second)}
		site := instances(t, 3, newFleet(), issuer)
		var wg sync.WaitGroup
		tokens := make([]string, 2)
		for i := range tokens {
			wg.Go(func() { tokens[i] = get(site[i], request("ann")).Body.String() })
			synctest.Wait()
		}
		time.Sleep(time.Second)
		if err := site[2].Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if tokens[0] != tokens[1] || issuer.count() != 2 {
			t.Errorf("%d calls and %d tokens, want one call after the Forget for both", issuer.count(), len(slices.Compact(tokens)))
		}
	})
}

// TestRenewalsOfAFleetAreLimited has users claim at every instance again and again
// that their tokens were rejected.
func TestRenewalsOfAFleetAreLimited(t *testing.T) {
	for _, tt := range []struct {
		name  string
		allow func() error
		want  map[int]int
	}{
		{"in all together", nil, map[int]int{200: 3, 429: 17}},
		{"in each, if the store fails", func() error { return errors.New("down") }, map[int]int{200: 12, 429: 8}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet()
				f.allow = tt.allow
				site := instances(t, 4, f, &issuer{})
				codes := map[int]int{}
				for range 5 {
					for _, m := range site {
						codes[renew(m, renewal("ann", get(m, request("ann")).Body.String())).Code]++
					}
				}
				if diff := cmp.Diff(tt.want, codes); diff != "" {
					t.Errorf("statuses (-want +got):\n%s", diff)
				}
				time.Sleep(20 * time.Second)
				m := site[0]
				if w := renew(m, renewal("ann", get(m, request("ann")).Body.String())); w.Code != 200 {
					t.Errorf("20 s later: %d", w.Code)
				}
			})
		})
	}
}

// TestPageBesideALimitedRenewal has a page ask for the token that a renewal is about
// to fetch, when it turns out that the user has forced too many: the page is served.
func TestPageBesideALimitedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet()
		m := instances(t, 1, f, &issuer{})[0]
		long, err := m.With(func(r *searchtoken.Route) { r.MinRemaining = 12 * time.Hour })
		if err != nil {
			t.Fatal(err)
		}
		token := get(m, request("ann")).Body.String()
		time.Sleep(13 * time.Hour) // it is good for m only
		f.wait = time.Minute       // by what other instances have counted
		f.claim = func(ctx context.Context, key searchtoken.Key) (func(), error) {
			time.Sleep(time.Second)
			return func() {}, nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if w := renew(m, renewal("ann", token)); w.Code != 429 {
				t.Errorf("renewal: %v", seen(w))
			}
		})
		synctest.Wait()
		if w := get(long, request("ann")); w.Code != 200 {
			t.Errorf("page: %v", seen(w))
		}
		wg.Wait()
	})
}

// TestSparesOfAnOutage has a cache fail: what is fetched meanwhile serves this
// process for a minute, and nobody once the cache is back or the user is forgotten.
func TestSparesOfAnOutage(t *testing.T) {
	down := errors.New("down")
	for _, tt := range []struct {
		name     string
		get, set bool // what fails
		then     func(m, other *searchtoken.Middleware, c *cache)
		want     int // calls
	}{
		{"nothing can be read", true, true, func(_, _ *searchtoken.Middleware, _ *cache) { time.Sleep(59 * time.Second) }, 1},
		{"for a minute", true, true, func(_, _ *searchtoken.Middleware, _ *cache) { time.Sleep(time.Minute) }, 2},
		{"nothing can be written", false, true, func(_, _ *searchtoken.Middleware, _ *cache) { time.Sleep(59 * time.Second) }, 1},
		{"the user is forgotten here", true, true, func(m, _ *searchtoken.Middleware, _ *cache) {
			_ = m.Forget(context.Background(), searchtoken.Email("ann"))
		}, 2},
		{"the user is forgotten elsewhere", false, true, func(_, other *searchtoken.Middleware, _ *cache) {
			_ = other.Forget(context.Background(), searchtoken.Email("ann"))
		}, 2},
		{"the cache is back, and its epoch was not known", true, true, func(_, _ *searchtoken.Middleware, c *cache) { c.get = nil }, 2},
		{"the cache goes down for good", false, true, func(_, _ *searchtoken.Middleware, c *cache) {
			c.get = func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
				return searchtoken.Token{}, 0, down
			}
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				memory := searchtoken.NewMemoryCache(0)
				c := &cache{Cache: memory}
				if tt.get {
					c.get = func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
						return searchtoken.Token{}, 0, down
					}
				}
				if tt.set {
					c.set = func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) { return false, down }
				}
				issuer := &issuer{}
				m := newMiddleware(t, searchtoken.Config{Cache: c, Issuer: issuer})
				other := newMiddleware(t, searchtoken.Config{Cache: memory, Issuer: issuer})
				get(m, request("ann"))
				tt.then(m, other, c)
				if w := get(m, request("ann")); w.Code != 200 {
					t.Errorf("%v", seen(w))
				}
				if got := issuer.count(); got != tt.want {
					t.Errorf("%d calls, want %d", got, tt.want)
				}
			})
		})
	}
}
