package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

func TestFailingCacheCostsNoPage(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail []string
		want map[string]int // events
	}{
		{"Get", []string{"Get"}, map[string]int{"cache_error 500": 5, "fetch": 1, "miss": 2, "hit": 2}},
		{"Set", []string{"Set"}, map[string]int{"cache_error 500": 1, "fetch": 1, "miss": 2, "hit": 2}},
		{"both", []string{"Get", "Set"}, map[string]int{"cache_error 500": 5, "fetch": 1, "miss": 2, "hit": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(time.Second)
				h.cache.fail(errDown, tt.fail...)
				h.configure(searchtoken.Config{Cache: h.cache})
				for range 2 { // two requests share a fetch, and two its token
					h.together(2, func(int) { check(h, "token", "ann 1", h.get("ann").Body) })
				}
				got := map[string]int{}
				for _, event := range h.events.take() {
					got[event]++
				}
				check(h, "events", tt.want, got)
			})
		})
	}
}

func TestTokenThatWasNotStoredIsServedForAMinute(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.fail(errDown, "Get", "Set")
		h.configure(searchtoken.Config{Cache: h.cache})
		var got []string
		for _, after := range []time.Duration{0, time.Minute - 1, 1} {
			h.elapse(after)
			got = append(got, h.get("ann").Body)
		}
		check(h, "tokens", []string{"ann 1", "ann 1", "ann 2"}, got)
		check(h, "another user's token", "bob 3", h.get("bob").Body)
	})
}

func TestForgetRemovesATokenThatWasNotStored(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail []string
	}{
		{"Set fails", []string{"Set"}},
		{"Get and Set fail", []string{"Get", "Set"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.cache.fail(errDown, tt.fail...)
				h.configure(searchtoken.Config{Cache: h.cache})
				check(h, "token before Forget", "ann 1", h.get("ann").Body)
				h.forget("ann")
				check(h, "token after Forget", "ann 2", h.get("ann").Body)
			})
		})
	}
}

// TestForgetOnAnotherInstanceRemovesATokenThatWasNotStored has Set fail, so
// that only Get can say that ann was forgotten.
func TestForgetOnAnotherInstanceRemovesATokenThatWasNotStored(t *testing.T) {
	bubble(t, func(h *harness) {
		there := h.instance()
		h.cache.fail(errDown, "Set")
		h.configure(searchtoken.Config{Cache: h.cache})
		check(h, "token before Forget", "ann 1", h.get("ann").Body)
		there.forget("ann")
		check(h, "token after Forget", "ann 2", h.get("ann").Body)
	})
}

func TestCacheThatRecoversReplacesTheFallback(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.fail(errDown, "Get", "Set")
		h.configure(searchtoken.Config{Cache: h.cache})
		fallback := h.get("ann").Body
		h.cache.get, h.cache.set = nil, nil
		stored := h.get("ann").Body
		h.cache.fail(errDown, "Get")
		h.elapse(time.Second)
		check(h, "tokens", []string{"ann 1", "ann 2"}, []string{fallback, stored})
		check(h, "token once Get fails again", "ann 3", h.get("ann").Body)
	})
}

// TestFallbacksAreBounded has Set fail for more users than the table of
// fallbacks may hold.
func TestFallbacksAreBounded(t *testing.T) {
	const most = 4096
	visit := func(h *harness, first, last int) {
		for i := first; i < last; i++ {
			h.get(fmt.Sprint("user", i))
		}
	}
	t.Run("at most 4096", func(t *testing.T) {
		bubble(t, func(h *harness) {
			h.cache.fail(errDown, "Set")
			h.configure(searchtoken.Config{Cache: h.cache})
			visit(h, 0, most+1)
			calls := h.issuer.count()
			visit(h, 0, most)
			// A quarter made room, and each of them makes room for itself
			// again.
			if again := h.issuer.count() - calls; again == 0 || again > most/2 {
				h.Errorf("%d of %d users were fetched again, want about a quarter", again, most)
			}
		})
	})
	t.Run("those that have ended make room first", func(t *testing.T) {
		bubble(t, func(h *harness) {
			h.cache.fail(errDown, "Set")
			h.configure(searchtoken.Config{Cache: h.cache})
			visit(h, 0, most-100)
			h.elapse(time.Minute)
			visit(h, most-100, most+1)
			h.issuer.take()
			visit(h, most-100, most+1)
			check(h, "calls", nil, h.issuer.take())
		})
	})
}

