package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/searchtoken/searchtoken"
)

// errUnreachable is a failure of the upstream.
var errUnreachable = errors.New("unreachable")

func TestFetchOutlivesItsWaiters(t *testing.T) {
	type contextKey struct{}
	bubble(t, func(h *harness) {
		var value any
		h.issuer.answer = func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			value = ctx.Value(contextKey{})
			return slowly(5*time.Second)(ctx, n, p)
		}
		ctx, cancel := context.WithTimeout(context.WithValue(h.Context(), contextKey{}, "of the request"), time.Second)
		defer cancel()
		check(h, "status of who left", 503, h.serve(request("ann").WithContext(ctx)).Status)
		h.elapse(10 * time.Second)
		check(h, "a later request", timed{200, "ann 1", 0}, h.visit("ann", time.Minute))
		check[any](h, "a value of the fetch's context", "of the request", value)
	})
}

func TestFetchTakesAtMost10Seconds(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(time.Hour)
		check(h, "ann", timed{503, "", 10 * time.Second}, h.visit("ann", time.Hour))
	})
}

// TestIssuerThatHangsKeepsNobodyWaiting has an Issuer that ignores its context,
// and is called by the probe that all others wait for.
func TestIssuerThatHangsKeepsNobodyWaiting(t *testing.T) {
	bubble(t, func(h *harness) {
		release := make(chan struct{})
		defer close(release)
		h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			switch n {
			case 1:
				return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429}
			case 2:
				<-release
			}
			return tokenFor(n, p), nil
		}
		h.get("ann")
		h.elapse(5 * time.Second)
		check(h, "the probe", timed{503, "", 10 * time.Second}, h.visit("ann", time.Hour))
		h.elapse(5 * time.Second)
		check(h, "the next probe", timed{200, "bob 3", 0}, h.visit("bob", time.Hour))
	})
}

func TestFetchLooksIntoTheCacheAgain(t *testing.T) {
	bubble(t, func(h *harness) {
		// The first Get returns late, without a token. By then there is one.
		looks := 0
		h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			token, epoch, err := h.memory.Get(ctx, key)
			if looks++; looks == 1 {
				time.Sleep(time.Second)
			}
			return token, epoch, err
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		var first answer
		h.background(func() { first = h.get("ann") })
		check(h, "the second request", "ann 1", h.get("ann").Body)
		h.wait()
		check(h, "the first request", "ann 1", first.Body)
		check(h, "calls", 1, h.issuer.count())
	})
}

// TestRefreshThatReturnsTheSameTokenIsBackedOff has an Issuer that returns one
// token until it expires.
func TestRefreshThatReturnsTheSameTokenIsBackedOff(t *testing.T) {
	bubble(t, func(h *harness) {
		var first searchtoken.Token
		h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			if n == 1 {
				first = tokenFor(n, p)
			}
			return first, nil
		}
		h.get("ann")
		h.elapse(23 * time.Hour)
		for range 100 {
			check(h, "ann", timed{200, "ann 1", 0}, h.visit("ann", time.Minute))
			h.elapse(0)
		}
		check(h, "calls", 2, h.issuer.count())
	})
}

func TestFailedRefreshKeepsTheToken(t *testing.T) {
	bubble(t, func(h *harness) {
		const step = 100 * time.Millisecond
		h.get("ann")
		h.issuer.fail(&searchtoken.APIError{StatusCode: 500})
		h.elapse(23 * time.Hour)
		h.issuer.take()
		var tries []time.Time
		for range 58 * time.Minute / step { // until MinRemaining
			if got := h.visit("ann", time.Minute); got != (timed{200, "ann 1", 0}) {
				h.Fatalf("%+v while the token was good", got)
			}
			h.elapse(0)
			if len(h.issuer.take()) > 0 {
				tries = append(tries, time.Now())
			}
			h.elapse(step)
		}
		check(h, "status once the token has expired", 503, h.get("ann").Status)
		// 1, 2, 4 … 32 s, then a minute each, all within a tenth.
		want := time.Second
		for i := 1; i < len(tries); i++ {
			got := tries[i].Sub(tries[i-1])
			if got < want*9/10 || got > want*11/10+2*step {
				h.Errorf("try %d after %v, want about %v", i, got, want)
			}
			want = min(2*want, time.Minute)
		}
		if len(tries) < 55 || len(tries) > 70 {
			h.Errorf("%d tries in 58 minutes", len(tries))
		}
	})
}

