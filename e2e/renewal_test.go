package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestRenewalIsInvisible rejects the token while the page is open. The front
// end renews it once and repeats the query, and the visitor sees only the
// results. The platform refuses one request after the other, or several at
// once.
func TestRenewalIsInvisible(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		for name, atOnce := range map[string]bool{"one by one": false, "at once": true} {
			if atOnce && f.name == searchtoken.Headless {
				continue // the site's Headless page makes one request at a time
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
					// Atomic 3.41 mistakes five refusals at once for a loop,
					// and may fail the query. This can only happen if a token
					// is rejected early: Atomic renews a token before it
					// expires.
					w.await(t, "a token call", func() bool { return w.platform.Count(searchtokentest.KindToken) > 0 })
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
					t.Errorf("got %d refused requests, want at least 1, or 3 at once", refused)
				}
				if got := w.renewals.Load(); got != 1 {
					t.Errorf("got %d requests to the renewal route, want 1", got)
				}
				if got := w.platform.Count(searchtokentest.KindToken); got != 1 {
					t.Errorf("got %d tokens, want 1", got)
				}
				if problem := eval[string](b, "e2e.problem()"); problem != "" {
					t.Errorf("the visitor sees the error %q, want none", problem)
				}
				w.await(t, "an analytics event with the renewed token", func() bool {
					events := w.platform.Requests(searchtokentest.KindAnalytics)
					return len(events) > 0 && events[len(events)-1].Status == 200
				})
			})
		}
	}
}

// renewAfterRefusals delays renewals until the platform has responded to all
// queries and suggestions with the rejected token, at least one query among
// them.
func (w *world) renewAfterRefusals(site http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for r.URL.Path == "/coveo/token" && r.Context().Err() == nil {
			inProgress := func(r searchtokentest.Request) bool { return r.Status == 0 }
			queries := w.platform.Requests(searchtokentest.KindSuggest, searchtokentest.KindSearch)
			if w.platform.Count(searchtokentest.KindSearch) > 0 && !slices.ContainsFunc(queries, inProgress) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		site.ServeHTTP(rw, r)
	})
}

// TestLateRefusalsNeedNoSecondRenewal delays the refusal of suggestions until
// the token has been renewed. JSUI repeats them with the renewed token.
func TestLateRefusalsNeedNoSecondRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.visit(t, "/jsui")
	w.platform.RejectAll()
	w.platform.ResetRequests()
	w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSuggest, Delay: 3 * time.Second})
	b.searchByKeys("office")
	waitFor(b, titles(alice, "office"), "e2e.titles()")
	w.platform.ClearFaults()
	w.await(t, "suggestions with status 419 and 200", func() bool {
		suggestions := w.platform.Requests(searchtokentest.KindSuggest)
		refused := func(r searchtokentest.Request) bool { return r.Status == 419 }
		served := func(r searchtokentest.Request) bool { return r.Status == 200 }
		return slices.ContainsFunc(suggestions, refused) && slices.ContainsFunc(suggestions, served)
	})
	if got := w.renewals.Load(); got != 1 {
		t.Errorf("got %d requests to the renewal route, want 1", got)
	}
}

// TestParallelRenewalsShareOneRequest calls the function that the libraries
// call.
func TestParallelRenewalsShareOneRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.visit(t, "/headless")
	w.platform.RejectAll()
	const renewals = `Promise.all(Array.from({length: 20}, () => coveoEngineConfiguration.renewAccessToken()))
		.then((tokens) => new Set(tokens).size)`
	if got := eval[int](b, renewals); got != 1 {
		t.Errorf("got %d tokens, want 1", got)
	}
	if got := w.renewals.Load(); got != 1 {
		t.Errorf("got %d requests to the renewal route, want 1", got)
	}
}

// TestEnginesShareTheRenewedToken builds a second engine on the configuration
// of the page. It gets the token that the first engine has renewed, and nothing
// is wrong with that token.
func TestEnginesShareTheRenewedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	b := w.visit(t, "/headless")
	b.do(chromedp.Evaluate[chromedp.Void](`import(document.querySelector("[data-library]").dataset.library).then(
		(headless) => { window.second = headless.buildSearchEngine({configuration: coveoEngineConfiguration}); })`,
		chromedp.EvalAwaitPromise))
	w.platform.RejectAll()
	b.search("office")
	waitFor(b, titles(alice, "office"), "e2e.titles()")
	b.do(chromedp.Sleep(2 * time.Second)) // longer than the engines share one renewal

	b.do(chromedp.Evaluate[chromedp.Void]("second.executeFirstSearch()"))
	waitFor(b, len(titles(alice, "")), "second.state.search.results.length")
	if got := w.renewals.Load(); got != 1 {
		t.Errorf("got %d requests to the renewal route, want 1", got)
	}
	if diff := cmp.Diff([]string(nil), b.messages("error: searchtoken: ")); diff != "" {
		t.Errorf("console messages (-want +got):\n%s", diff)
	}

	const same = "coveoEngine.then((first) => first.state.configuration.accessToken === coveoEngineConfiguration.accessToken)"
	if !eval[bool](b, same) {
		t.Error("the configuration for further engines has another token than the first engine, want the renewed one")
	}
}

