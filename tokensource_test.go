package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

func TestRequestsOfOneUserShareAFetch(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(time.Second)
		h.together(10_000, func(int) {
			if got := h.get("ann"); got.Body != "ann 1" {
				h.Errorf("%+v, want the token of the first call", got)
			}
		})
		check(h, "calls", []string{"ann"}, h.issuer.take())
	})
}

func TestMaxInFlightBoundsTheCalls(t *testing.T) {
	const users = 1000
	for _, tt := range []struct {
		name        string
		maxInFlight int
		want        int // calls at a time
	}{
		{"default", 0, 64},
		{"one", 1, 1},
		{"ten", 10, 10},
		{"more than there are users", 2000, users},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				var inFlight, most atomic.Int64
				h.issuer.answer = func(
					ctx context.Context, n int, p searchtoken.TokenParams,
				) (searchtoken.Token, error) {
					now := inFlight.Add(1)
					defer inFlight.Add(-1)
					for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
					}
					return slowly(time.Second)(ctx, n, p)
				}
				h.configure(searchtoken.Config{MaxInFlight: tt.maxInFlight})
				began := time.Now()
				h.together(users, func(i int) {
					if got := h.get(fmt.Sprint("user", i)); got.Status != 200 {
						h.Errorf("status %d", got.Status)
					}
				})
				check(h, "calls", users, h.issuer.count())
				check(h, "calls at a time", tt.want, int(most.Load()))
				rounds := time.Duration((users + tt.want - 1) / tt.want)
				check(h, "time", rounds*time.Second, time.Since(began))
			})
		})
	}
}

// TestFetchesQueueForASlot has one fetch run, and others that may begin only
// after it.
func TestFetchesQueueForASlot(t *testing.T) {
	const s, long = time.Second, time.Hour
	limited := &searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute}
	for _, tt := range []struct {
		name      string
		delay     time.Duration // of the issuer
		err       error         // of the issuer
		hangs     bool          // the issuer ignores its context
		patience  []time.Duration
		meanwhile func(h *harness)
		want      []timed
		calls     int
	}{
		{
			name: "for longer than a fetch may take", delay: 6 * s, patience: []time.Duration{long, long, long},
			want: []timed{{200, "user0 1", 6 * s}, {200, "user1 2", 12 * s}, {200, "user2 3", 18 * s}}, calls: 3,
		},
		{
			name: "no call for a user who has left", delay: 3 * s, patience: []time.Duration{long, s, long},
			want: []timed{{200, "user0 1", 3 * s}, {503, "", s}, {200, "user2 2", 6 * s}}, calls: 2,
		},
		{
			name: "the issuer hangs", delay: 15 * s, hangs: true, patience: []time.Duration{long, 12 * s},
			want: []timed{{503, "", 10 * s}, {503, "", 12 * s}}, calls: 2,
		},
		{
			name: "Coveo asks for fewer calls meanwhile", delay: s, err: limited,
			patience: []time.Duration{long, long, long},
			want:     []timed{{503, "", s}, {503, "", s}, {503, "", s}}, calls: 1,
		},
		{
			name: "forgotten meanwhile", delay: 3 * s, patience: []time.Duration{long, long},
			meanwhile: func(h *harness) { h.forget("user1") },
			want:      []timed{{200, "user0 1", 3 * s}, {200, "user1 2", 6 * s}}, calls: 2,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(tt.delay)
				h.issuer.fail(tt.err)
				if tt.hangs {
					h.issuer.answer = func(
						_ context.Context, n int, p searchtoken.TokenParams,
					) (searchtoken.Token, error) {
						time.Sleep(tt.delay)
						return tokenFor(n, p), nil
					}
				}
				h.configure(searchtoken.Config{MaxInFlight: 1})
				got := make([]timed, len(tt.patience))
				for i, patience := range tt.patience {
					h.background(func() { got[i] = h.visit(fmt.Sprint("user", i), patience) })
				}
				if tt.meanwhile != nil {
					tt.meanwhile(h)
				}
				h.wait()
				check(h, "requests", tt.want, got)
				h.elapse(time.Minute) // for an issuer that hangs
				check(h, "calls", tt.calls, h.issuer.count())
			})
		})
	}
}