func TestRefusalHoldsBackOneKey(t *testing.T) {
	for _, status := range []int{400, 403, 404, 302, 200} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.failBy(func(user string) error {
					if user == "ann" {
						return &searchtoken.APIError{StatusCode: status}
					}
					return nil
				})
				var got []int
				for _, user := range []string{"ann", "ann", "ann", "ann", "ann", "bob"} {
					got = append(got, h.get(user).Status)
				}
				check(h, "statuses", []int{502, 502, 502, 502, 502, 200}, got)
				check(h, "calls", []string{"ann", "bob"}, h.issuer.take())
				h.elapse(1200 * time.Millisecond)
				h.get("ann")
				check(h, "calls after the delay", []string{"ann"}, h.issuer.take())
			})
		})
	}
}

// TestUselessAnswerIsBackedOff has an Issuer whose every answer is useless.
func TestUselessAnswerIsBackedOff(t *testing.T) {
	for _, tt := range []struct {
		name   string
		token  searchtoken.Token
		err    error
		status int
	}{
		{"empty token", searchtoken.Token{}, nil, 502},
		{"expired token", searchtoken.Token{Value: jwt(map[string]any{"iat": 2000, "exp": 1000})}, nil, 502},
		{"error without a text", searchtoken.Token{}, &panicError{}, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
					return tt.token, tt.err
				}
				for range 10 {
					check(h, "status", tt.status, h.get("ann").Status)
				}
				check(h, "calls at once", 1, h.issuer.count())
				for range 600 {
					h.get("ann")
					h.elapse(time.Second)
				}
				if got := h.issuer.count(); got < 10 || got > 20 {
					h.Errorf("%d calls in ten minutes, want one a minute after the first", got)
				}
			})
		})
	}
}

// panicError is an error that panics when its text is asked for.
type panicError struct{}

// Error implements error.
func (*panicError) Error() string { panic("no text") }

func TestThreeFailuresHoldBackTheUpstream(t *testing.T) {
	bubble(t, func(h *harness) {
		h.get("good")
		h.issuer.fail(errUnreachable)
		h.issuer.take()
		for i := range 10 {
			if got := h.get(fmt.Sprint("user", i)); got.Status != 503 || got.RetryAfter == "" {
				h.Errorf("user %d: %+v, want 503 with Retry-After", i, got)
			}
		}
		check(h, "calls", []string{"user0", "user1", "user2"}, h.issuer.take())
		check(h, "a user with a good token", "good 1", h.get("good").Body)

		// One probe at a time, and the delay doubles.
		h.issuer.slow(10 * time.Millisecond)
		for range 2 {
			h.elapse(2500 * time.Millisecond)
			h.together(10, func(i int) { h.get(fmt.Sprint("other", i)) })
		}
		check(h, "number of probes", 2, len(h.issuer.take()))

		// A probe that succeeds ends it for all, at once.
		h.issuer.fail(nil)
		h.elapse(5 * time.Second)
		var statuses []int
		for _, user := range []string{"probe", "user0", "user1"} {
			statuses = append(statuses, h.get(user).Status)
		}
		check(h, "statuses after the recovery", []int{200, 200, 200}, statuses)
	})
}

func TestAnAnswerEndsARowOfFailures(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.failBy(func(user string) error {
			switch user[0] {
			case 'f':
				return &searchtoken.APIError{StatusCode: 500}
			case 'r':
				return &searchtoken.APIError{StatusCode: 400}
			}
			return nil
		})
		users := []string{"f1", "f2", "good", "f3", "f4", "refused", "f5", "f6"}
		for _, user := range users {
			h.get(user)
		}
		check(h, "calls without three failures in a row", users, h.issuer.take())
		h.get("f7")
		h.get("f8")
		check(h, "calls after three failures in a row", []string{"f7"}, h.issuer.take())
	})
}

func TestRetryAfterHoldsBackTheUpstream(t *testing.T) {
	for _, tt := range []struct {
		name       string
		retryAfter time.Duration
		want       string // in seconds
	}{
		{"seconds", 30 * time.Second, "30"},
		{"at most 5 minutes", 1000 * time.Hour, "300"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.get("good")
				h.issuer.fail(&searchtoken.APIError{StatusCode: 429, RetryAfter: tt.retryAfter})
				h.issuer.take()
				began := time.Now()
				for _, user := range []string{"ann", "bob", "cyd"} {
					check(h, user, answer{503, "Service Unavailable\n", tt.want}, h.get(user))
				}
				check(h, "a user with a good token", "good 1", h.get("good").Body)
				check(h, "time", 0, time.Since(began))
				h.issuer.fail(nil)
				h.elapse(min(tt.retryAfter, 5*time.Minute) - 1)
				h.get("bob")
				check(h, "calls before Retry-After", []string{"ann"}, h.issuer.take())
				h.elapse(time.Second)
				check(h, "status after Retry-After", 200, h.get("bob").Status)
			})
		})
	}
}

