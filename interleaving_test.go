package searchtoken_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// The tests in this file are about what happens between two steps of a fetch: a
// Forget, an answer to another fetch, a cache that is late or fails.

// TestForgetBetweenTheLooks has a Forget after a request's look into the cache, and
// before that of its fetch, which makes no call beside that of those who come later.
func TestForgetBetweenTheLooks(t *testing.T) {
	for name, down := range map[string]error{"here": nil, "here, the cache fails": errors.New("down"), "on another instance": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared := searchtoken.NewMemoryCache(0)
				late := &cache{Cache: shared}
				late.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
					token, epoch, err := shared.Get(ctx, key)
					time.Sleep(time.Second)
					return token, epoch, err
				}
				if down != nil {
					late.forget = func(context.Context, searchtoken.UserKey) error { return down }
				}
				issuer := &issuer{answer: slowly(2 * time.Second)}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: late})
				forgetting := m
				if name == "on another instance" {
					forgetting = newMiddleware(t, searchtoken.Config{Cache: shared})
				}
				var wg sync.WaitGroup
				ask := func() {
					if w := get(m, request("ann")); w.Code != 200 {
						t.Errorf("status %d", w.Code)
					}
				}
				wg.Go(ask)
				time.Sleep(500 * time.Millisecond)
				if err := forgetting.Forget(t.Context(), searchtoken.Email("ann")); !errors.Is(err, down) {
					t.Errorf("Forget() = %v", err)
				}
				wg.Go(ask)
				wg.Wait()
				if got := issuer.count(); got != 1 {
					t.Errorf("%d calls, want 1: the fetch from before the Forget makes none", got)
				}
			})
		})
	}
}

// TestFetchFindsATokenNearItsExpiry has a miss told late, for which there is a token
// by then that is good for this request.
func TestFetchFindsATokenNearItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := searchtoken.NewMemoryCache(0)
		there := newMiddleware(t, searchtoken.Config{Cache: shared})
		want := get(there, request("ann")).Body.String()
		time.Sleep(23 * time.Hour)
		issuer := &issuer{}
		here := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: &cache{Cache: shared,
			get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				token, epoch, err := shared.Get(ctx, key)
				if _, fetch := ctx.Deadline(); !fetch {
					token = searchtoken.Token{} // from before it was kept
				}
				return token, epoch, err
			}}})
		if got := get(here, request("ann")).Body.String(); got != want || issuer.count() != 0 {
			t.Errorf("another token after %d calls, want the good one from the cache", issuer.count())
		}
	})
}

// TestFetchThatFindsATokenForOthers has a session that ends early share a fetch that
// finds a token of full length in the cache.
func TestFetchThatFindsATokenForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := searchtoken.NewMemoryCache(0)
		late := &cache{Cache: shared}
		late.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			token, epoch, err := shared.Get(ctx, key)
			time.Sleep(time.Second)
			return token, epoch, err
		}
		ends := time.Now().Add(2 * time.Hour)
		identify := func(r *http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			if r.Header.Get("User") == "short" {
				id.Expires = ends
			}
			return id, nil
		}
		here := newMiddleware(t, searchtoken.Config{Cache: late, Identify: identify})
		there := newMiddleware(t, searchtoken.Config{Cache: shared, Identify: identify})
		var long, short string
		var wg sync.WaitGroup
		wg.Go(func() { get(here, request("long")) }) // misses
		time.Sleep(500 * time.Millisecond)
		long = get(there, request("long")).Body.String()
		time.Sleep(400 * time.Millisecond)
		wg.Go(func() { short = get(here, request("short")).Body.String() }) // joins the fetch, which finds long
		wg.Wait()
		if short == long {
			t.Error("a session got a token that outlives it, from a fetch that found it in the cache")
		}
	})
}

