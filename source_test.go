package searchtoken_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// TestStates asks once at the beginning and once later: what the second request
// gets, and whether a call is made for it, depends on the token's state.
func TestStates(t *testing.T) {
	const (
		hit     = "hit"
		refresh = "hit, refreshed in the background"
		fetch   = "waits for a fetch"
		m, h    = time.Minute, time.Hour
	)
	for _, tt := range []struct {
		name  string
		route searchtoken.Route
		life  time.Duration // what Coveo grants; 0: what is asked for
		after time.Duration
		want  string
	}{
		// 24 h: near expiry from 2 min + (24 h - 2 min)/10 = 145.8 min before
		// the end, less up to a tenth of 143.8 min.
		{"default, at once", searchtoken.Route{}, 0, 0, hit},
		{"default, before the margin", searchtoken.Route{}, 0, 24*h - 146*m, hit},
		{"default, after the margin", searchtoken.Route{}, 0, 24*h - 131*m, refresh},
		{"default, just alive", searchtoken.Route{}, 0, 24*h - 2*m - 1, refresh},
		{"default, dead", searchtoken.Route{}, 0, 24*h - 2*m, fetch},
		{"default, expired", searchtoken.Route{}, 0, 25 * h, fetch},
		// 15 min: the least margin of 5 min.
		{"short, before the margin", searchtoken.Route{Params: searchtoken.TokenParams{ValidFor: 15 * m}}, 0, 10*m - 1, hit},
		{"short, after the margin", searchtoken.Route{Params: searchtoken.TokenParams{ValidFor: 15 * m}}, 0, 10*m + 18*time.Second, refresh},
		{"short, dead", searchtoken.Route{Params: searchtoken.TokenParams{ValidFor: 15 * m}}, 0, 13 * m, fetch},
		{"RefreshBefore, before", searchtoken.Route{RefreshBefore: 10 * h}, 0, 14*h - 1, hit},
		{"RefreshBefore, after", searchtoken.Route{RefreshBefore: 10 * h}, 0, 15 * h, refresh},
		{"MinRemaining, alive", searchtoken.Route{MinRemaining: 6 * h}, 0, 18*h - 1, refresh},
		{"MinRemaining, dead", searchtoken.Route{MinRemaining: 6 * h}, 0, 18 * h, fetch},
		// Less is granted than the margins ask for: at most half of the life
		// is dead, at most three quarters near expiry.
		{"clamped, fresh", searchtoken.Route{MinRemaining: 6 * h, RefreshBefore: 20 * h}, h, 15*m - 1, hit},
		{"clamped, near expiry", searchtoken.Route{MinRemaining: 6 * h, RefreshBefore: 20 * h}, h, 17 * m, refresh},
		{"clamped, dead", searchtoken.Route{MinRemaining: 6 * h, RefreshBefore: 20 * h}, h, 30 * m, fetch},
		{"clamped to seconds", searchtoken.Route{}, 4 * time.Second, time.Second - 1, hit},
		{"clamped to seconds, dead", searchtoken.Route{}, 4 * time.Second, 2 * time.Second, fetch},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					time.Sleep(time.Millisecond)
					token := tokenFor(n, p)
					if tt.life > 0 {
						token.Expiry = token.Issued.Add(tt.life)
					}
					token.Value = fmt.Sprint(n)
					return token, nil
				}}
				mw := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: tt.route})
				get(mw, request("ann"))
				time.Sleep(tt.after)
				began := time.Now()
				value := get(mw, request("ann")).Body.String()
				waited := time.Since(began) > 0
				synctest.Wait()
				time.Sleep(time.Millisecond)
				synctest.Wait()
				got := hit
				switch {
				case waited && value == "2":
					got = fetch
				case value == "1" && issuer.count() == 2:
					got = refresh
				case value != "1" || waited || issuer.count() != 1:
					got = fmt.Sprintf("token %s, waited: %v, calls: %d", value, waited, issuer.count())
				}
				if got != tt.want {
					t.Errorf("%s, want: %s", got, tt.want)
				}
			})
		})
	}
}

func TestOneFetchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				if w := get(m, request("ann")); w.Code != 200 {
					t.Errorf("status %d", w.Code)
				}
			})
		}
		wg.Wait()
		if got := issuer.count(); got != 1 {
			t.Errorf("%d calls for one user, want 1", got)
		}
	})
}

func TestMaxInFlight(t *testing.T) {
	const users = 1000
	for name, tt := range map[string]struct {
		maxInFlight, want int
	}{
		"default": {0, 64},
		"one":     {1, 1},
		"ten":     {10, 10},
		"more":    {2000, users},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var inFlight, most atomic.Int64
				issuer := &issuer{answer: func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					now := inFlight.Add(1)
					defer inFlight.Add(-1)
					for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
					}
					return slowly(time.Second)(ctx, n, p)
				}}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, MaxInFlight: tt.maxInFlight})
				began := time.Now()
				var wg sync.WaitGroup
				for i := range users {
					wg.Go(func() {
						if w := get(m, request(fmt.Sprint("user", i))); w.Code != 200 {
							t.Errorf("status %d", w.Code)
						}
					})
				}
				wg.Wait()
				if got := issuer.count(); got != users {
					t.Errorf("%d calls for %d users", got, users)
				}
				if got := int(most.Load()); got != tt.want {
					t.Errorf("up to %d calls at a time, want %d", got, tt.want)
				}
				rounds := time.Duration((users + tt.want - 1) / tt.want)
				if took := time.Since(began); took != rounds*time.Second {
					t.Errorf("took %v, want %v", took, rounds*time.Second)
				}
			})
		})
	}
}