func TestRetryAfterOfAFailureHoldsBackItsKey(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 503, RetryAfter: time.Minute})
		check(h, "ann", answer{503, "Service Unavailable\n", "60"}, h.get("ann"))
		h.elapse(time.Minute - 1)
		h.get("ann")
		h.get("bob")
		check(h, "calls before Retry-After", []string{"ann", "bob"}, h.issuer.take())
		h.elapse(1)
		h.get("ann")
		check(h, "calls after Retry-After", []string{"ann"}, h.issuer.take())
	})
}

func TestSuccessInFlightDoesNotEndRetryAfter(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(2 * time.Second)
		h.background(func() { check(h, "status of a slow call", 200, h.get("slow").Status) })
		h.issuer.slow(time.Second)
		h.issuer.fail(&searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute})
		h.background(func() { h.get("limited") })
		h.issuer.fail(nil)
		h.wait()
		h.get("other")
		check(h, "calls before Retry-After", []string{"slow", "limited"}, h.issuer.take())
		h.elapse(time.Minute)
		check(h, "status after Retry-After", 200, h.get("other").Status)
	})
}

func TestOneProbeAtATime(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 429})
		h.get("ann")
		h.issuer.slow(5 * time.Second)
		h.elapse(2 * time.Second)
		h.issuer.take()
		h.background(func() { h.get("bob") })
		check(h, "a request during the probe", answer{503, "Service Unavailable\n", "1"}, h.get("carol"))
		h.wait()
		check(h, "calls", []string{"bob"}, h.issuer.take())
	})
}

// TestRecovery has ann fail for so long that the delay of her key is a minute.
func TestRecovery(t *testing.T) {
	fail := func(h *harness, err error) {
		h.issuer.fail(err)
		for range 100 {
			for _, user := range []string{"ann", "cat", "dan"} { // failures of one user are not the upstream's
				h.get(user)
			}
			h.elapse(time.Second)
		}
		h.issuer.take()
	}
	recovery := func(h *harness) {
		h.issuer.fail(nil)
		for h.get("bob").Status != 200 {
			h.elapse(100 * time.Millisecond)
		}
	}
	t.Run("ends the delays of all keys", func(t *testing.T) {
		bubble(t, func(h *harness) {
			fail(h, errUnreachable)
			recovery(h)
			check(h, "status of ann", 200, h.get("ann").Status)
		})
	})
	t.Run("starts again with the first delay", func(t *testing.T) {
		bubble(t, func(h *harness) {
			fail(h, errUnreachable)
			recovery(h)
			h.issuer.fail(errUnreachable)
			if got := h.get("ann"); got.RetryAfter != "1" && got.RetryAfter != "2" {
				h.Errorf("%+v, want Retry-After 1 or 2", got)
			}
		})
	})
	t.Run("does not end a refusal", func(t *testing.T) {
		bubble(t, func(h *harness) {
			fail(h, &searchtoken.APIError{StatusCode: 403})
			for len(h.issuer.take()) == 0 { // until she has just been refused again
				h.elapse(100 * time.Millisecond)
				h.get("ann")
			}
			h.issuer.fail(&searchtoken.APIError{StatusCode: 429})
			h.get("bob")
			h.elapse(2 * time.Second)
			recovery(h)
			check(h, "status of ann", 502, h.get("ann").Status)
			check(h, "calls", []string{"bob", "bob"}, h.issuer.take())
		})
	})
}

func TestForgetEndsTheUsersRefusal(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 403})
		h.get("ann")
		h.get("bob")
		h.issuer.fail(nil)
		h.forget("ann")
		var got []int
		for _, user := range []string{"ann", "bob"} {
			got = append(got, h.get(user).Status)
		}
		check(h, "statuses of ann, who was forgotten, and bob", []int{200, 502}, got)
	})
}

// TestRefusalFromBeforeForgetCountsForNothing has ann forgotten while her call
// is in flight: her rights may have changed.
func TestRefusalFromBeforeForgetCountsForNothing(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(2 * time.Second)
		h.issuer.fail(&searchtoken.APIError{StatusCode: 403})
		h.background(func() { h.get("ann") })
		h.elapse(time.Second)
		h.forget("ann")
		h.issuer.fail(nil)
		h.wait()
		check(h, "status", 200, h.get("ann").Status)
	})
}

// TestIssuerMayChangeItsParams has an Issuer that writes to everything it gets.
func TestIssuerMayChangeItsParams(t *testing.T) {
	bubble(t, func(h *harness) {
		var got []string
		h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			got = append(got, p.UserIDs[0].Name+" "+p.UserGroups[0]+" "+p.AllowedDictionaryFieldKeys["f"][0])
			token := tokenFor(n, p)
			p.UserIDs[0].Name, p.UserGroups[0], p.AllowedDictionaryFieldKeys["f"][0] = "spoilt", "spoilt", "spoilt"
			return token, nil
		}
		ann := searchtoken.Email("ann")
		ann.Groups = []string{"staff"}
		h.configure(searchtoken.Config{
			Identify: func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
			Route: searchtoken.Route{
				Params: searchtoken.TokenParams{AllowedDictionaryFieldKeys: map[string][]string{"f": {"*"}}},
			},
		})
		for range 2 {
			h.get("")
			if err := h.middleware.Forget(h.Context(), ann); err != nil {
				h.Error(err)
			}
		}
		check(h, "parameters", []string{"ann staff *", "ann staff *"}, got)
	})
}

