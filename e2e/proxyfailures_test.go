package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// countCalls counts the calls of the browser that next answers.
func countCalls(calls *atomic.Int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/coveo/") {
			calls.Add(1)
		}
		next.ServeHTTP(rw, r)
	})
}

// proxyFailure makes every call of a page fail.
type proxyFailure struct {
	name       string
	begin, end func(*world, *tab)
	inFront    http.HandlerFunc // answers in place of the site
	maxCalls   int64            // of one browser to the site
	// unrepairable says that the tokens stay rejected.
	unrepairable bool
	// repeatedByJSUI says that JSUI shows that it is still searching, and then
	// the results.
	repeatedByJSUI bool
}

var proxyFailures = []proxyFailure{
	{
		name:         "every token is rejected",
		begin:        func(w *world, _ *tab) { w.platform.RejectAll(); w.platform.RejectNew() },
		maxCalls:     40,
		unrepairable: true,
	},
	{
		name:     "the session has ended",
		begin:    func(_ *world, b *tab) { b.logOut() },
		end:      func(_ *world, b *tab) { b.logInAs(alice) },
		maxCalls: 40,
	},
	{
		name: "a server in front of the site asks for a login",
		inFront: func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/coveo/") {
				http.Redirect(rw, r, "/login", http.StatusFound)
				return
			}
			rw.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(rw, "<!DOCTYPE html><h1>Who are you?</h1>")
		},
		maxCalls: 40,
	},
	{
		name: "Coveo is down",
		begin: func(w *world, _ *tab) {
			w.platform.Inject(searchtokentest.Fault{Status: http.StatusServiceUnavailable})
		},
		end:      func(w *world, _ *tab) { w.platform.ClearFaults() },
		maxCalls: 40,
	},
	{
		name: "the site is down",
		inFront: func(rw http.ResponseWriter, _ *http.Request) {
			http.Error(rw, "<h1>Back soon</h1>", http.StatusServiceUnavailable)
		},
		maxCalls: 40,
	},
	{
		name: "Coveo limits the calls",
		begin: func(w *world, _ *tab) {
			w.platform.Inject(searchtokentest.Fault{Status: http.StatusTooManyRequests, RetryAfter: "1"})
		},
		end:      func(w *world, _ *tab) { w.platform.ClearFaults() },
		maxCalls: 160, // Headless repeats each call four times

		repeatedByJSUI: true,
	},
}

// TestFailuresThroughTheSiteAreLimited searches three times in half a minute
// while every call fails. The visitor sees a message, and results after the
// failure has ended. The front ends must flood neither the site nor Coveo.
func TestFailuresThroughTheSiteAreLimited(t *testing.T) {
	t.Parallel()
	const duration = 30 * time.Second
	for _, failure := range proxyFailures {
		t.Run(failure.name, func(t *testing.T) {
			t.Parallel()
			worlds := make([]*world, len(proxiedPages))
			tabs := make([]*tab, len(proxiedPages))
			calls := make([]atomic.Int64, len(proxiedPages))
			for i, p := range proxiedPages {
				worlds[i] = p.newApp(t)
				tabs[i] = openTab(t, worlds[i].url)
				p.open(tabs[i], alice)
			}
			for i, w := range worlds {
				w.platform.ResetRequests()
				w.change(func() {
					w.wrap = func(site http.Handler) http.Handler {
						if failure.inFront != nil {
							site = failure.inFront
						}
						return countCalls(&calls[i], site)
					}
				})
				if failure.begin != nil {
					failure.begin(w, tabs[i])
				}
			}
			for _, word := range []string{"office", "review", "printer"} {
				for _, b := range tabs {
					b.searchByKeys(word)
				}
				tabs[0].do(chromedp.Sleep(duration / 3))
			}
			for i, p := range proxiedPages {
				w, b := worlds[i], tabs[i]
				b.screenshot("through the site, " + failure.name + ", " + string(p.frontEnd))
				problem := eval[string](b, "e2e.problem()")
				if failure.repeatedByJSUI && p.frontEnd == searchtoken.JSUI &&
					eval[bool](b, `e2e.find(".coveo-search-button-loading").checkVisibility()`) {
					problem = "still searching"
				}
				got, requests := calls[i].Load(), int64(w.platform.Count())
				t.Logf("%s: %d calls, %d requests to the platform, message %q", p.frontEnd, got, requests, problem)
				// The site repeats a call at most once, with another token.
				if got < 3 || got > failure.maxCalls || requests > 3*failure.maxCalls {
					t.Errorf("%s: in %v, got %d calls and %d requests to the platform, want 3 to %d and at most %d",
						p.frontEnd, duration, got, requests, failure.maxCalls, 3*failure.maxCalls)
				}
				if problem == "" {
					t.Errorf("%s: the visitor sees no message that the search failed", p.frontEnd)
				}
				w.change(func() { w.wrap = nil })
				if failure.end != nil {
					failure.end(w, b)
				}
			}
			if failure.unrepairable {
				return
			}
			if failure.repeatedByJSUI {
				waitFor(tabs[0], titles(alice, "printer"), "e2e.titles()")
			}
			for _, b := range tabs {
				b.searchByKeys("office")
				waitFor(b, titles(alice, "office"), "e2e.titles()")
			}
		})
	}
}