// TestWaitForATurn has one fetch under way, and others that may begin only after
// it.
func TestWaitForATurn(t *testing.T) {
	type outcome struct {
		Status int
		Waited time.Duration
	}
	// start has users ask one after the other, each with the patience given.
	start := func(t *testing.T, m *searchtoken.Middleware, patience ...time.Duration) (got []outcome, wait func()) {
		got = make([]outcome, len(patience))
		var wg sync.WaitGroup
		for i, p := range patience {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), p)
				defer cancel()
				began := time.Now()
				w := get(m, request(fmt.Sprint("user", i)).WithContext(ctx))
				got[i] = outcome{w.Code, time.Since(began)}
			})
			synctest.Wait()
		}
		return got, wg.Wait
	}
	const s, long = time.Second, time.Hour
	for _, tt := range []struct {
		name     string
		answer   func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error)
		patience []time.Duration
		while    func(*testing.T, *searchtoken.Middleware) // while they wait
		want     []outcome
		calls    int
	}{
		{
			"beyond the time-out of a fetch", slowly(6 * s), []time.Duration{long, long, long}, nil,
			[]outcome{{200, 6 * s}, {200, 12 * s}, {200, 18 * s}}, 3,
		},
		{
			"within their deadlines", slowly(3 * s), []time.Duration{long, s, long}, nil,
			[]outcome{{200, 3 * s}, {503, s}, {200, 6 * s}}, 2, // none for whom nobody waits
		},
		{
			"the issuer hangs",
			func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
				time.Sleep(15 * s)
				return tokenFor(n, p), nil
			},
			[]time.Duration{long, 12 * s}, nil, []outcome{{503, 10 * s}, {503, 12 * s}}, 2,
		},
		{
			"the upstream asks for patience meanwhile",
			func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
				time.Sleep(s)
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute}
			},
			[]time.Duration{long, long, long}, nil, []outcome{{503, s}, {503, s}, {503, s}}, 1,
		},
		{
			"forgotten meanwhile", slowly(3 * s), []time.Duration{long, long},
			func(t *testing.T, m *searchtoken.Middleware) {
				if err := m.Forget(t.Context(), searchtoken.Email("user1")); err != nil {
					t.Error(err)
				}
			},
			[]outcome{{200, 3 * s}, {200, 6 * s}}, 2,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{answer: tt.answer}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, MaxInFlight: 1})
				got, wait := start(t, m, tt.patience...)
				if tt.while != nil {
					tt.while(t, m)
				}
				wait()
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				time.Sleep(time.Minute) // for an issuer that hangs
				if got := issuer.count(); got != tt.calls {
					t.Errorf("%d calls, want %d", got, tt.calls)
				}
			})
		})
	}
}

// TestRefreshesDoNotQueue has a token near its expiry while all turns are taken.
func TestRefreshesDoNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(5 * time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, MaxInFlight: 1})
		get(m, request("ann"))
		time.Sleep(23 * time.Hour)
		var wg sync.WaitGroup
		for _, user := range []string{"bob", "cat"} {
			wg.Go(func() { get(m, request(user)) })
			synctest.Wait()
		}
		began := time.Now()
		if w := get(m, request("ann")); w.Code != 200 || time.Since(began) != 0 {
			t.Errorf("status %d after %v: not served from the cache", w.Code, time.Since(began))
		}
		wg.Wait()
		if got := issuer.count(); got != 3 {
			t.Errorf("%d calls, want 3: one for each user", got)
		}
		get(m, request("ann"))
		time.Sleep(5 * time.Second)
		if got := issuer.count(); got != 4 {
			t.Errorf("%d calls, want 4: the refresh comes in a quieter moment", got)
		}
	})
}

// slowly answers with a token after d.
func slowly(d time.Duration) func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
	return func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
		select {
		case <-time.After(d):
			return tokenFor(n, p), nil
		case <-ctx.Done():
			return searchtoken.Token{}, ctx.Err()
		}
	}
}

func TestWaitersLeaveByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(5 * time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		ask := func(patience time.Duration) (status int, waited time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			w := get(m, request("ann").WithContext(ctx))
			return w.Code, time.Since(began)
		}
		type outcome struct {
			Status int
			Waited time.Duration
		}
		patience := []time.Duration{time.Second, 2 * time.Second, time.Minute} // the first to come leaves first
		got := make([]outcome, len(patience))
		var wg sync.WaitGroup
		for i, p := range patience {
			wg.Go(func() { got[i].Status, got[i].Waited = ask(p) })
			synctest.Wait()
		}
		wg.Wait()
		want := []outcome{{503, time.Second}, {503, 2 * time.Second}, {200, 5 * time.Second}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if got := issuer.count(); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

func TestFetchOutlivesAllWaiters(t *testing.T) {
	type contextKey struct{}
	synctest.Test(t, func(t *testing.T) {
		var value any
		issuer := &issuer{answer: func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			value = ctx.Value(contextKey{})
			return slowly(5*time.Second)(ctx, n, p)
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), contextKey{}, "of the request"), time.Second)
		defer cancel()
		get(m, request("ann").WithContext(ctx))
		time.Sleep(10 * time.Second)
		if w := get(m, request("ann")); w.Code != 200 || issuer.count() != 1 {
			t.Errorf("status %d after %d calls: the result was not kept", w.Code, issuer.count())
		}
		if value != "of the request" {
			t.Errorf("the fetch lost the values of its request's context")
		}
	})
}

func TestFetchTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMiddleware(t, searchtoken.Config{Issuer: &issuer{answer: slowly(time.Hour)}})
		began := time.Now()
		w := get(m, request("ann"))
		if waited := time.Since(began); w.Code != 503 || waited != 10*time.Second {
			t.Errorf("status %d after %v, want 503 after 10s", w.Code, waited)
		}
	})
}