func TestRefreshesDoNotQueue(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(5 * time.Second)
		h.configure(searchtoken.Config{MaxInFlight: 1})
		h.get("ann")
		h.elapse(23 * time.Hour)
		for _, user := range []string{"bob", "cat"} { // bob's fetch takes the slot
			h.background(func() { h.get(user) })
		}
		check(h, "ann's stale token", timed{200, "ann 1", 0}, h.visit("ann", time.Minute))
		h.wait()
		check(h, "calls while fetches queue", []string{"ann", "bob", "cat"}, h.issuer.take())
		h.get("ann")
		h.elapse(5 * time.Second)
		check(h, "calls when a slot is free", []string{"ann"}, h.issuer.take())
		check(h, "ann's token", timed{200, "ann 4", 0}, h.visit("ann", time.Minute))
	})
}

func TestAWaiterWhoLeavesFailsNobody(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(5 * time.Second)
		patience := []time.Duration{time.Second, 2 * time.Second, time.Minute} // the leader leaves first
		got := make([]timed, len(patience))
		for i, p := range patience {
			h.background(func() { got[i] = h.visit("ann", p) })
		}
		h.wait()
		check(h, "waiters", []timed{
			{503, "", time.Second}, {503, "", 2 * time.Second}, {200, "ann 1", 5 * time.Second},
		}, got)
		check(h, "calls", 1, h.issuer.count())
	})
}

func TestForgetDiscardsAFetchInFlight(t *testing.T) {
	const before, after = 0, 1 // the requests that begin before and after Forget
	for _, tt := range []struct {
		name  string
		stale bool // ann has a stale token, so the fetch is a refresh
		down  bool // the Cache fails
		want  []string
	}{
		// The request from before the Forget gets the token, which is not
		// stored.
		{"fetch", false, false, []string{before: "ann 1", after: "ann 2"}},
		{"refresh", true, false, []string{before: "ann 1", after: "ann 3"}},
		{"fetch while the Cache fails", false, true, []string{before: "ann 1", after: "ann 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(2 * time.Second)
				var want error
				if tt.down {
					want = errDown
					h.cache.fail(errDown, "Get", "Set", "Forget")
					h.configure(searchtoken.Config{Cache: h.cache})
				}
				if tt.stale {
					h.get("ann")
					h.elapse(23*time.Hour + 30*time.Minute)
				}
				got := make([]string, 2)
				h.background(func() { got[before] = h.get("ann").Body })
				h.elapse(time.Second)
				if err := h.middleware.Forget(h.Context(), searchtoken.Email("ann")); !errors.Is(err, want) {
					h.Errorf("Forget() = %v, want %v", err, want)
				}
				h.background(func() { got[after] = h.get("ann").Body })
				h.wait()
				check(h, "tokens of the requests before and after Forget", tt.want, got)
			})
		})
	}
}

// TestACacheThatKeepsNothingCostsNoPage has a Cache to which every token comes
// from before a Forget.
func TestACacheThatKeepsNothingCostsNoPage(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.set = func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
			return false, nil
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		for n := range 3 {
			check(h, "answer", answer{200, fmt.Sprint("ann ", n+1), ""}, h.get("ann"))
		}
		check(h, "calls", 3, h.issuer.count())
	})
}

// TestUsersThatCoveoWouldRefuseHoldBackNobody has several users of whom Coveo
// would refuse the parameters.
func TestUsersThatCoveoWouldRefuseHoldBackNobody(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(id *searchtoken.Identity, text string)
	}{
		{"display name", func(id *searchtoken.Identity, text string) { id.DisplayName = text }},
		{"user ID", func(id *searchtoken.Identity, text string) { id.UserIDs[0].Name = text }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{Identify: func(r *http.Request) (searchtoken.Identity, error) {
					id := searchtoken.Email("ann")
					tt.spoil(&id, r.Header.Get("User"))
					return id, nil
				}})
				var got []int
				for _, text := range []string{"\xff1", "\xff2", "\xff3", "\xff4", "Ann"} {
					got = append(got, h.get(text).Status)
				}
				check(h, "statuses", []int{500, 500, 500, 500, 200}, got)
				check(h, "calls", 1, h.issuer.count())
				check(h, "log lines about the request", 1, len(h.log.take()))
			})
		})
	}
}