// TestPanicsCostTheirRequestsAlone has the application's parts panic: on the
// goroutines of requests, where net/http recovers, and on those of fetches. A
// single slot shows that a fetch that panics frees it.
func TestPanicsCostTheirRequestsAlone(t *testing.T) {
	type config = searchtoken.Config
	inRequest, inFetches := []string{"ann", "bob"}, []string{"ann", "ann", "bob"}
	for _, tt := range []struct {
		name      string
		configure func(h *harness, boom func()) config
		users     []string
		want      int
	}{
		{"Identify", func(_ *harness, boom func()) config {
			return config{Identify: func(r *http.Request) (searchtoken.Identity, error) {
				boom()
				return byHeader(r)
			}}
		}, inRequest, 500},
		{"Prepare", func(_ *harness, boom func()) config {
			return config{Route: searchtoken.Route{Prepare: func(*http.Request, *searchtoken.TokenParams) error {
				boom()
				return nil
			}}}
		}, inRequest, 500},
		{"ErrorHandler", func(_ *harness, boom func()) config {
			return config{Route: searchtoken.Route{ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
				boom()
			}}}
		}, []string{"", ""}, 500},
		{"Issuer", func(h *harness, boom func()) config {
			h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
				boom()
				return tokenFor(n, p), nil
			}
			return config{}
		}, inFetches, 503},
		{"Get of Cache", func(h *harness, boom func()) config {
			h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				boom()
				return h.memory.Get(ctx, key)
			}
			return config{Cache: h.cache}
		}, inFetches, 500},
		{"Get of Cache, in the fetch", func(h *harness, boom func()) config {
			h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
				if inFetch(ctx) {
					boom()
				}
				return h.memory.Get(ctx, key)
			}
			return config{Cache: h.cache}
		}, inFetches, 503},
		{"Set of Cache", func(h *harness, boom func()) config {
			h.cache.set = func(
				ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64,
			) (bool, error) {
				boom()
				return h.memory.Set(ctx, key, t, epoch)
			}
			return config{Cache: h.cache}
		}, inFetches, 503},
		{"Observe", func(_ *harness, boom func()) config {
			return config{Observe: func(_ context.Context, e searchtoken.Event) {
				if e.Kind == searchtoken.EventMiss {
					boom()
				}
			}}
		}, inRequest, 500},
		{"Observe, in the fetch", func(h *harness, boom func()) config {
			h.issuer.slow(time.Second) // so that all requests wait for fetches
			return config{Observe: func(_ context.Context, e searchtoken.Event) {
				if e.Kind == searchtoken.EventFetch {
					boom()
				}
			}}
		}, inFetches, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				broken := true
				cfg := tt.configure(h, func() {
					time.Sleep(time.Second)
					if broken {
						panic("boom")
					}
				})
				cfg.MaxInFlight = 1
				h.configure(cfg)
				h.together(len(tt.users), func(i int) {
					if got := h.getOrPanic(tt.users[i]); got != tt.want {
						h.Errorf("status %d, want %d", got, tt.want)
					}
				})
				broken = false
				h.elapse(time.Minute)
				for _, user := range []string{"ann", "bob"} {
					check(h, "status afterwards", 200, h.getOrPanic(user))
				}
			})
		})
	}
}

// getOrPanic returns the status of the answer to user, as net/http serves it:
// 500 if the request's goroutine panics.
func (h *harness) getOrPanic(user string) (status int) {
	defer func() {
		if recover() != nil {
			status = 500
		}
	}()
	return h.get(user).Status
}

// TestForgetBetweenTwoLooksCostsNoPage has ann forgotten after her request
// looked into the Cache, and before its fetch does. A later request does not
// join that fetch, unless the Cache failed to forget and so shows no other
// epoch.
func TestForgetBetweenTwoLooksCostsNoPage(t *testing.T) {
	for _, tt := range []struct {
		name      string
		elsewhere bool  // another instance forgets ann
		err       error // of the Cache's Forget
		want      []string
	}{
		{"here", false, nil, []string{"ann 1", "ann 2"}},
		{"here, and the Cache fails to forget", false, errDown, []string{"ann 1", "ann 1"}},
		{"on another instance", true, nil, []string{"ann 1", "ann 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(2 * time.Second)
				h.cache.slowGet(time.Second)
				if tt.err != nil {
					h.cache.fail(tt.err, "Forget")
				}
				h.configure(searchtoken.Config{Cache: h.cache})
				forgetting := h
				if tt.elsewhere {
					forgetting = h.instance()
				}
				got := make([]string, 2)
				h.background(func() { got[0] = h.get("ann").Body })
				h.elapse(500 * time.Millisecond)
				if err := forgetting.middleware.Forget(h.Context(), searchtoken.Email("ann")); !errors.Is(err, tt.err) {
					h.Errorf("Forget() = %v, want %v", err, tt.err)
				}
				h.background(func() { got[1] = h.get("ann").Body })
				h.wait()
				check(h, "tokens, all requested after the Forget", tt.want, got)
			})
		})
	}
}