func TestForgetBeatsAFetch(t *testing.T) {
	for _, tt := range []struct {
		name    string
		refresh bool // the fetch is one in the background
		failing bool // the cache fails
		want    []string
	}{
		// The waiter from before the Forget is handed back, and asks again.
		{"fetch", false, false, []string{"call 2", "call 2"}},
		{"refresh", true, false, []string{"call 1", "call 3"}},
		{"fetch, cache down", false, true, []string{"call 2", "call 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					time.Sleep(2 * time.Second)
					token := tokenFor(n, p)
					token.Value = fmt.Sprint("call ", n)
					return token, nil
				}}
				cfg := searchtoken.Config{Issuer: issuer}
				down := errors.New("down")
				if tt.failing {
					cfg.Cache = &cache{
						get: func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
							return searchtoken.Token{}, 0, down
						},
						set: func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
							return false, down
						},
						forget: func(context.Context, searchtoken.UserKey) error { return down },
					}
				}
				m := newMiddleware(t, cfg)
				if tt.refresh {
					get(m, request("ann"))
					time.Sleep(23*time.Hour + 30*time.Minute)
				}
				got := make([]string, 2)
				var wg sync.WaitGroup
				wg.Go(func() { got[0] = get(m, request("ann")).Body.String() })
				time.Sleep(time.Second)
				if err := m.Forget(t.Context(), searchtoken.Email("ann")); (err != nil) != tt.failing || tt.failing && !errors.Is(err, down) {
					t.Errorf("Forget() = %v", err)
				}
				wg.Go(func() { got[1] = get(m, request("ann")).Body.String() })
				wg.Wait()
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("requests before and after Forget (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestForgetTakesAllTokensOfAUser(t *testing.T) {
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{
		Prepare: func(r *http.Request, p *searchtoken.TokenParams) error {
			p.SearchHub = r.URL.Query().Get("hub")
			p.UserIDs = append(p.UserIDs, searchtoken.UserID{Name: "tenant", Provider: "Tenants"})
			return nil
		},
	}})
	ask := func(user, hub string) int {
		r := httptest.NewRequest("GET", "/?hub="+hub, nil)
		r.Header.Set("User", user)
		get(m, r)
		return issuer.count()
	}
	var got []int
	round := func() { got = append(got, ask("ann", "a"), ask("ann", "b"), ask("bob", "a")) }
	round()
	round()
	id := searchtoken.Email("ann")
	id.DisplayName, id.Groups = "another", []string{"name"} // Forget goes by the UserIDs
	if err := m.Forget(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	round()
	if diff := cmp.Diff([]int{1, 2, 3, 3, 3, 3, 4, 5, 5}, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// TestSecondInstance has two middlewares on one cache, as two processes are.
// TestSecondInstance has two instances share a cache. The user is forgotten on one
// of them while the other fetches, and what that brings is worth nothing.
func TestSecondInstance(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before time.Duration // how long ago the user's first token was fetched; 0: never
		fetch  func(m *searchtoken.Middleware, first string) *httptest.ResponseRecorder
		want   string // whose token the one who fetches gets
	}{
		{"fetch", 0, func(m *searchtoken.Middleware, _ string) *httptest.ResponseRecorder { return get(m, request("ann")) }, "the second"},
		{"refresh", 23 * time.Hour, func(m *searchtoken.Middleware, _ string) *httptest.ResponseRecorder { return get(m, request("ann")) }, "the first"},
		{"renewal", time.Hour, func(m *searchtoken.Middleware, first string) *httptest.ResponseRecorder {
			r := renewal("ann", first)
			r.Header.Set("Accept", "text/plain")
			return renew(m, r)
		}, "the second"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := searchtoken.NewMemoryCache(0)
				a := newMiddleware(t, searchtoken.Config{Issuer: &issuer{answer: slowly(4 * time.Second)}, Cache: shared})
				b := newMiddleware(t, searchtoken.Config{Issuer: &issuer{answer: slowly(time.Second)}, Cache: shared})
				first := ""
				if tt.before > 0 {
					first = get(b, request("ann")).Body.String()
					time.Sleep(tt.before)
				}
				var got string
				var wg sync.WaitGroup
				wg.Go(func() { got = tt.fetch(a, first).Body.String() })
				time.Sleep(time.Second)
				if err := b.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
					t.Fatal(err)
				}
				second := get(b, request("ann")).Body.String()
				wg.Wait()
				time.Sleep(10 * time.Second)
				names := map[string]string{first: "the first", second: "the second"}
				if names[got] != tt.want {
					t.Errorf("it got %q, want %s", names[got], tt.want)
				}
				for name, m := range map[string]*searchtoken.Middleware{"a": a, "b": b} {
					if later := get(m, request("ann")).Body.String(); later != second {
						t.Errorf("%s has another token than the one that was fetched after the Forget", name)
					}
				}
			})
		})
	}
}

func TestFetchLooksIntoTheCacheAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The first Get is told late: by then another has kept a token.
		shared := searchtoken.NewMemoryCache(0)
		issuer := &issuer{}
		var first atomic.Bool
		late := &cache{Cache: shared}
		late.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			token, epoch, err := shared.Get(ctx, key)
			if first.CompareAndSwap(false, true) {
				time.Sleep(time.Second)
			}
			return token, epoch, err
		}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: late})
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("ann")) })
		synctest.Wait()
		get(m, request("ann"))
		wg.Wait()
		if got := issuer.count(); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

func TestForgottenAgainAndAgain(t *testing.T) {
	c := &cache{Cache: searchtoken.NewMemoryCache(0), set: func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
		return false, nil
	}}
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: c})
	for range 3 {
		if w := get(m, request("ann")); w.Code < 500 || issuer.count() != 5 {
			t.Errorf("status %d after %d calls, want an error after 5", w.Code, issuer.count())
		}
	}
}

// TestIssuerWithACacheOfItsOwn hands out the same token until it expires.
func TestIssuerWithACacheOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first searchtoken.Token
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			if n == 1 {
				first = tokenFor(n, p)
			}
			return first, nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		get(m, request("ann"))
		time.Sleep(23 * time.Hour)
		for range 100 {
			if w := get(m, request("ann")); w.Code != 200 {
				t.Errorf("status %d while the token is good", w.Code)
			}
			synctest.Wait()
		}
		if got := issuer.count(); got != 2 {
			t.Errorf("%d calls, want 2: a refresh that brings nothing is not repeated at once", got)
		}
	})
}

func TestFailuresAreRememberedOfSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 400}
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		for range 2 {
			for i := range 5000 {
				get(m, request(fmt.Sprint("user", i)))
			}
		}
		if got := issuer.count(); got < 5000+5000-4096 {
			t.Errorf("%d calls: more than 4096 failures were remembered", got)
		}
	})
}

func TestFailedRefreshKeepsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var calls []time.Duration
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			if n == 1 {
				return tokenFor(n, p), nil
			}
			calls = append(calls, time.Since(start))
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 500}
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		get(m, request("ann"))
		time.Sleep(23 * time.Hour)
		for time.Since(start) < 24*time.Hour-2*time.Minute {
			if w := get(m, request("ann")); w.Code != 200 {
				t.Fatalf("status %d while the token was good", w.Code)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if w := get(m, request("ann")); w.Code != 503 {
			t.Errorf("status %d once the token is dead, want 503", w.Code)
		}
		// 1, 2, 4 … 32 s, then a minute each, all within a tenth.
		want := time.Second
		for i := 1; i < len(calls); i++ {
			got := calls[i] - calls[i-1]
			if got < want*9/10 || got > want*11/10+200*time.Millisecond {
				t.Errorf("try %d after %v, want about %v", i, got, want)
			}
			want = min(2*want, time.Minute)
		}
		if len(calls) < 55 || len(calls) > 70 {
			t.Errorf("%d tries in 58 minutes", len(calls))
		}
	})
}

// scripted is an upstream whose state a test sets, and which notes when it is
// called.
type scripted struct {
	mu    sync.Mutex
	err   func(user string) error
	delay time.Duration
	calls []string
}

func (s *scripted) issuer() *issuer {
	return &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
		user := p.UserIDs[0].Name
		s.mu.Lock()
		s.calls = append(s.calls, user)
		err, delay := s.err, s.delay
		s.mu.Unlock()
		time.Sleep(delay)
		if err != nil {
			if err := err(user); err != nil {
				return searchtoken.Token{}, err
			}
		}
		return tokenFor(n, p), nil
	}}
}

func (s *scripted) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = func(string) error { return err }
}

func (s *scripted) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