func TestShutdownEndsBackgroundWork(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(5 * time.Second)
		h.get("ann")
		h.elapse(23 * time.Hour)
		h.get("ann")
		h.elapse(0) // a refresh starts, for which nobody waits
		h.background(func() {
			check(h, "cyd, who waits", timed{200, "cyd 3", 5 * time.Second}, h.visit("cyd", time.Hour))
		})
		h.events.take()
		began := time.Now()
		for range 2 {
			if err := h.middleware.Shutdown(context.Background()); err != nil {
				h.Error(err)
			}
			check(h, "time of Shutdown", 5*time.Second, time.Since(began))
		}
		h.wait()
		check(h, "events", []event{
			{"refresh", "", "canceled", 0}, {"fetch", "", "ok", 5 * time.Second}, {"miss", "", "ok", 5 * time.Second},
		}, takeEvents(h))
		check(h, "log lines", nil, h.log.take())
		check(h, "calls", []string{"ann", "ann", "cyd"}, h.issuer.take())

		check(h, "a stale token", timed{200, "ann 1", 0}, h.visit("ann", time.Hour))
		h.elapse(time.Minute)
		check(h, "refreshes after Shutdown", nil, h.issuer.take())
		check(h, "a fetch after Shutdown", timed{200, "bob 4", 5 * time.Second}, h.visit("bob", time.Hour))
	})
}

func TestShutdownWaitsUntilItsContextIsDone(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(5 * time.Second)
		h.background(func() {
			check(h, "ann, who waits", timed{200, "ann 1", 5 * time.Second}, h.visit("ann", time.Hour))
		})
		ctx, cancel := context.WithTimeout(h.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := h.middleware.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			h.Errorf("Shutdown() = %v, want %v", err, context.DeadlineExceeded)
		}
		check(h, "time of Shutdown", time.Second, time.Since(began))
	})
}

// TestATokenThatOutlivesTheSessionIsNotAccepted has a request of a short
// session join a fetch that finds a token of full length in the Cache.
func TestATokenThatOutlivesTheSessionIsNotAccepted(t *testing.T) {
	bubble(t, func(h *harness) {
		ends := time.Now().Add(2 * time.Hour)
		identify := func(r *http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			if r.Header.Get("User") == "short" {
				id.Expires = ends
			}
			return id, nil
		}
		there := h.instance()
		there.configure(searchtoken.Config{Identify: identify})
		h.cache.slowGet(time.Second)
		h.configure(searchtoken.Config{Cache: h.cache, Identify: identify})
		h.background(func() { check(h, "long session", answer{200, "ann 1", ""}, h.get("long")) })
		h.elapse(500 * time.Millisecond)
		there.get("long")
		h.elapse(400 * time.Millisecond)
		h.background(func() { // joins the fetch, which finds that token
			check(h, "short session", answer{200, "ann 2", ""}, h.get("short"))
		})
	})
}