func TestForgetRemovesAllTokensOfAUser(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Route: searchtoken.Route{
			Prepare: func(r *http.Request, p *searchtoken.TokenParams) error {
				p.SearchHub = r.URL.Query().Get("hub")
				p.UserIDs = append(p.UserIDs, searchtoken.UserID{Name: "tenant", Provider: "Tenants"})
				return nil
			},
		}})
		ask := func(user, hub string) string {
			r := httptest.NewRequest("GET", "/?hub="+hub, nil)
			r.Header.Set("User", user)
			return h.serve(r).Body
		}
		round := func() []string { return []string{ask("ann", "a"), ask("ann", "b"), ask("bob", "a")} }
		check(h, "tokens at first", []string{"ann 1", "ann 2", "bob 3"}, round())
		check(h, "tokens from the cache", []string{"ann 1", "ann 2", "bob 3"}, round())
		id := searchtoken.Email("ann")
		id.DisplayName, id.Groups = "another", []string{"name"} // Forget uses only the UserIDs
		if err := h.middleware.Forget(h.Context(), id); err != nil {
			h.Error(err)
		}
		check(h, "tokens after Forget", []string{"ann 4", "ann 5", "bob 3"}, round())
	})
}

// TestForgetOnAnotherInstanceDiscardsAFetch has ann forgotten by one process
// while another process fetches a token for her.
func TestForgetOnAnotherInstanceDiscardsAFetch(t *testing.T) {
	getAnn := func(h *harness, _ string) answer { return h.get("ann") }
	for _, tt := range []struct {
		name  string
		age   time.Duration // of ann's first token; 0: she has none
		fetch func(h *harness, first string) answer
		want  string
		later string // ann's token, afterwards
	}{
		{"fetch", 0, getAnn, "ann 1", "ann 2"},
		{"refresh", 23 * time.Hour, getAnn, "ann 1", "ann 3"},
		{"renewal", time.Hour, func(h *harness, first string) answer { return h.renew("ann", first) }, "ann 2", "ann 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				there := h.instance()
				first := ""
				if tt.age > 0 {
					first = h.get("ann").Body
					h.elapse(tt.age)
				}
				h.issuer.slow(4 * time.Second)
				var got answer
				h.background(func() { got = tt.fetch(h, first) })
				h.elapse(time.Second)
				h.issuer.slow(time.Second)
				there.forget("ann")
				check(h, "there", tt.later, there.get("ann").Body)
				h.wait()
				h.elapse(10 * time.Second)
				check(h, "the request during Forget", tt.want, got.Body)
				check(h, "here", tt.later, h.get("ann").Body)
				check(h, "there, afterwards", tt.later, there.get("ann").Body)
			})
		})
	}
}

// TestForgetDuringSet has another process forget ann after her token was
// stored, and before the fetch has ended.
func TestForgetDuringSet(t *testing.T) {
	bubble(t, func(h *harness) {
		there := h.instance()
		h.cache.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
			kept, err := h.memory.Set(ctx, key, t, epoch)
			time.Sleep(2 * time.Second)
			return kept, err
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		var before string
		h.background(func() { before = h.get("ann").Body })
		h.elapse(time.Second)
		there.forget("ann")
		after := h.get("ann").Body
		h.wait()
		check(h, "tokens of the requests before and after Forget", []string{"ann 1", "ann 2"}, []string{before, after})
	})
}

// TestSlowSetCostsNoPage has a Set that uses up the time of its fetch.
func TestSlowSetCostsNoPage(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.slowSet(time.Hour)
		h.configure(searchtoken.Config{Cache: h.cache})
		check(h, "ann", timed{200, "ann 1", 10 * time.Second}, h.visit("ann", time.Hour))
		check(h, "events", []string{"cache_error 500", "fetch", "miss"}, h.events.take())
	})
}

func TestATokenWithAnErrorIsNotUsed(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.get = func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
			return searchtoken.Token{Value: "half read", Issued: time.Now(), Expiry: time.Now().Add(24 * time.Hour)}, 0, errDown
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		check(h, "answer", answer{200, "ann 1", ""}, h.get("ann"))
	})
}