// TestCacheThatFailsForAMoment has a request's own look into the cache fail, but not
// that of its fetch.
func TestCacheThatFailsForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := searchtoken.NewMemoryCache(0)
		issuer := &issuer{}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: &cache{Cache: memory,
			get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				if _, fetch := ctx.Deadline(); !fetch {
					return searchtoken.Token{}, 0, errors.New("down")
				}
				return memory.Get(ctx, key)
			}}})
		if err := m.Forget(t.Context(), searchtoken.Email("ann")); err != nil { // an epoch that is not 0
			t.Error(err)
		}
		for range 2 { // the second fetch finds what the first has kept
			if w := get(m, request("ann")); w.Code != 200 || issuer.count() != 1 {
				t.Errorf("status %d after %d calls, want 200 after 1", w.Code, issuer.count())
			}
		}
	})
}

// TestSlowCacheCostsNoPage has the cache hang in fetches until it is given up.
func TestSlowCacheCostsNoPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := searchtoken.NewMemoryCache(0)
		issuer := &issuer{}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: &cache{Cache: memory,
			get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				if _, fetch := ctx.Deadline(); fetch {
					<-ctx.Done()
					return searchtoken.Token{}, 0, ctx.Err()
				}
				return searchtoken.Token{}, 0, errors.New("down")
			}}})
		for i := range 4 {
			w := get(m, request(fmt.Sprint("user", i)))
			if w.Code != 200 {
				t.Errorf("a cache that is slow costs the page: %d", w.Code)
			}
		}
	})
}

// TestSlowCacheLeavesTimeToTheIssuer has both take as long as a fetch may.
func TestSlowCacheLeavesTimeToTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(5 * time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: &cache{
			get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				select {
				case <-time.After(6 * time.Second):
				case <-ctx.Done():
				}
				return searchtoken.Token{}, 0, errors.New("down")
			},
			set: func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
				return false, errors.New("down")
			}}})
		if w := get(m, request("ann")); w.Code != 200 {
			t.Errorf("%v", seen(w))
		}
	})
}

// TestRetryAfterDuringTheLook has a 429 arrive while another fetch looks into the
// cache.
func TestRetryAfterDuringTheLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := searchtoken.NewMemoryCache(0)
		var looks atomic.Int64
		s := &scripted{}
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer(), Cache: &cache{Cache: memory,
			get: func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				if _, fetch := ctx.Deadline(); fetch && looks.Add(1) == 1 {
					time.Sleep(time.Second)
				}
				return memory.Get(ctx, key)
			}}})
		s.fail(&searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute})
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("ann")) })
		synctest.Wait()
		get(m, request("bob"))
		wg.Wait()
		if got := s.take(); len(got) != 1 {
			t.Errorf("calls of %v, want bob's alone", got)
		}
	})
}

// TestTokenBesideAnError has a cache return both.
func TestTokenBesideAnError(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{Cache: &cache{
		get: func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
			return searchtoken.Token{Value: "half read", Issued: time.Now(), Expiry: time.Now().Add(24 * time.Hour)}, 0, errors.New("down")
		}}})
	if got := get(m, request("ann")).Body.String(); got == "half read" {
		t.Error("what came with an error was handed out")
	}
}

// TestForgetThatFails has the cache fail to forget while a fetch is under way: what
// it brings is not kept all the same.
func TestForgetThatFails(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"while the issuer is asked":  500 * time.Millisecond,
		"while the token is kept":    1500 * time.Millisecond,
		"after the token was handed": 2500 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cache{Cache: searchtoken.NewMemoryCache(0)}
				c.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
					time.Sleep(time.Second)
					return c.Cache.Set(ctx, key, t, epoch)
				}
				c.forget = func(context.Context, searchtoken.UserKey) error { return errors.New("down") }
				issuer := &issuer{answer: slowly(time.Second)}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: c})
				var wg sync.WaitGroup
				wg.Go(func() { get(m, request("ann")) })
				time.Sleep(after)
				if m.Forget(t.Context(), searchtoken.Email("ann")) == nil {
					t.Error("Forget does not tell that the cache failed")
				}
				wg.Wait()
				get(m, request("ann"))
				want := 2
				if name == "after the token was handed" {
					want = 1 // it is in the cache, as the error of Forget says
				}
				if got := issuer.count(); got != want {
					t.Errorf("%d calls, want %d", got, want)
				}
			})
		})
	}
}

