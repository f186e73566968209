package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestRenewal lets the token expire while the page is open. The query is repeated
// with another token, and the visitor sees nothing but the results, however many
// requests are refused at once or one after the other.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		for name, atOnce := range map[string]bool{"one by one": false, "at once": true} {
			if atOnce && f.name == searchtoken.Headless {
				continue // its page asks for one thing at a time
			}
			t.Run(string(f.name)+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, nil)
				b := w.visit(t, f.path)

				w.platform.RejectAll()
				w.platform.ResetRequests()
				if atOnce {
					w.change(func() { w.wrap = w.renewAfterRefusals })
					b.searchByKeys("office")
				} else {
					b.search("office")
				}
				if f.name == searchtoken.Atomic && atOnce {
					// Atomic 3.41 takes five refusals at once for a loop, and may fail
					// the query with it. It renews ahead of an expiry: only a token
					// that is void earlier comes to this.
					w.await(t, "a token", func() bool { return w.platform.Count(searchtokentest.KindToken) > 0 })
					b.search("office")
				}
				waitFor(b, titles(alice, "office"), "e2e.titles()")
				b.screenshot("renewed, " + string(f.name))
				refused := 0
				for _, r := range w.platform.Requests(searchtokentest.KindSuggest, searchtokentest.KindSearch) {
					if r.Status == 419 {
						refused++
					}
				}
				if refused < 1 || atOnce && refused < 3 {
					t.Errorf("%d requests were refused", refused)
				}
				if got := w.renewals.Load(); got != 1 {
					t.Errorf("%d requests to the renewal route, want 1", got)
				}
				if got := w.platform.Count(searchtokentest.KindToken); got != 1 {
					t.Errorf("%d tokens, want 1", got)
				}
				if problem := eval[string](b, "e2e.problem()"); problem != "" {
					t.Errorf("the visitor sees: %s", problem)
				}
				w.await(t, "an event with the other token", func() bool {
					events := w.platform.Requests(searchtokentest.KindAnalytics)
					return len(events) > 0 && events[len(events)-1].Status == 200
				})
			})
		}
	}
}

// renewAfterRefusals holds renewals back until the platform has answered whatever
// the page has asked, its search included, with the token that is void.
func (w *world) renewAfterRefusals(site http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for r.URL.Path == "/coveo/token" && r.Context().Err() == nil {
			open := func(r searchtokentest.Request) bool { return r.Status == 0 }
			queries := w.platform.Requests(searchtokentest.KindSuggest, searchtokentest.KindSearch)
			if w.platform.Count(searchtokentest.KindSearch) > 0 && !slices.ContainsFunc(queries, open) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		site.ServeHTTP(rw, r)
	})
}

// TestLateRefusals has suggestions refused long after the search was renewed. JSUI
// asks for them again with the token that it has by then.
func TestLateRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.visit(t, "/jsui")
	w.platform.RejectAll()
	w.platform.ResetRequests()
	w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSuggest, Delay: 3 * time.Second})
	b.searchByKeys("office")
	waitFor(b, titles(alice, "office"), "e2e.titles()")
	w.platform.ClearFaults()
	w.await(t, "the suggestions", func() bool {
		suggestions := w.platform.Requests(searchtokentest.KindSuggest)
		refused := func(r searchtokentest.Request) bool { return r.Status == 419 }
		given := func(r searchtokentest.Request) bool { return r.Status == 200 }
		return slices.ContainsFunc(suggestions, refused) && slices.ContainsFunc(suggestions, given)
	})
	if got := w.renewals.Load(); got != 1 {
		t.Errorf("%d requests to the renewal route, want 1", got)
	}
}

// TestParallelRenewals calls what the libraries call.
func TestParallelRenewals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.visit(t, "/headless")
	w.platform.RejectAll()
	const renewals = `Promise.all(Array.from({length: 20}, () => coveoEngineConfiguration.renewAccessToken())).then((tokens) => new Set(tokens).size)`
	if got := eval[int](b, renewals); got != 1 {
		t.Errorf("%d tokens, want 1", got)
	}
	if got := w.renewals.Load(); got != 1 {
		t.Errorf("%d requests to the renewal route, want 1", got)
	}
}

// TestRenewalFails searches for half a minute with a token that the platform
// refuses, and gets no better one. The libraries by themselves would go on with
// hundreds of requests.
func TestRenewalFails(t *testing.T) {
	t.Parallel()
	const (
		duration    = 30 * time.Second
		maxRenewals = 8
		maxQueries  = 40
		maxRequests = 160 // of the platform: suggestions, events, tokens and preflights, too
	)
	nobody, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		APIKey:         searchtokentest.DefaultAPIKey,
		Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	failures := []struct {
		name  string
		begin func(*world)
		says  string // on the console, after "searchtoken: the search token "
	}{
		{"the session has ended", func(w *world) { w.renew = nobody.RenewHandler() }, "was not renewed at /coveo/token Error: HTTP status 401"},
		{"Coveo is down", func(w *world) {
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: http.StatusServiceUnavailable})
		}, "was not renewed at /coveo/token Error: HTTP status 503"},
		{"the route hangs", func(w *world) {
			w.renew = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, "was not renewed at /coveo/token TimeoutError"},
		{"tokens are void", func(w *world) { w.platform.RejectNew() }, "that was renewed at /coveo/token seems to be rejected as well"},
		{"the session has ended, and queries are slow", func(w *world) {
			w.renew = nobody.RenewHandler()
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSearch, Delay: 600 * time.Millisecond})
		}, "was not renewed at /coveo/token Error: HTTP status 401"},
		{"tokens are void, and queries are slow", func(w *world) {
			w.platform.RejectNew()
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSearch, Delay: 600 * time.Millisecond})
		}, "that was renewed at /coveo/token seems to be rejected as well"},
		{"tokens are void and slow", func(w *world) {
			w.platform.RejectNew()
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: 700 * time.Millisecond})
		}, "that was renewed at /coveo/token seems to be rejected as well"},
	}
	for _, path := range []string{"/jsui", "/atomic", "/headless"} {
		for _, failure := range failures {
			t.Run(path[1:]+", "+failure.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, nil)
				b := w.visit(t, path)

				w.platform.RejectAll()
				w.platform.ResetRequests()
				w.change(func() { failure.begin(w) })
				for _, word := range []string{"office", "review", "printer"} {
					b.search(word)
					b.do(chromedp.Sleep(duration / 3))
				}
				b.screenshot(strings.ReplaceAll(failure.name, " ", "-") + " " + path[1:])
				renewals, queries, requests := w.renewals.Load(), w.platform.Count(searchtokentest.KindSearch), w.platform.Count()
				t.Logf("%d requests to the renewal route, %d queries, %d requests of the platform", renewals, queries, requests)
				if renewals < 1 || renewals > maxRenewals || queries > maxQueries || requests > maxRequests {
					t.Errorf("%d requests to the renewal route, %d queries and %d requests of the platform in %v, want 1 to %d, at most %d and at most %d",
						renewals, queries, requests, duration, maxRenewals, maxQueries, maxRequests)
				}
				const prefix = "error: searchtoken: the search token "
				if said := b.said(prefix + failure.says); len(said) == 0 {
					t.Errorf("the console says %q, want %q", b.said(prefix), failure.says)
				}
			})
		}
	}
}