func TestRefusalHoldsBackOneKey(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 302, 200} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{err: func(user string) error {
					if user == "ann" {
						return &searchtoken.APIError{StatusCode: status}
					}
					return nil
				}}
				m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
				var got []int
				for range 5 {
					got = append(got, get(m, request("ann")).Code)
				}
				got = append(got, get(m, request("bob")).Code)
				if diff := cmp.Diff([]int{502, 502, 502, 502, 502, 200}, got); diff != "" {
					t.Errorf("statuses (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]string{"ann", "bob"}, s.take()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
				time.Sleep(1200 * time.Millisecond)
				get(m, request("ann"))
				if diff := cmp.Diff([]string{"ann"}, s.take()); diff != "" {
					t.Errorf("calls after the delay (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestThreeFailuresHoldBackTheUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		get(m, request("good"))
		s.fail(errors.New("unreachable"))
		s.take()
		for i := range 10 {
			if w := get(m, request(fmt.Sprint("user", i))); w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("user %d: %v", i, seen(w))
			}
		}
		if got := s.take(); len(got) != 3 {
			t.Errorf("calls of %v, want three users'", got)
		}
		if w := get(m, request("good")); w.Code != 200 {
			t.Errorf("a good token is served with %d", w.Code)
		}

		// One probe at a time, and the delay doubles.
		s.delay = 10 * time.Millisecond
		for range 2 {
			time.Sleep(2500 * time.Millisecond)
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() { get(m, request(fmt.Sprint("other", i))) })
			}
			wg.Wait()
		}
		if got := s.take(); len(got) != 2 {
			t.Errorf("calls of %v, want two probes", got)
		}

		// A probe that succeeds lifts it for all, at once.
		s.fail(nil)
		time.Sleep(5 * time.Second)
		var statuses []int
		for _, user := range []string{"probe", "user0", "user1"} {
			statuses = append(statuses, get(m, request(user)).Code)
		}
		if diff := cmp.Diff([]int{200, 200, 200}, statuses); diff != "" {
			t.Errorf("statuses after recovery (-want +got):\n%s", diff)
		}
	})
}

func TestAnAnswerEndsARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: func(user string) error {
			switch user[0] {
			case 'f':
				return &searchtoken.APIError{StatusCode: 500}
			case 'r':
				return &searchtoken.APIError{StatusCode: 400}
			}
			return nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		for _, user := range []string{"f1", "f2", "good", "f3", "f4", "refused", "f5", "f6"} {
			get(m, request(user))
		}
		if got := s.take(); len(got) != 8 {
			t.Errorf("calls of %v: a row was not ended by another answer", got)
		}
		get(m, request("f7"))
		get(m, request("f8"))
		if diff := cmp.Diff([]string{"f7"}, s.take()); diff != "" {
			t.Errorf("calls after three in a row (-want +got):\n%s", diff)
		}
	})
}

func TestFetchesInTheAirDoNotRaiseTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{delay: time.Second}
		s.fail(errors.New("unreachable"))
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { get(m, request(fmt.Sprint("user", i))) })
		}
		wg.Wait()
		s.fail(nil)
		time.Sleep(1200 * time.Millisecond)
		if w := get(m, request("probe")); w.Code != 200 {
			t.Errorf("status %d about a second after 50 failures at once", w.Code)
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		want  string
	}{
		{"seconds", 30 * time.Second, "30"},
		{"an absurd time", 1000 * time.Hour, "300"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{}
				m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
				get(m, request("good"))
				s.fail(&searchtoken.APIError{StatusCode: 429, RetryAfter: tt.after})
				s.take()
				began := time.Now()
				for _, user := range []string{"ann", "bob", "ann"} {
					if diff := cmp.Diff(answer{503, "Service Unavailable\n", tt.want}, seen(get(m, request(user)))); diff != "" {
						t.Errorf("%s (-want +got):\n%s", user, diff)
					}
				}
				if w := get(m, request("good")); w.Code != 200 {
					t.Errorf("a good token is served with %d", w.Code)
				}
				if time.Since(began) != 0 {
					t.Errorf("a request waited for %v", time.Since(began))
				}
				s.fail(nil)
				time.Sleep(min(tt.after, 5*time.Minute) - 1)
				get(m, request("bob"))
				if diff := cmp.Diff([]string{"ann"}, s.take()); diff != "" {
					t.Errorf("calls before the time (-want +got):\n%s", diff)
				}
				time.Sleep(time.Second)
				if w := get(m, request("bob")); w.Code != 200 {
					t.Errorf("status %d after the time", w.Code)
				}
			})
		})
	}
}

func TestCacheThatFails(t *testing.T) {
	down := errors.New("down")
	for _, tt := range []struct {
		name     string
		get, set bool // what fails
		want     map[string]int
	}{
		{"Get", true, false, map[string]int{"cache_error 500": 5, "fetch": 1, "miss": 2, "hit": 2}},
		{"Set", false, true, map[string]int{"cache_error 500": 1, "fetch": 1, "miss": 2, "hit": 2}},
		{"both", true, true, map[string]int{"cache_error 500": 5, "fetch": 1, "miss": 2, "hit": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cache{Cache: searchtoken.NewMemoryCache(0)}
				if tt.get {
					c.get = func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
						return searchtoken.Token{}, 0, down
					}
				}
				if tt.set {
					c.set = func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
						return false, down
					}
				}
				issuer := &issuer{answer: slowly(time.Second)}
				seen := &events{}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: c, Observe: seen.observe})
				for range 2 { // two requests share a fetch, and two what it brought
					var wg sync.WaitGroup
					for range 2 {
						wg.Go(func() {
							if w := get(m, request("ann")); w.Code != 200 {
								t.Errorf("status %d", w.Code)
							}
						})
					}
					wg.Wait()
				}
				got := map[string]int{}
				for _, event := range seen.take() {
					got[event]++
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestSessionEnd(t *testing.T) {
	const m = time.Minute
	// Each step is a request of a session that ends after left; what it gets
	// is the number of a call and the life of its token.
	type step struct {
		after, left time.Duration // left 0: not known
	}
	type got struct {
		Call   string
		Remain time.Duration
	}
	for _, tt := range []struct {
		name  string
		steps []step
		want  []got
	}{
		{"not known", []step{{0, 0}}, []got{{"1", 24 * time.Hour}}},
		{"longer than a token", []step{{0, 48 * time.Hour}}, []got{{"1", 24 * time.Hour}}},
		{"cut to the session", []step{{0, 100*m + 1500*time.Microsecond}}, []got{{"1", 100*m + time.Millisecond}}},
		{"not below 15 minutes", []step{{0, m}}, []got{{"1", 15 * m}}},
		{"a longer session's token would outlive it", []step{{0, 0}, {0, 100 * m}}, []got{{"1", 24 * time.Hour}, {"2", 100 * m}}},
		{"a little longer does no harm", []step{{0, 110 * m}, {0, 95 * m}}, []got{{"1", 110 * m}, {"1", 110 * m}}},
		{"16 minutes longer do", []step{{0, 111 * m}, {0, 95 * m}}, []got{{"1", 111 * m}, {"2", 95 * m}}},
		{"the shorter token serves all", []step{{0, 0}, {0, 100 * m}, {0, 0}}, []got{{"1", 24 * time.Hour}, {"2", 100 * m}, {"2", 100 * m}}},
		{"the session is over", []step{{0, 100 * m}, {0, -1}}, []got{{"1", 100 * m}, {"401", 0}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var left time.Duration
				issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					token := tokenFor(n, p)
					token.Value = fmt.Sprint(n)
					return token, nil
				}}
				mw := newMiddleware(t, searchtoken.Config{Issuer: issuer, Identify: func(*http.Request) (searchtoken.Identity, error) {
					id := searchtoken.Email("ann")
					if left != 0 {
						id.Expires = time.Now().Add(left)
					}
					return id, nil
				}})
				var all []got
				for _, s := range tt.steps {
					time.Sleep(s.after)
					left = s.left
					var g got
					w := httptest.NewRecorder()
					mw.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						page, _ := searchtoken.FromContext(r.Context())
						g = got{page.Token.Value, time.Until(page.Token.Expiry)}
					})).ServeHTTP(w, request(""))
					if w.Code != 200 {
						g.Call = fmt.Sprint(w.Code)
					}
					all = append(all, g)
				}
				if diff := cmp.Diff(tt.want, all); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestTokensOfAnyIssuer has an Issuer that leaves out, or gets wrong, what a