// TestAFetchUsesWhatItFinds has a request miss a token that its fetch finds:
// another instance has stored it meanwhile.
func TestAFetchUsesWhatItFinds(t *testing.T) {
	for _, tt := range []struct {
		name string
		age  time.Duration // of the token
		want string
	}{
		{"a fresh token", time.Hour, "ann 1"},
		{"a stale token", 23 * time.Hour, "ann 1"},
		{"an expired token", 24 * time.Hour, "ann 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.instance().get("ann")
				h.elapse(tt.age)
				h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
					token, epoch, err := h.memory.Get(ctx, key)
					if !inFetch(ctx) {
						token = searchtoken.Token{} // from before it was stored
					}
					return token, epoch, err
				}
				h.configure(searchtoken.Config{Cache: h.cache})
				check(h, "answer", answer{200, tt.want, ""}, h.get("ann"))
			})
		})
	}
}

// TestASlowCacheCostsNoPage has the Cache fail in requests, and take long in
// fetches.
func TestASlowCacheCostsNoPage(t *testing.T) {
	for _, tt := range []struct {
		name   string
		get    time.Duration // how long Get takes in a fetch
		issuer time.Duration
		waited time.Duration
	}{
		{"Get hangs", time.Hour, 0, 2500 * time.Millisecond},
		{"the Issuer takes half of the time that a fetch has", time.Hour, 5 * time.Second, 7500 * time.Millisecond},
		{"Get is in time", 2 * time.Second, 5 * time.Second, 7 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(tt.issuer)
				h.cache.fail(errDown, "Set")
				h.cache.get = func(ctx context.Context, _ searchtoken.Key) (searchtoken.Token, uint64, error) {
					if inFetch(ctx) {
						_ = pause(ctx, tt.get)
					}
					return searchtoken.Token{}, 0, errDown
				}
				h.configure(searchtoken.Config{Cache: h.cache})
				for i := range 4 { // the Cache's failures are not Coveo's
					began := time.Now()
					check(h, "answer", answer{200, fmt.Sprintf("user%d %d", i, i+1), ""}, h.get(fmt.Sprint("user", i)))
					check(h, "wait", tt.waited, time.Since(began))
				}
			})
		})
	}
}

// TestAFetchAsksTheBreakerAfterItsLook has Coveo ask for fewer calls while a
// fetch looks into the Cache.
func TestAFetchAsksTheBreakerAfterItsLook(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(&searchtoken.APIError{StatusCode: 429, RetryAfter: time.Minute})
		var looks atomic.Int64
		h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			if inFetch(ctx) && looks.Add(1) == 1 {
				time.Sleep(time.Second)
			}
			return h.memory.Get(ctx, key)
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		h.background(func() {
			check(h, "ann", answer{503, "Service Unavailable\n", "59"}, h.get("ann"))
		})
		check(h, "bob", answer{503, "Service Unavailable\n", "60"}, h.get("bob"))
		h.wait()
		check(h, "calls", []string{"bob"}, h.issuer.take())
	})
}

// TestARenewalThatGetsTheRejectedTokenChangesNothing has an Issuer that returns
// the same token each time, as if it were issued at that moment.
func TestARenewalThatGetsTheRejectedTokenChangesNothing(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{Value: "only"}, nil
		}
		before, _ := pageOf(h.middleware, request("ann"))
		h.elapse(time.Hour)
		check(h, "renewal", answer{503, "Service Unavailable\n", "1"}, h.renew("ann", "only"))
		check(h, "calls", 2, h.issuer.count())
		after, _ := pageOf(h.middleware, request("ann"))
		check(h, "token", before.Token, after.Token)
	})
}

func TestRenewingAnExpiredTokenForcesNothing(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
			token := tokenFor(n, p)
			token.Expiry = token.Issued.Add(4 * time.Second) // expired after 2
			return token, nil
		}
		h.get("ann")
		for n := range 10 { // more than a user may force
			h.elapse(3 * time.Second)
			check(h, "renewal", answer{200, fmt.Sprint("ann ", n+2), ""}, h.renew("ann", fmt.Sprint("ann ", n+1)))
		}
		check(h, "events", append([]string{"fetch", "miss"}, slices.Repeat([]string{"fetch"}, 10)...), h.events.take())
	})
}