// TestClockThatIsAheadIsNamedOnce: by the visitor's clock, every token has
// expired. Atomic and Headless then renew the token before each query, although
// the platform accepts it.
func TestClockThatIsAheadIsNamedOnce(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/jsui", "/atomic", "/headless"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := openTab(t, w.url)
			b.onEveryPage(`Date.now = ((now) => () => now() + 26 * 3600 * 1000)(Date.now);`)
			b.logIn(alice)
			began := time.Now()
			b.open(path)
			waitFor(b, titles(alice, ""), "e2e.titles()")
			for range 4 {
				for _, word := range []string{"office", "review"} {
					b.searchByKeys(word)
					waitFor(b, titles(alice, word), "e2e.titles()")
					b.do(chromedp.Sleep(1500 * time.Millisecond)) // longer than a renewed token is shared
				}
			}
			const clock = "error: searchtoken: by the clock of this device, the search token that was renewed at " +
				"/coveo/token has expired: if the clock is ahead, Atomic and Headless renew the token before each query"
			want := []string{clock}
			if path == "/jsui" {
				want = nil // looks at no clock
			}
			if diff := cmp.Diff(want, b.messages("error: searchtoken: ")); diff != "" {
				t.Errorf("console messages (-want +got):\n%s", diff)
			}
			// A renewed token is shared for 20 seconds.
			got, most := w.renewals.Load(), 3+int64(time.Since(began)/(20*time.Second))
			if got > most {
				t.Errorf("got %d requests to the renewal route, want at most %d", got, most)
			}
		})
	}
}

// TestFailedRenewalsAreLimited searches for half a minute with a rejected token
// that cannot be renewed. Without limits, the libraries would make hundreds of
// requests.
func TestFailedRenewalsAreLimited(t *testing.T) {
	t.Parallel()
	const (
		duration    = 30 * time.Second
		maxRenewals = 8
		maxQueries  = 40
		maxRequests = 160 // requests to the platform: queries, suggestions, events, token calls and preflights

		prefix      = "error: searchtoken: the search token "
		notRenewed  = "was not renewed at /coveo/token "
		rejectedToo = "that was renewed at /coveo/token seems to be rejected as well"
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
		says  string // message on the console, after prefix
	}{
		{"the session has ended", func(w *world) { w.renew = nobody.RenewHandler() }, notRenewed + "Error: HTTP status 401"},
		{"Coveo is down", func(w *world) {
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: 503})
		}, notRenewed + "Error: HTTP status 503"},
		{"the route hangs", func(w *world) {
			w.renew = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, notRenewed + "TimeoutError"},
		{"new tokens are rejected", func(w *world) { w.platform.RejectNew() }, rejectedToo},
		{"the session has ended, and queries are slow", func(w *world) {
			w.renew = nobody.RenewHandler()
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSearch, Delay: 600 * time.Millisecond})
		}, notRenewed + "Error: HTTP status 401"},
		{"new tokens are rejected, and queries are slow", func(w *world) {
			w.platform.RejectNew()
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSearch, Delay: 600 * time.Millisecond})
		}, rejectedToo},
		{"new tokens are rejected and slow", func(w *world) {
			w.platform.RejectNew()
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: 700 * time.Millisecond})
		}, rejectedToo},
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
				renewals := w.renewals.Load()
				queries, requests := w.platform.Count(searchtokentest.KindSearch), w.platform.Count()
				t.Logf("%d requests to the renewal route, %d queries, %d requests to the platform", renewals, queries, requests)
				if renewals < 1 || renewals > maxRenewals || queries > maxQueries || requests > maxRequests {
					t.Errorf("in %v, want 1 to %d renewals, at most %d queries and at most %d requests to the platform",
						duration, maxRenewals, maxQueries, maxRequests)
				}
				if len(b.messages(prefix+failure.says)) == 0 {
					t.Errorf("got the console messages %q, want %q", b.messages(prefix), failure.says)
				}
			})
		}
	}
}