// TestForgetsAreNoRenewals has others forgotten who share the user's epoch, so that a
// renewal starts again and again: the user has asked for one.
func TestForgetsAreNoRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 1 << 32
		var others atomic.Uint64 // who were forgotten
		c := &cache{Cache: searchtoken.NewMemoryCache(0)}
		c.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			token, epoch, err := c.Cache.Get(ctx, key)
			return token, epoch + each*others.Load(), err
		}
		c.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
			if epoch/each != others.Load() {
				return false, nil
			}
			return c.Cache.Set(ctx, key, t, epoch%each)
		}
		m := newMiddleware(t, searchtoken.Config{Issuer: &issuer{answer: slowly(time.Second)}, Cache: c})
		rejected := get(m, request("ann")).Body.String()
		var wg sync.WaitGroup
		wg.Go(func() {
			if w := renew(m, renewal("ann", rejected)); w.Code != 200 {
				t.Errorf("status %d", w.Code)
			}
		})
		for range 4 {
			time.Sleep(900 * time.Millisecond)
			others.Add(1)
		}
		wg.Wait()
	})
}

// TestForgetThatFailsIsNotUndone asks again and again while a fetch from before the
// Forget ends.
func TestForgetThatFailsIsNotUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cache{Cache: searchtoken.NewMemoryCache(0), forget: func(context.Context, searchtoken.UserKey) error { return errors.New("down") }}
		c.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
			time.Sleep(time.Second)
			return c.Cache.Set(ctx, key, t, epoch)
		}
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			time.Sleep(time.Second)
			token := tokenFor(n, p)
			token.Value = fmt.Sprint("call ", n)
			return token, nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: c})
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("ann")) })
		time.Sleep(500 * time.Millisecond)
		if m.Forget(t.Context(), searchtoken.Email("ann")) == nil {
			t.Error("Forget does not tell that the cache failed")
		}
		for range 50 {
			wg.Go(func() {
				if got := get(m, request("ann")).Body.String(); got == "call 1" {
					t.Error("a request after the Forget got the token that was being fetched")
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
	})
}

// TestRenewalThatBringsNothing leaves the cached token as it was.
func TestRenewalThatBringsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMiddleware(t, searchtoken.Config{Issuer: &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{Value: "only"}, nil // as if it had its whole life before it
		}}})
		expiry := func() (at time.Time) {
			m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				page, _ := searchtoken.FromContext(r.Context())
				at = page.Token.Expiry
			})).ServeHTTP(httptest.NewRecorder(), request("ann"))
			return at
		}
		before := expiry()
		time.Sleep(time.Hour)
		if w := renew(m, renewal("ann", "only")); w.Code != 503 {
			t.Errorf("renewal: %v", seen(w))
		}
		if after := expiry(); !after.Equal(before) {
			t.Errorf("the cached token expires at %v, was %v", after, before)
		}
	})
}

// TestRenewalForgottenElsewhere has the issuer return the rejected token once more,
// while another instance forgets the user.
func TestRenewalForgottenElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := searchtoken.NewMemoryCache(0)
		var first searchtoken.Token
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			time.Sleep(time.Second)
			switch n {
			case 1:
				first = tokenFor(n, p)
				fallthrough
			case 2:
				return first, nil
			}
			return tokenFor(n, p), nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: shared})
		there := newMiddleware(t, searchtoken.Config{Cache: shared})
		get(m, request("ann"))
		var wg sync.WaitGroup
		wg.Go(func() {
			if w := renew(m, renewal("ann", first.Value)); w.Code != 200 || w.Body.String() == first.Value {
				t.Errorf("renewal: %v", seen(w))
			}
		})
		time.Sleep(500 * time.Millisecond)
		if err := there.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}

// TestRenewalOfADeadToken forces nothing, and is not counted.
func TestRenewalOfADeadToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			token := tokenFor(n, p)
			token.Expiry = token.Issued.Add(4 * time.Second) // dead after 2
			return token, nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		token := get(m, request("ann")).Body.String()
		for i := range 10 {
			time.Sleep(3 * time.Second)
			w := renew(m, renewal("ann", token))
			if w.Code != 200 || w.Body.String() == token {
				t.Errorf("renewal %d: %v", i, seen(w))
			}
			token = w.Body.String()
		}
	})
}