// TestAnIssuerMayWriteToItsParameters has an Issuer change the user's name:
// before it returns an error with the name, or after nobody waits for it any
// more. The race detector sees if anybody else reads what it writes.
func TestAnIssuerMayWriteToItsParameters(t *testing.T) {
	for _, tt := range []struct {
		name  string
		hangs bool
		want  timed
	}{
		{"before it returns", false, timed{503, "", 0}},
		{"after its time is over", true, timed{503, "", 10 * time.Second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(
					ctx context.Context, _ int, p searchtoken.TokenParams,
				) (searchtoken.Token, error) {
					name := p.UserIDs[0].Name
					if tt.hangs {
						<-ctx.Done()
					}
					p.UserIDs[0].Name = strings.ToLower(name)
					return searchtoken.Token{}, fmt.Errorf("no token for %s", name)
				}
				for i := range 20 {
					check(h, "answer", tt.want, h.visit(fmt.Sprint("Zoe Quill ", i), time.Minute))
					lines := h.log.take()
					if len(lines) == 0 || strings.Contains(strings.Join(lines, "\n"), "Zoe Quill") {
						h.Errorf("log %q, want lines without the name", lines)
					}
					h.elapse(2 * time.Minute)
				}
			})
		})
	}
}

// TestFailedRefreshesEndWithFastErrors has refreshes fail until the token
// expires. After that, requests get the error at once, and do not call Coveo
// each.
func TestFailedRefreshesEndWithFastErrors(t *testing.T) {
	bubble(t, func(h *harness) {
		h.get("ann")
		h.elapse(23 * time.Hour)
		h.issuer.fail(&searchtoken.APIError{StatusCode: http.StatusForbidden})
		for range 57 {
			check(h, "answer before the expiry", timed{200, "ann 1", 0}, h.visit("ann", time.Minute))
			h.elapse(time.Minute)
		}
		h.elapse(time.Minute)
		h.issuer.take()
		for range 100 {
			check(h, "answer after the expiry", timed{502, "", 0}, h.visit("ann", time.Minute))
		}
		if calls := h.issuer.take(); len(calls) > 1 {
			h.Errorf("%d calls for 100 requests", len(calls))
		}
	})
}

// TestTheNextProbeFollowsAnyEndOfAProbe has the first probe end without an
// answer.
func TestTheNextProbeFollowsAnyEndOfAProbe(t *testing.T) {
	for _, tt := range []struct {
		name   string
		issuer func() error // of the first probe
		set    func()       // the Cache, of the first probe
	}{
		{name: "a failure", issuer: func() error { return errDown }},
		{name: "a panic of the Issuer", issuer: func() error { panic("boom") }},
		{name: "a panic of the Cache", issuer: func() error { return nil }, set: func() { panic("boom") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(
					ctx context.Context, n int, p searchtoken.TokenParams,
				) (searchtoken.Token, error) {
					switch n {
					case 1:
						return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 429}
					case 2:
						time.Sleep(3 * time.Second)
						if err := tt.issuer(); err != nil {
							return searchtoken.Token{}, err
						}
					}
					return tokenFor(n, p), nil
				}
				h.cache.set = func(
					ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64,
				) (bool, error) {
					if tt.set != nil && h.issuer.count() == 2 {
						tt.set()
					}
					return h.memory.Set(ctx, key, t, epoch)
				}
				h.configure(searchtoken.Config{Cache: h.cache})
				h.get("ann")
				h.elapse(2 * time.Second)
				h.background(func() { check(h, "probe", timed{503, "", 3 * time.Second}, h.visit("bob", time.Minute)) })
				check(h, "while the probe is in flight", answer{503, "Service Unavailable\n", "1"}, h.get("cat"))
				h.wait()
				h.elapse(5 * time.Second)
				check(h, "the next call", answer{200, "cat 3", ""}, h.get("cat"))
				check(h, "after that", answer{200, "ann 4", ""}, h.get("ann"))
			})
		})
	}
}

// fleet is a Cache that the processes of a site share. It implements Claimer
// and RenewalLimiter as one store for all of them does.
type fleet struct {
	searchtoken.Cache
	claim func(context.Context, searchtoken.Key) (func(), error) // replaces Claim; may be nil
	allow func() (time.Duration, error)                          // replaces AllowRenewal; may be nil
	dead  time.Duration                                          // a process died and left a claim for this time

	mu      sync.Mutex                    // guards dead and the fields below
	claims  map[searchtoken.Key]time.Time // until when; zero: until it is released
	changed chan struct{}                 // closed when a claim is released
	limits  map[searchtoken.UserKey]*rate.Limiter
}