// TestACacheThatFailsInRequestsIsStillUsedByFetches has the Cache fail whenever
// a request looks into it, but not when a fetch does.
func TestACacheThatFailsInRequestsIsStillUsedByFetches(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
			if !inFetch(ctx) {
				return searchtoken.Token{}, 0, errDown
			}
			return h.memory.Get(ctx, key)
		}
		h.configure(searchtoken.Config{Cache: h.cache})
		h.forget("ann") // an epoch that is not 0
		for range 2 {   // the second fetch finds what the first stored
			check(h, "answer", answer{200, "ann 1", ""}, h.get("ann"))
		}
	})
}

// TestForgetDiscardsAFetchInFlightEvenIfTheCacheFails has the Cache fail to
// forget. Later requests do not get the fetched token, even if it is stored.
func TestForgetDiscardsAFetchInFlightEvenIfTheCacheFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration // the fetch began
	}{
		{"while the Issuer is called", 500 * time.Millisecond},
		{"while the token is stored", 1500 * time.Millisecond},
		{"after the token was stored", 2500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.slow(time.Second)
				h.cache.slowSet(time.Second)
				h.cache.fail(errDown, "Forget")
				h.configure(searchtoken.Config{Cache: h.cache})
				h.background(func() { check(h, "the request from before", "ann 1", h.get("ann").Body) })
				h.elapse(tt.after)
				if err := h.middleware.Forget(h.Context(), searchtoken.Email("ann")); !errors.Is(err, errDown) {
					h.Errorf("Forget() = %v, want %v", err, errDown)
				}
				h.wait()
				for range 2 {
					check(h, "a later request", "ann 2", h.get("ann").Body)
				}
			})
		})
	}
}

// TestNoLaterRequestGetsADiscardedToken has requests come at every moment while
// the fetch from before a failed Forget stores its token, and removes it again.
func TestNoLaterRequestGetsADiscardedToken(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(time.Second)
		h.cache.slowSet(time.Second)
		h.cache.fail(errDown, "Forget")
		h.configure(searchtoken.Config{Cache: h.cache})
		h.background(func() { h.get("ann") })
		h.elapse(500 * time.Millisecond)
		if err := h.middleware.Forget(h.Context(), searchtoken.Email("ann")); !errors.Is(err, errDown) {
			h.Errorf("Forget() = %v, want %v", err, errDown)
		}
		for range 50 {
			h.background(func() {
				if got := h.get("ann"); got.Status != 200 || got.Body == "ann 1" {
					h.Errorf("a request after the Forget got %+v, want another token", got)
				}
			})
			h.elapse(100 * time.Millisecond)
		}
	})
}

func TestAnErrorOfForgetContainsNoName(t *testing.T) {
	bubble(t, func(h *harness) {
		h.cache.fail(errors.New("DEL tokens:ann@example.com: connection refused"), "Forget")
		h.configure(searchtoken.Config{Cache: h.cache})
		err := h.middleware.Forget(h.Context(), searchtoken.Email("ann@example.com"))
		if err == nil || !strings.Contains(err.Error(), "connection refused") {
			h.Errorf("Forget() = %v, want the error of the Cache", err)
		}
		if text := strings.Join(append(h.log.take(), err.Error()), "\n"); strings.Contains(text, "ann@") {
			h.Errorf("the error or the log contains the user's address: %s", text)
		}
	})
}

// TestTokenThatWasNotStoredIsServedWhileReadsSucceed has only Set fail at
// first.
func TestTokenThatWasNotStoredIsServedWhileReadsSucceed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		reads bool // still succeed by then
		want  string
	}{
		{"for a minute", time.Minute - 1, true, "ann 1"},
		{"no longer than a minute", time.Minute, true, "ann 2"},
		{"and when reads fail later", time.Minute - 1, false, "ann 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.cache.fail(errDown, "Set")
				h.configure(searchtoken.Config{Cache: h.cache})
				check(h, "first answer", answer{200, "ann 1", ""}, h.get("ann"))
				if !tt.reads {
					h.cache.fail(errDown, "Get")
				}
				h.elapse(tt.after)
				check(h, "second answer", answer{200, tt.want, ""}, h.get("ann"))
			})
		})
	}
}