// TestOneProbe has a fetch from before an outage end while the probe is under way.
func TestOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []string
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			user := p.UserIDs[0].Name
			mu.Lock()
			calls = append(calls, user)
			mu.Unlock()
			switch user {
			case "slow": // since before the outage
				time.Sleep(3 * time.Second)
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 500}
			case "limited":
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429}
			}
			time.Sleep(5 * time.Second)
			return tokenFor(n, p), nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		var wg sync.WaitGroup
		for _, user := range []string{"slow", "limited", "probe", "other"} { // slow ends while the probe is under way
			wg.Go(func() { get(m, request(user)) })
			time.Sleep(1200 * time.Millisecond)
		}
		wg.Wait()
		if diff := cmp.Diff([]string{"slow", "limited", "probe"}, calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// TestEarlierRetryAfterInTheAir has two calls answered with 429, the second with the
// earlier time.
func TestEarlierRetryAfterInTheAir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var others atomic.Int64
		issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			limited := func(after time.Duration) (searchtoken.Token, error) {
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429, RetryAfter: after}
			}
			switch p.UserIDs[0].Name {
			case "long":
				time.Sleep(time.Second)
				return limited(time.Minute)
			case "short":
				time.Sleep(2 * time.Second)
				return limited(time.Second)
			case "good":
				time.Sleep(5 * time.Second)
			case "other":
				others.Add(1)
			}
			return tokenFor(n, p), nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		var wg sync.WaitGroup
		for _, user := range []string{"long", "short", "good"} {
			wg.Go(func() { get(m, request(user)) })
		}
		wg.Wait()
		if get(m, request("other")); others.Load() != 0 {
			t.Error("a call before the later of two times")
		}
	})
}

// TestOldRetryAfter has an outage some time after a Retry-After that held back nobody.
func TestOldRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(&searchtoken.APIError{StatusCode: 503, RetryAfter: 5 * time.Minute})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		get(m, request("ann"))
		s.fail(nil)
		for i := range 10 {
			if w := get(m, request(fmt.Sprint("good", i))); w.Code != 200 {
				t.Error(w.Code)
			}
		}
		time.Sleep(time.Minute)
		s.fail(errors.New("unreachable"))
		for i := range 3 {
			get(m, request(fmt.Sprint("bad", i)))
		}
		s.fail(nil)
		time.Sleep(2 * time.Second)
		if w := get(m, request("bob")); w.Code != 200 {
			t.Errorf("%v", seen(w))
		}
	})
}

// TestOneRefreshForAll has many requests come near a token's expiry, while it is
// refreshed, and while the upstream asks for patience.
func TestOneRefreshForAll(t *testing.T) {
	limited := &searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute}
	for _, tt := range []struct {
		name  string
		err   error
		delay time.Duration
		want  []int // calls by the end of each second
	}{
		{"it succeeds", nil, 2500 * time.Millisecond, []int{1, 1, 1, 1}},
		{"429", limited, 0, []int{1, 1, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &scripted{}
				m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
				for _, user := range []string{"ann", "bob"} {
					get(m, request(user))
				}
				time.Sleep(23 * time.Hour)
				s.take()
				s.fail(tt.err)
				s.delay = tt.delay
				var got []int
				calls := 0
				for range tt.want {
					var wg sync.WaitGroup
					for range 100 {
						wg.Go(func() {
							began := time.Now()
							if w := get(m, request("ann")); w.Code != 200 || time.Since(began) != 0 {
								t.Errorf("status %d after %v, want a good token at once", w.Code, time.Since(began))
							}
						})
					}
					wg.Wait()
					if tt.err != nil {
						synctest.Wait()
						get(m, request("bob")) // nobody's refresh begins earlier
					}
					time.Sleep(time.Second)
					calls += len(s.take())
					got = append(got, calls)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestNoCallForWhoHasLeft asks for a visitor who is gone already.
func TestNoCallForWhoHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if w := get(m, request("ann").WithContext(ctx)); w.Code != 503 {
			t.Errorf("status %d", w.Code)
		}
		synctest.Wait()
		if got := issuer.count(); got != 0 {
			t.Errorf("%d calls for a visitor who had left, want 0", got)
		}
	})
}

// TestElapsed has a request wait for two fetches.
func TestElapsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		got := map[searchtoken.EventKind][]time.Duration{}
		m := newMiddleware(t, searchtoken.Config{Issuer: &issuer{answer: slowly(2 * time.Second)}, Observe: func(_ context.Context, e searchtoken.Event) {
			mu.Lock()
			defer mu.Unlock()
			got[e.Kind] = append(got[e.Kind], e.Elapsed)
		}})
		var wg sync.WaitGroup
		wg.Go(func() { get(m, request("ann")) })
		time.Sleep(time.Second)
		if err := m.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Error(err)
		}
		wg.Wait()
		get(m, request("ann"))
		want := map[searchtoken.EventKind][]time.Duration{
			searchtoken.EventFetch: {2 * time.Second, 2 * time.Second}, searchtoken.EventMiss: {4 * time.Second},
			searchtoken.EventForget: {0}, searchtoken.EventHit: {0},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Elapsed (-want +got):\n%s", diff)
		}
	})
}