func newFleet() *fleet {
	return &fleet{
		Cache: searchtoken.NewMemoryCache(0), claims: map[searchtoken.Key]time.Time{}, changed: make(chan struct{}),
		limits: map[searchtoken.UserKey]*rate.Limiter{},
	}
}

// Claim implements searchtoken.Claimer.
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
		return func() { f.release(key) }, nil
	}
	changed := f.changed
	f.mu.Unlock()
	ended := make(<-chan time.Time)
	if !until.IsZero() {
		ended = time.After(time.Until(until))
	}
	select {
	case <-changed:
	case <-ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

// release releases the claim of key.
func (f *fleet) release(key searchtoken.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.claims, key)
	close(f.changed)
	f.changed = make(chan struct{})
}

// AllowRenewal implements searchtoken.RenewalLimiter.
func (f *fleet) AllowRenewal(
	_ context.Context, user searchtoken.UserKey, interval time.Duration, burst int,
) (time.Duration, error) {
	if f.allow != nil {
		return f.allow()
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

// instances returns n processes of the same site that share f.
func (f *fleet) instances(h *harness, n int) []*harness {
	h.Helper()
	list := make([]*harness, n)
	for i := range list {
		list[i] = h.instance()
		list[i].configure(searchtoken.Config{Cache: f})
	}
	return list
}

// cacheErrors returns how many failures of the Cache were reported since the
// last take.
func cacheErrors(h *harness) (n int) {
	for _, event := range h.events.takeAll() {
		if event.Kind == searchtoken.EventCacheError {
			n++
		}
	}
	return n
}

// TestOneInstanceFetchesForAll has five instances need a token at once. Where
// one answer serves all, one of them calls Coveo.
func TestOneInstanceFetchesForAll(t *testing.T) {
	page := func(h *harness) int { return h.get("ann").Status }
	ago := func(d time.Duration) func(*fleet, *harness) {
		return func(_ *fleet, h *harness) {
			h.get("ann")
			h.elapse(d)
		}
	}
	for _, tt := range []struct {
		name    string
		before  func(f *fleet, h *harness)
		err     error // of the first call
		request func(h *harness) int
		calls   int
		want    map[int]int // how many instances answer with each status
		took    time.Duration
	}{
		{name: "a page", request: page, calls: 1, want: map[int]int{200: 5}, took: time.Second},
		{name: "a stale token", before: ago(23 * time.Hour), request: page, calls: 2, want: map[int]int{200: 5}},
		{
			name: "an expired token", before: ago(25 * time.Hour), request: page,
			calls: 2, want: map[int]int{200: 5}, took: time.Second,
		},
		{
			name: "a rejected token", before: ago(time.Hour),
			request: func(h *harness) int { return h.renew("ann", h.get("ann").Body).Status },
			calls:   2, want: map[int]int{200: 5}, took: time.Second,
		},
		{
			name: "the first call fails", err: &searchtoken.APIError{StatusCode: 503}, request: page,
			calls: 2, want: map[int]int{200: 4, 503: 1}, took: 2 * time.Second,
		},
		{
			name: "the process with the claim died", before: func(f *fleet, _ *harness) { f.dead = 3 * time.Second },
			request: page, calls: 1, want: map[int]int{200: 5}, took: 4 * time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(
					ctx context.Context, n int, p searchtoken.TokenParams,
				) (searchtoken.Token, error) {
					token, err := slowly(time.Second)(ctx, n, p)
					if n == 1 && tt.err != nil {
						return searchtoken.Token{}, tt.err
					}
					return token, err
				}
				f := newFleet()
				site := f.instances(h, 5)
				if tt.before != nil {
					tt.before(f, site[0])
				}
				began := time.Now()
				statuses := make([]int, len(site))
				h.together(len(site), func(i int) { statuses[i] = tt.request(site[i]) })
				check(h, "time", tt.took, time.Since(began))
				got := map[int]int{}
				for _, status := range statuses {
					got[status]++
				}
				check(h, "statuses", tt.want, got)
				h.elapse(20 * time.Second) // for the refreshes
				check(h, "calls", tt.calls, h.issuer.count())
				check(h, "claims that were not released", 0, len(f.claims))
			})
		})
	}
}