// Client fills in.
func TestTokensOfAnyIssuer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token func(now time.Time) searchtoken.Token
		want  time.Duration // 0: an error
	}{
		{"value alone", func(time.Time) searchtoken.Token { return searchtoken.Token{Value: "t"} }, time.Hour},
		{"JWT alone", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: jwt(map[string]any{"iat": 1000, "exp": 1000 + 1800})}
		}, 30 * time.Minute},
		{"longer than asked for", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Expiry: now.Add(24 * time.Hour)}
		}, time.Hour},
		{"issued earlier", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Issued: now.Add(-10 * time.Minute), Expiry: now.Add(24 * time.Hour)}
		}, 50 * time.Minute},
		{"issued in the future", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Issued: now.Add(time.Hour), Expiry: now.Add(24 * time.Hour)}
		}, time.Hour},
		{"expired", func(now time.Time) searchtoken.Token {
			return searchtoken.Token{Value: "t", Issued: now.Add(-time.Minute), Expiry: now}
		}, 0},
		{"empty", func(now time.Time) searchtoken.Token { return searchtoken.Token{Expiry: now.Add(time.Hour)} }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
					return tt.token(time.Now()), nil
				}}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{Params: searchtoken.TokenParams{ValidFor: time.Hour}}})
				w := httptest.NewRecorder()
				var got time.Duration
				m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					page, _ := searchtoken.FromContext(r.Context())
					got = time.Until(page.Token.Expiry)
				})).ServeHTTP(w, request("ann"))
				if got != tt.want || (w.Code == 200) != (tt.want > 0) {
					t.Errorf("good for %v (status %d), want %v", got, w.Code, tt.want)
				}
				get(m, request("ann"))
				if got := issuer.count(); got != 1 {
					t.Errorf("%d calls for two requests, want 1", got)
				}
			})
		})
	}
}

// TestForgetBeforeTheHandOut has another process forget the user while a fetch
// here has kept its token, and not handed it out yet.
func TestForgetBeforeTheHandOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := searchtoken.NewMemoryCache(0)
		slow := &cache{Cache: shared}
		slow.set = func(ctx context.Context, key searchtoken.Key, token searchtoken.Token, epoch uint64) (bool, error) {
			kept, err := shared.Set(ctx, key, token, epoch)
			time.Sleep(2 * time.Second)
			return kept, err
		}
		here := newMiddleware(t, searchtoken.Config{Cache: slow})
		there := newMiddleware(t, searchtoken.Config{Cache: shared})
		var before string
		var wg sync.WaitGroup
		wg.Go(func() { before = get(here, request("ann")).Body.String() })
		time.Sleep(time.Second)
		if err := there.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Fatal(err)
		}
		after := get(here, request("ann")).Body.String()
		wg.Wait()
		if before == after {
			t.Error("a request that began after the Forget got the forgotten token")
		}
	})
}

func TestRetryAfterOfOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(&searchtoken.APIError{StatusCode: 503, RetryAfter: time.Minute})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		if got := get(m, request("ann")).Header().Get("Retry-After"); got != "60" {
			t.Errorf("Retry-After: %q, want 60", got)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		get(m, request("ann"))
		if got := s.take(); len(got) != 1 {
			t.Errorf("%d calls before the time", len(got))
		}
	})
}

func TestSuccessInTheAirDoesNotEndRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := map[string]int{}
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			user := p.UserIDs[0].Name
			calls[user]++
			switch user {
			case "slow":
				time.Sleep(2 * time.Second)
			case "limited":
				time.Sleep(time.Second)
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute}
			}
			return tokenFor(n, p), nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("slow")) })
		synctest.Wait()
		wg.Go(func() { get(m, request("limited")) })
		wg.Wait()
		if get(m, request("other")); calls["other"] != 0 {
			t.Error("a call before the time")
		}
		time.Sleep(time.Minute)
		if w := get(m, request("other")); w.Code != 200 {
			t.Errorf("status %d after the time", w.Code)
		}
	})
}

func TestRecoveryHoldsForAllKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(errors.New("unreachable"))
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		for range 100 { // the delay of ann's key grows
			get(m, request("ann"))
			time.Sleep(time.Second)
		}
		s.fail(nil)
		for get(m, request("bob")).Code != 200 {
			time.Sleep(100 * time.Millisecond)
		}
		if w := get(m, request("ann")); w.Code != 200 {
			t.Errorf("status %d after the upstream has recovered", w.Code)
		}
	})
}

func TestDelayBeginsAnewAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(errors.New("unreachable"))
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		for range 100 {
			get(m, request("ann"))
			time.Sleep(time.Second)
		}
		s.fail(nil)
		for get(m, request("bob")).Code != 200 {
			time.Sleep(time.Second)
		}
		s.fail(errors.New("unreachable"))
		if got := get(m, request("ann")).Header().Get("Retry-After"); got != "1" && got != "2" {
			t.Errorf("Retry-After of the first failure after a recovery: %q", got)
		}
	})
}

func TestRefusalOutlivesRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{err: func(string) error { return &searchtoken.APIError{StatusCode: 403} }}
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		for range 130 { // the delay of ann's key grows to a minute
			get(m, request("ann"))
			time.Sleep(time.Second)
		}
		s.take()
		for ; ; time.Sleep(100 * time.Millisecond) {
			if get(m, request("ann")); len(s.take()) > 0 {
				break // just refused
			}
		}
		s.fail(&searchtoken.APIError{StatusCode: 429})
		get(m, request("bob"))
		s.fail(nil)
		time.Sleep(2 * time.Second)
		if w := get(m, request("bob")); w.Code != 200 {
			t.Fatalf("status %d of the probe", w.Code)
		}
		get(m, request("ann"))
		if diff := cmp.Diff([]string{"bob", "bob"}, s.take()); diff != "" {
			t.Errorf("calls after ann's refusal (-want +got):\n%s", diff)
		}
	})
}

// TestFailuresInTheAir has ann's fetch under way while others find that the
// upstream fails.
func TestFailuresInTheAir(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ann      time.Duration // how long her fetch takes
		after    time.Duration // the Retry-After of its 429
		others   time.Duration // that of the others'
		recovers bool          // the upstream, meanwhile
		wait     time.Duration
		calls    int // for carol, then
	}{
		{"a Retry-After is kept", 100 * time.Millisecond, time.Minute, 0, false, 5 * time.Second, 0},
		{"the later of two counts", 100 * time.Millisecond, time.Second, time.Minute, false, 5 * time.Second, 0},
		{"a 429 after the recovery holds back again", 5 * time.Second, 0, 0, true, 5 * time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				calls, good := map[string]int{}, false
				issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					user := p.UserIDs[0].Name
					mu.Lock()
					calls[user]++
					answers := good
					mu.Unlock()
					switch {
					case user == "ann":
						time.Sleep(tt.ann)
						return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429, RetryAfter: tt.after}
					case !answers:
						return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429, RetryAfter: tt.others}
					}
					return tokenFor(n, p), nil
				}}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
				var wg sync.WaitGroup
				wg.Go(func() { get(m, request("ann")) })
				synctest.Wait()
				get(m, request("bob"))
				if tt.recovers {
					mu.Lock()
					good = true
					mu.Unlock()
					time.Sleep(2 * time.Second)
					if w := get(m, request("bob")); w.Code != 200 {
						t.Errorf("status %d of the probe", w.Code)
					}
					tt.wait -= 2 * time.Second
				}
				time.Sleep(tt.wait)
				synctest.Wait()
				if get(m, request("carol")); calls["carol"] != tt.calls {
					t.Errorf("%d calls for carol, want %d", calls["carol"], tt.calls)
				}
				wg.Wait()
			})
		})
	}
}

func TestRetryAfterWhileAProbeIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(&searchtoken.APIError{StatusCode: 429})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		get(m, request("ann"))
		s.mu.Lock()
		s.delay = 5 * time.Second
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("bob")) })
		synctest.Wait()
		if got := seen(get(m, request("carol"))); got.Status != 503 || got.RetryAfter != "1" {
			t.Errorf("%+v, want 503 with Retry-After 1", got)
		}
		wg.Wait()
	})
}

func TestRetriesAreSpreadOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users = 50
		s := &scripted{}
		s.fail(&searchtoken.APIError{StatusCode: 400})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		round := func() {
			for i := range users {
				get(m, request(fmt.Sprint("user", i)))
			}
		}
		round()
		s.take()
		time.Sleep(time.Second)
		round()
		if got := len(s.take()); got == 0 || got == users {
			t.Errorf("%d of %d users who were refused at once are tried again at once", got, users)
		}
	})
}

func TestForgetOfAnotherKeepsRefusals(t *testing.T) {
	s := &scripted{}
	s.fail(&searchtoken.APIError{StatusCode: 403})
	m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
	get(m, request("bob"))
	if err := m.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
		t.Fatal(err)
	}
	if get(m, request("bob")); len(s.take()) != 1 {
		t.Error("bob's refusal went with ann's tokens")
	}
}

// TestRefusalFromBeforeForget arrives after it, and says nothing of the rights
// that the user has since.
func TestRefusalFromBeforeForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{delay: 2 * time.Second}
		s.fail(&searchtoken.APIError{StatusCode: 403})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("ann")) })
		time.Sleep(time.Second)
		if err := m.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Fatal(err)
		}
		s.fail(nil)
		wg.Wait()
		if w := get(m, request("ann")); w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
	})
}

// TestSlowCacheIsReported has a Set that uses up the time of its fetch.
func TestSlowCacheIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := &events{}
		m := newMiddleware(t, searchtoken.Config{Observe: seen.observe, Cache: &cache{Cache: searchtoken.NewMemoryCache(0),
			set: func(ctx context.Context, _ searchtoken.Key, _ searchtoken.Token, _ uint64) (bool, error) {
				<-ctx.Done()
				return false, ctx.Err()
			}}})
		if w := get(m, request("ann")); w.Code != 200 {
			t.Errorf("status %d", w.Code)
		}
		if diff := cmp.Diff([]string{"fetch", "cache_error 500", "miss"}, seen.take()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestVisitorWhoLeavesIsNoCacheError(t *testing.T) {
	seen := &events{}
	m := newMiddleware(t, searchtoken.Config{Observe: seen.observe, Cache: &cache{Cache: searchtoken.NewMemoryCache(0),
		get: func(ctx context.Context, _ searchtoken.Key) (searchtoken.Token, uint64, error) {
			return searchtoken.Token{}, 0, ctx.Err()
		}}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	get(m, request("ann").WithContext(ctx))
	if diff := cmp.Diff([]string{"miss 503"}, seen.take()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// panicError is an error that cannot be printed.
type panicError struct{}

func (*panicError) Error() string { panic("no text") }

func TestErrorThatPanicsIsBackedOff(t *testing.T) {
	issuer := &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
		return searchtoken.Token{}, &panicError{}
	}}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
	for range 10 {
		if w := get(m, request("ann")); w.Code < 500 {
			t.Errorf("status %d", w.Code)
		}
	}
	if got := issuer.count(); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}
}

func TestForgetForgetsRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(&searchtoken.APIError{StatusCode: 403})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		get(m, request("ann"))
		s.fail(nil)
		if err := m.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Fatal(err)
		}
		if w := get(m, request("ann")); w.Code != 200 {
			t.Errorf("status %d after the user's rights have changed", w.Code)
		}
	})
}

// TestIssuerThatHangs does not heed its context, and is the probe that all
// others wait for.
func TestIssuerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			switch n {
			case 1:
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429}
			case 2:
				<-release
			}
			return tokenFor(n, p), nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		get(m, request("ann"))
		time.Sleep(5 * time.Second)
		began := time.Now()
		if w, waited := get(m, request("ann")), time.Since(began); w.Code != 503 || time.Since(began) != 10*time.Second {
			t.Errorf("status %d after %v, want 503 after 10s", w.Code, waited)
		}
		time.Sleep(5 * time.Second)
		if w := get(m, request("bob")); w.Code != 200 {
			t.Errorf("status %d of the next probe", w.Code)
		}
	})
}

func TestUselessTokensAreBackedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{Value: jwt(map[string]any{"iat": 2000, "exp": 1000})}, nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		for range 600 {
			get(m, request("ann"))
			time.Sleep(time.Second)
		}
		if got := issuer.count(); got > 20 {
			t.Errorf("%d calls in ten minutes for tokens that have expired", got)
		}
	})
}

// TestSessionsWithDifferentEnds has many sessions of one user ask at once.
func TestSessionsWithDifferentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Identify: func(r *http.Request) (searchtoken.Identity, error) {
			left, err := time.ParseDuration(r.Header.Get("Left"))
			id := searchtoken.Email("ann")
			id.Expires = time.Now().Add(left)
			return id, err
		}})
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				left := time.Duration(i+1) * 20 * time.Minute
				ends := time.Now().Add(left)
				r := request("")
				r.Header.Set("Left", left.String())
				w := httptest.NewRecorder()
				m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					page, _ := searchtoken.FromContext(r.Context())
					if page.Token.Expiry.After(ends.Add(15 * time.Minute)) {
						t.Errorf("the token outlives session %d by %v", i, page.Token.Expiry.Sub(ends))
					}
				})).ServeHTTP(w, r)
				if w.Code != 200 {
					t.Errorf("session %d: status %d", i, w.Code)
				}
			})
		}
		wg.Wait()
	})
}

func TestSessionEndsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := searchtoken.NewMemoryCache(0)
		slow := &cache{Cache: memory, get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			time.Sleep(time.Second)
			return memory.Get(ctx, key)
		}}
		left := 500 * time.Millisecond
		m := newMiddleware(t, searchtoken.Config{Cache: slow, Identify: func(*http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			id.Expires = time.Now().Add(left)
			return id, nil
		}})
		if w := get(m, request("")); w.Code != 401 {
			t.Errorf("status %d, want 401", w.Code)
		}
		left = 8 * time.Hour
		if w := get(m, request("")); w.Code != 200 {
			t.Errorf("status %d of the user's other session", w.Code)
		}
	})
}

// TestNoNameHoldsBackOthers has an identity that Coveo would refuse.
func TestNoNameHoldsBackOthers(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{APIKey: apiKey, Identify: func(r *http.Request) (searchtoken.Identity, error) {
		id := searchtoken.Email("ann")
		id.DisplayName = r.Header.Get("Name")
		return id, nil
	}, HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return respond(200, `{"token":"a.b.c"}`, nil), nil
	})}})
	var got []int
	for _, name := range []string{"\xff1", "\xff2", "\xff3", "\xff4", "Ann"} {
		r := request("")
		r.Header.Set("Name", name)
		got = append(got, get(m, r).Code)
	}
	if diff := cmp.Diff([]int{500, 500, 500, 500, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

// TestIssuerMayNotReachOthers writes to all that it gets.
func TestIssuerMayNotReachOthers(t *testing.T) {
	groups := []string{"staff"}
	var got []string
	issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
		got = append(got, p.UserIDs[0].Name+" "+p.UserGroups[0]+" "+p.AllowedDictionaryFieldKeys["f"][0])
		token := tokenFor(n, p)
		p.UserIDs[0].Name, p.UserGroups[0], p.AllowedDictionaryFieldKeys["f"][0] = "spoilt", "spoilt", "spoilt"
		return token, nil
	}}
	ann := searchtoken.Email("ann")
	ann.Groups = groups
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Identify: func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
		Route: searchtoken.Route{Params: searchtoken.TokenParams{AllowedDictionaryFieldKeys: map[string][]string{"f": {"*"}}}}})
	for range 2 {
		get(m, request(""))
		if err := m.Forget(t.Context(), ann); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"ann staff *", "ann staff *"}, got); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestCacheThatLosesIssued is a store of a third party that keeps half a Token.
func TestCacheThatLosesIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := searchtoken.NewMemoryCache(0)
		issuer := &issuer{}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: &cache{Cache: memory,
			get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				token, epoch, err := memory.Get(ctx, key)
				token.Issued = time.Time{}
				return token, epoch, err
			}}})
		var calls []int
		for _, after := range []time.Duration{0, time.Hour, 22 * time.Hour} { // then near expiry, as with Issued
			time.Sleep(after)
			for range 10 {
				get(m, request("ann"))
				synctest.Wait()
			}
			calls = append(calls, issuer.count())
		}
		if diff := cmp.Diff([]int{1, 1, 2}, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// TestRefreshesAreSpreadOut has the tokens of many users minted in one moment.
func TestRefreshesAreSpreadOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const users = 100
		start := time.Now()
		var mu sync.Mutex
		refreshed := map[int]int{} // by the minute
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			mu.Lock()
			defer mu.Unlock()
			if n > users {
				refreshed[int(time.Since(start).Minutes())]++
			}
			return tokenFor(n, p), nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		round := func() {
			for i := range users {
				get(m, request(fmt.Sprint("user", i)))
			}
			synctest.Wait()
		}
		round()
		time.Sleep(21 * time.Hour)
		for range 90 {
			round()
			time.Sleep(time.Minute)
		}
		most := 0
		for _, n := range refreshed {
			most = max(most, n)
		}
		if len(refreshed) < 12 || most > users/4 {
			t.Errorf("%d users were refreshed within %d minutes, up to %d in one of them", users, len(refreshed), most)
		}
	})
}