// TestRefusalsOfLateAreKept has more users refused than are remembered.
func TestRefusalsOfLateAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		s.fail(&searchtoken.APIError{StatusCode: 400})
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		for i := range 4095 {
			get(m, request(fmt.Sprint("user", i)))
		}
		time.Sleep(2 * time.Second)
		for _, user := range []string{"ann", "the one too many"} {
			get(m, request(user))
		}
		s.take()
		if get(m, request("ann")); len(s.take()) != 0 {
			t.Error("a refusal of this second made room, not those whose time is over")
		}
	})
}

// TestIssuerWritesLate has an issuer write to its parameters after it was given up:
// nobody else reads them then.
func TestIssuerWritesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			<-ctx.Done()
			p.UserIDs[0].Name = "other"
			return searchtoken.Token{}, ctx.Err()
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		for i := range 20 {
			get(m, request(fmt.Sprint("user", i)))
			time.Sleep(2 * time.Minute)
		}
	})
}

// TestIssuerWritesAndTells has an issuer change a name, and then tell it.
func TestIssuerWritesAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		issuer := &issuer{answer: func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			name := p.UserIDs[0].Name
			p.UserIDs[0].Name = strings.ToLower(name)
			return searchtoken.Token{}, fmt.Errorf("no token for %s", name)
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		get(m, request("Zoe Quill"))
		if strings.Contains(log.String(), "Zoe Quill") {
			t.Errorf("log: %s", log.String())
		}
	})
}

// TestForgetTellsNoSecrets has a cache with a user's name in its error.
func TestForgetTellsNoSecrets(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{Cache: &cache{forget: func(context.Context, searchtoken.UserKey) error {
		return errors.New("DEL tokens:ann@example.com: connection refused")
	}}})
	if err := m.Forget(t.Context(), searchtoken.Email("ann@example.com")); err == nil || strings.Contains(err.Error(), "ann@") {
		t.Errorf("Forget() = %v", err)
	}
}

// TestDeadAfterFailures has refreshes fail until the token is dead. Requests are then
// told why at once, and make no call each.
func TestDeadAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		m := newMiddleware(t, searchtoken.Config{Issuer: s.issuer()})
		get(m, request("ann"))
		time.Sleep(23 * time.Hour)
		s.take()
		s.fail(&searchtoken.APIError{StatusCode: 403})
		for range 57 {
			if w := get(m, request("ann")); w.Code != 200 {
				t.Errorf("status %d while the token is good", w.Code)
			}
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute)
		s.take()
		began := time.Now()
		for range 100 {
			if w := get(m, request("ann")); w.Code != 502 {
				t.Errorf("status %d, want 502", w.Code)
			}
		}
		if calls, waited := len(s.take()), time.Since(began); calls > 1 || waited > 0 {
			t.Errorf("%d calls in %v for 100 requests", calls, waited)
		}
	})
}