// TestARenewalIsCountedOnce has the first two tokens of a renewal expire while
// the Cache stores them. The renewal tries again each time, but counts as one.
func TestARenewalIsCountedOnce(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			token := tokenFor(n, p)
			if n == 2 || n == 3 {
				token.Expiry = token.Issued.Add(4 * time.Second) // expired after 2
			}
			return token, nil
		}
		h.get("ann")
		h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			if !inFetch(ctx) {
				return searchtoken.Token{}, 0, errDown
			}
			return h.memory.Get(ctx, key)
		}
		h.cache.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
			if time.Until(t.Expiry) < time.Minute {
				time.Sleep(3 * time.Second)
			}
			return h.memory.Set(ctx, key, t, epoch)
		}
		f := newFleet()
		f.Cache = h.cache
		counted := 0 // by the RenewalLimiter
		f.allow = func() (time.Duration, error) { counted++; return 0, nil }
		h.configure(searchtoken.Config{Cache: f})
		check(h, "renewal", answer{200, "ann 4", ""}, h.renew("ann", "ann 1"))
		check(h, "how often the RenewalLimiter counted it", 1, counted)
		for range 2 { // of three at once
			check(h, "a later renewal", 200, h.renew("ann", h.get("ann").Body).Status)
		}
		check(h, "a renewal beyond the limit", 429, h.renew("ann", h.get("ann").Body).Status)
	})
}

// TestARequestHasFiveTries has every token expire while the Cache stores it.
func TestARequestHasFiveTries(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			token := tokenFor(n, p)
			token.Expiry = token.Issued.Add(4 * time.Second) // expired after 2
			return token, nil
		}
		h.cache.slowSet(3 * time.Second)
		h.configure(searchtoken.Config{Cache: h.cache})
		check(h, "answer", timed{503, "", 15 * time.Second}, h.visit("ann", time.Hour))
		check(h, "calls", 5, h.issuer.count())
		h.get("ann")
		check(h, "calls before the delay has passed", 5, h.issuer.count())
	})
}

// TestAStaleTokenIsRefreshedOnce has a hundred requests per second come while a
// token is refreshed, or while Coveo asks for fewer calls.
func TestAStaleTokenIsRefreshedOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		delay time.Duration
	}{
		{"the refresh takes seconds", nil, 2500 * time.Millisecond},
		{"Coveo asks for fewer calls", &searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.get("ann")
				h.get("bob")
				h.elapse(23 * time.Hour)
				h.issuer.take()
				h.issuer.fail(tt.err)
				h.issuer.slow(tt.delay)
				var calls []string
				for second := range 4 {
					want := timed{200, "ann 1", 0}
					if tt.err == nil && second == 3 {
						want.Token = "ann 3"
					}
					h.together(100, func(int) { check(h, "answer", want, h.visit("ann", time.Minute)) })
					h.elapse(0)
					if tt.err != nil {
						// Nobody's refresh starts earlier.
						check(h, "bob", timed{200, "bob 2", 0}, h.visit("bob", time.Minute))
					}
					h.elapse(time.Second)
					calls = append(calls, h.issuer.take()...)
				}
				check(h, "calls", []string{"ann"}, calls)
			})
		})
	}
}

func TestNoCallIsMadeForAUserWhoHasLeft(t *testing.T) {
	bubble(t, func(h *harness) {
		ctx, cancel := context.WithCancel(h.Context())
		cancel()
		check(h, "status", 503, h.serve(request("ann").WithContext(ctx)).Status)
		h.elapse(0)
		check(h, "calls", 0, h.issuer.count())
	})
}

// TestElapsedIsTheWholeWait has a request of a short session wait for two
// fetches: the token of the first one outlives the session.
func TestElapsedIsTheWholeWait(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(2 * time.Second)
		ends := time.Now().Add(2 * time.Hour)
		h.configure(searchtoken.Config{Identify: func(r *http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			if r.Header.Get("User") == "short" {
				id.Expires = ends
			}
			return id, nil
		}})
		h.background(func() { h.get("long") })
		h.elapse(time.Second)
		h.get("short")
		h.forget("ann")
		h.get("short")
		got := map[searchtoken.EventKind][]time.Duration{}
		for _, event := range h.events.takeAll() {
			got[event.Kind] = append(got[event.Kind], event.Elapsed)
		}
		check(h, "Elapsed", map[searchtoken.EventKind][]time.Duration{
			searchtoken.EventFetch: {2 * time.Second, 2 * time.Second, 2 * time.Second},
			searchtoken.EventMiss:  {2 * time.Second, 3 * time.Second, 2 * time.Second}, searchtoken.EventForget: {0},
		}, got)
	})
}