// TestPanicsEndNothingElse has the application's parts panic, on the goroutines of
// requests, where net/http recovers, and on those of fetches. A single slot shows
// that they give back what they hold.
func TestPanicsEndNothingElse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   func(boom func()) searchtoken.Config
		users []string
		want  int
	}{
		{"Identify", func(boom func()) searchtoken.Config {
			return searchtoken.Config{Identify: func(r *http.Request) (searchtoken.Identity, error) {
				boom()
				return byHeader(r)
			}}
		}, []string{"ann", "bob"}, 500},
		{"Prepare", func(boom func()) searchtoken.Config {
			return searchtoken.Config{Route: searchtoken.Route{Prepare: func(*http.Request, *searchtoken.TokenParams) error {
				boom()
				return nil
			}}}
		}, []string{"ann", "bob"}, 500},
		{"ErrorHandler", func(boom func()) searchtoken.Config {
			return searchtoken.Config{Route: searchtoken.Route{ErrorHandler: func(http.ResponseWriter, *http.Request, error) { boom() }}}
		}, []string{"", ""}, 500},
		{"Issuer", func(boom func()) searchtoken.Config {
			return searchtoken.Config{Issuer: &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
				boom()
				return tokenFor(n, p), nil
			}}}
		}, []string{"ann", "ann", "bob"}, 503},
		{"Get of Cache", func(boom func()) searchtoken.Config {
			c := &cache{Cache: searchtoken.NewMemoryCache(0)}
			c.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				boom()
				return c.Cache.Get(ctx, key)
			}
			return searchtoken.Config{Cache: c}
		}, []string{"ann", "ann", "bob"}, 500},
		{"Get of Cache, in the fetch", func(boom func()) searchtoken.Config {
			c := &cache{Cache: searchtoken.NewMemoryCache(0)}
			c.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				if _, ok := ctx.Deadline(); ok {
					boom()
				}
				return c.Cache.Get(ctx, key)
			}
			return searchtoken.Config{Cache: c}
		}, []string{"ann", "ann", "bob"}, 503},
		{"Set of Cache", func(boom func()) searchtoken.Config {
			c := &cache{Cache: searchtoken.NewMemoryCache(0)}
			c.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
				boom()
				return c.Cache.Set(ctx, key, t, epoch)
			}
			return searchtoken.Config{Cache: c}
		}, []string{"ann", "ann", "bob"}, 503},
		{"Observe", func(boom func()) searchtoken.Config {
			return searchtoken.Config{Observe: func(_ context.Context, e searchtoken.Event) {
				if e.Kind == searchtoken.EventMiss {
					boom()
				}
			}}
		}, []string{"ann", "bob"}, 500},
		{"Observe, in the fetch", func(boom func()) searchtoken.Config {
			return searchtoken.Config{Observe: func(_ context.Context, e searchtoken.Event) {
				if e.Kind == searchtoken.EventFetch {
					boom()
				}
			}}
		}, []string{"ann", "ann", "bob"}, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := true
				cfg := tt.cfg(func() {
					time.Sleep(time.Second)
					if broken {
						panic(secret)
					}
				})
				cfg.MaxInFlight = 1
				m := newMiddleware(t, cfg)
				var wg sync.WaitGroup
				for _, user := range tt.users {
					wg.Go(func() {
						if got := statusOf(m, request(user)); got != tt.want {
							t.Errorf("status %d, want %d", got, tt.want)
						}
					})
				}
				wg.Wait()
				broken = false
				time.Sleep(time.Minute)
				for _, user := range []string{"ann", "bob"} {
					if got := statusOf(m, request(user)); got != 200 {
						t.Errorf("status %d for %s afterwards", got, user)
					}
				}
			})
		})
	}
}

// panicking is a slog.Handler that fails when it is needed.
type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool  { return true }
func (panicking) Handle(context.Context, slog.Record) error { panic("the log is full") }

// TestLoggerPanics has the Logger panic over an Issuer that panics.
func TestLoggerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) { panic("boom") }}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Logger: slog.New(panicking{})})
		if got := statusOf(m, request("ann")); got != 503 {
			t.Errorf("status %d, want 503", got)
		}
	})
}

// statusOf serves r as net/http does: a panic costs its request alone.
func statusOf(m *searchtoken.Middleware, r *http.Request) (status int) {
	defer func() {
		if recover() != nil {
			status = 500
		}
	}()
	return get(m, r).Code
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(5 * time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		get(m, request("ann"))
		time.Sleep(23 * time.Hour)
		get(m, request("ann")) // begins a refresh
		go get(m, request("cyd"))
		synctest.Wait()
		began := time.Now()
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited != 5*time.Second {
			t.Errorf("Shutdown waited %v for a fetch of 5s", waited)
		}
		if err := m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		time.Sleep(23 * time.Hour)
		if w := get(m, request("ann")); w.Code != 200 {
			t.Errorf("status %d from a closed Middleware", w.Code)
		}
		synctest.Wait()
		if w := get(m, request("bob")); w.Code != 200 {
			t.Errorf("status %d from a closed Middleware", w.Code)
		}
		if got := issuer.count(); got != 5 {
			t.Errorf("%d calls, want 5: no refresh after Shutdown", got)
		}
	})
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen := &scripted{delay: time.Second}, &events{}
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer(), Observe: seen.observe})
		step := func(name string, want []string, do func()) {
			t.Helper()
			do()
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if diff := cmp.Diff(want, seen.take()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		step("miss", []string{"fetch", "miss"}, func() { get(m, request("ann")) })
		step("hit", []string{"hit"}, func() { get(m, request("ann")) })
		step("forget", []string{"forget"}, func() { m.Forget(t.Context(), searchtoken.Email("bob")) })
		step("nobody", nil, func() { get(m, request("")) })
		time.Sleep(23 * time.Hour)
		step("refresh", []string{"hit", "refresh"}, func() { get(m, request("ann")) })
		rejected := get(m, request("ann")).Body.String()
		seen.take()
		step("renewal", []string{"renew", "miss"}, func() { renew(m, renewal("ann", rejected)) })
		s.fail(&searchtoken.APIError{StatusCode: 403})
		step("failure", []string{"fetch 502", "miss 502"}, func() { get(m, request("bob")) })
	})
}

// TestLogIsNotFilled has another user ask in each second of ten minutes.
func TestLogIsNotFilled(t *testing.T) {
	down := errors.New("down")
	refusing := func(status int) *issuer {
		return &issuer{answer: func(_ context.Context, n int, _ searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: status, RequestID: fmt.Sprint(n)}
		}}
	}
	brokenCache := &cache{
		Cache: searchtoken.NewMemoryCache(0),
		get: func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
			return searchtoken.Token{}, 0, down
		},
		forget: func(context.Context, searchtoken.UserKey) error { return down },
	}
	for _, tt := range []struct {
		name string
		cfg  searchtoken.Config
		want map[string]int // lines by level and text
	}{
		{"wrong key", searchtoken.Config{Issuer: refusing(401)}, map[string]int{"ERROR searchtoken: fetching a token failed": 10}},
		{"key without the privilege", searchtoken.Config{Issuer: refusing(403)}, map[string]int{"ERROR searchtoken: fetching a token failed": 10}},
		{"cache", searchtoken.Config{Cache: brokenCache}, map[string]int{"WARN searchtoken: cache operation failed": 20}}, // Get and Forget
		{
			"session store",
			searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
				return searchtoken.Identity{}, fmt.Errorf("%w: %w", searchtoken.ErrSession, down)
			}},
			map[string]int{"ERROR searchtoken: request without a token": 10},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				tt.cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
				m := newMiddleware(t, tt.cfg)
				for i := range 600 {
					user := fmt.Sprint("user", i)
					get(m, request(user))
					m.Forget(t.Context(), searchtoken.Email(user))
					time.Sleep(time.Second)
				}
				got := map[string]int{}
				for lines := json.NewDecoder(&log); ; {
					var line struct{ Level, Msg string }
					if lines.Decode(&line) != nil {
						break
					}
					got[line.Level+" "+line.Msg]++
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("log lines (-want +got):\n%s", diff)
				}
			})
		})
	}
}