// TestFailingAnswersAreLimited asks questions for half a minute while no answer
// can be generated. The visitor sees the results, and no error.
func TestFailingAnswersAreLimited(t *testing.T) {
	t.Parallel()
	const (
		duration   = 30 * time.Second
		maxAnswers = 30 // requests for answers
	)
	body := strings.Replace(atomicBody, "<atomic-result-list>",
		"<atomic-generated-answer></atomic-generated-answer><atomic-query-error></atomic-query-error><atomic-result-list>", 1)
	faults := map[string]searchtokentest.Fault{
		"hangs":            {Handler: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		"is down":          {Status: http.StatusServiceUnavailable},
		"rejects tokens":   {Status: 419},
		"limits":           {Status: http.StatusTooManyRequests, RetryAfter: "1"},
		"cuts answers off": {ContentType: "text/event-stream", CutOff: true},
	}
	worlds := make(map[string]*world)
	tabs := make(map[string]*tab)
	for name, fault := range faults {
		w := newApp(t, app{frontEnd: searchtoken.Atomic, body: body, config: throughTheSite})
		w.platform.GenerateAnswers("Nobody reads this.", 0)
		fault.Kind = searchtokentest.KindAnswer
		w.platform.Inject(fault)
		worlds[name], tabs[name] = w, openTab(t, w.url)
		tabs[name].logInAs(alice)
		tabs[name].open("/")
		waitFor(tabs[name], titles(alice, ""), "e2e.titles()")
	}
	var last *tab
	for _, word := range []string{"office", "review", "printer"} {
		for _, b := range tabs {
			b.search(word)
			last = b
		}
		last.do(chromedp.Sleep(duration / 3))
	}
	for name, w := range worlds {
		b := tabs[name]
		b.screenshot("answers, Coveo " + name)
		got := w.platform.Count(searchtokentest.KindAnswer)
		t.Logf("Coveo %s: %d requests for answers", name, got)
		if got < 3 || got > maxAnswers {
			t.Errorf("Coveo %s: in %v, got %d requests for answers, want 3 to %d", name, duration, got, maxAnswers)
		}
		waitFor(b, titles(alice, "printer"), "e2e.titles()")
		if problem := eval[string](b, "e2e.problem()"); problem != "" {
			t.Errorf("Coveo %s: the visitor sees the error %q, want none", name, problem)
		}
	}
}

// TestSlowSuggestionsDoNotDelayTheQuery types a word while each suggestion
// hangs. There are more of them than the site forwards for one user.
func TestSlowSuggestionsDoNotDelayTheQuery(t *testing.T) {
	t.Parallel()
	for _, p := range proxiedPages {
		t.Run(string(p.frontEnd), func(t *testing.T) {
			t.Parallel()
			w := p.newApp(t)
			b := openTab(t, w.url)
			p.open(b, alice)
			w.platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSuggest, Delay: patience})
			b.searchByKeys("performance")
			waitFor(b, titles(alice, "performance"), "e2e.titles()")
			if problem := eval[string](b, "e2e.problem()"); problem != "" {
				t.Errorf("the visitor sees the error %q, want none", problem)
			}
			const refused = "error: Failed to load resource: the server responded with a status of 429 () "
			if got := b.messages(refused + w.url + "/coveo/rest/search/v2?"); got != nil {
				t.Errorf("got the console messages %q, want no refused query", got)
			}
		})
	}
}