// TestAFetchWaitsForAnotherProcess has another process hold the claim, or the
// Claimer fail.
func TestAFetchWaitsForAnotherProcess(t *testing.T) {
	taken := func(ctx context.Context, _ searchtoken.Key) (func(), error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fails := func(context.Context, searchtoken.Key) (func(), error) { return nil, errDown }
	panics := func(context.Context, searchtoken.Key) (func(), error) { panic("down") }
	never := func(context.Context, searchtoken.Key) (func(), error) { time.Sleep(3 * time.Second); return nil, nil }
	for _, tt := range []struct {
		name     string
		claim    func(ctx context.Context, key searchtoken.Key) (func(), error)
		patience time.Duration
		want     timed
		errors   int // of the Cache, as reported
	}{
		{"no longer than the request", taken, 2 * time.Second, timed{503, "", 2 * time.Second}, 0},
		{"no longer than a fetch", taken, time.Minute, timed{200, "ann 1", 11 * time.Second}, 0},
		{"a Claim that fails is ignored", fails, time.Minute, timed{200, "ann 1", time.Second}, 1},
		{"a Claim that panics ends the fetch", panics, time.Minute, timed{503, "", 0}, 0},
		{"a Claim that is never granted", never, time.Minute, timed{200, "ann 1", 13 * time.Second}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(time.Second)
				f := newFleet()
				f.claim = tt.claim
				h.configure(searchtoken.Config{Cache: f})
				check(h, "answer", tt.want, h.visit("ann", tt.patience))
				check(h, "reported failures of the Cache", tt.errors, cacheErrors(h))
				h.elapse(time.Minute) // for a fetch that nobody waits for
			})
		})
	}
}

// TestForgetDiscardsTheFetchOfAnotherInstance has a second instance wait for
// the fetch of the first, while a third one forgets the user. The second one
// makes a call then.
func TestForgetDiscardsTheFetchOfAnotherInstance(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(2 * time.Second)
		site := newFleet().instances(h, 3)
		for i, instance := range site[:2] {
			h.background(func() { check(h, "token", fmt.Sprint("ann ", i+1), instance.get("ann").Body) })
		}
		h.elapse(time.Second)
		site[2].forget("ann")
		h.wait()
		for _, instance := range site {
			check(h, "a later token", "ann 2", instance.get("ann").Body)
		}
		check(h, "calls", 2, h.issuer.count())
	})
}

// TestShutdownCancelsAFetchThatWaitsForAnotherProcess has nobody wait for it.
func TestShutdownCancelsAFetchThatWaitsForAnotherProcess(t *testing.T) {
	bubble(t, func(h *harness) {
		f := newFleet()
		f.claim = func(ctx context.Context, _ searchtoken.Key) (func(), error) { <-ctx.Done(); return nil, ctx.Err() }
		h.configure(searchtoken.Config{Cache: f})
		h.visit("ann", time.Second)
		began := time.Now()
		if err := h.middleware.Shutdown(context.Background()); err != nil {
			h.Errorf("Shutdown() = %v", err)
		}
		check(h, "time of Shutdown", 0, time.Since(began))
		check(h, "calls", 0, h.issuer.count())
	})
}

// TestAllInstancesTogetherLimitRenewals has ann's pages report at every
// instance again and again that her token was rejected.
func TestAllInstancesTogetherLimitRenewals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		allow  func() (time.Duration, error)
		want   map[int]int
		errors int // of the Cache, as reported
	}{
		{"three in all", nil, map[int]int{200: 3, 429: 17}, 0},
		{
			"three in each, if the limiter fails", func() (time.Duration, error) { return 0, errDown },
			map[int]int{200: 12, 429: 8}, 12,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				f := newFleet()
				f.allow = tt.allow
				site := f.instances(h, 4)
				got := map[int]int{}
				for range 5 {
					for _, instance := range site {
						got[instance.renew("ann", instance.get("ann").Body).Status]++
					}
				}
				check(h, "statuses", tt.want, got)
				failures := 0
				for _, instance := range site {
					failures += cacheErrors(instance)
				}
				check(h, "reported failures of the Cache", tt.errors, failures)
				h.elapse(20 * time.Second)
				check(h, "a renewal 20 s later", 200, site[0].renew("ann", site[0].get("ann").Body).Status)
			})
		})
	}
}

// TestALimitedRenewalFailsNoPage has a page join the fetch of a renewal, which
// ends because the user forced too many at other instances.
func TestALimitedRenewalFailsNoPage(t *testing.T) {
	bubble(t, func(h *harness) {
		f := newFleet()
		h.configure(searchtoken.Config{Cache: f})
		long, err := h.middleware.With(func(r *searchtoken.Route) { r.MinRemaining = 12 * time.Hour })
		if err != nil {
			h.Fatal(err)
		}
		h.get("ann")
		h.elapse(13 * time.Hour) // expired for long, not for h
		f.allow = func() (time.Duration, error) { return time.Minute, nil }
		f.claim = func(context.Context, searchtoken.Key) (func(), error) {
			time.Sleep(time.Second)
			return func() {}, nil
		}
		h.background(func() {
			check(h, "renewal", answer{429, "Too Many Requests\n", "60"}, h.renew("ann", "ann 1"))
		})
		check(h, "page", answer{200, "ann 2", ""}, h.named(seen(get(long, request("ann")))))
	})
}
