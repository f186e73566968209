package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// away follows a link to another page, which has no search.
func away(b *tab) {
	b.t.Helper()
	b.click(`header a[href="/"]`)
	b.see(".cards")
}

// backTo goes back to the page at path, however many pages ago it was.
func backTo(b *tab, path string) {
	b.t.Helper()
	b.later(fmt.Sprintf(`history.go(navigation.entries().findLastIndex((entry) => entry.url.includes(%q)) - navigation.currentEntry.index)`, path))
}

// searched are the documents on a page that comes again after a search: JSUI and
// Atomic keep the query in the URL, the site's Headless page does not.
func searched(f frontEnd, user, word string) []string {
	if f.name == searchtoken.Headless {
		word = ""
	}
	return titles(user, word)
}

// TestBackAndForward: pages may not be stored, so that back and forward get them
// from the site again, with a token that is good.
func TestBackAndForward(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.visit(t, f.path)
			b.search("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			away(b)
			w.platform.RejectAll() // whatever is in a browser is dead
			b.later("history.back()")
			waitFor(b, searched(f, alice, "office"), "e2e.titles()")
			const reasons = `performance.getEntriesByType("navigation")[0].notRestoredReasons.reasons.map((r) => r.reason)`
			if diff := cmp.Diff([]string{"response-cache-control-no-store"}, eval[[]string](b, reasons)); diff != "" {
				t.Errorf("why the page was not restored (-want +got):\n%s", diff)
			}
			b.later("history.forward()")
			b.see(".cards")

			// Nothing of alice's is there for who comes after her.
			b.click(`form[action="/logout"] button`)
			b.see(`form[action="/login"]`)
			backTo(b, f.path)
			waitFor(b, searched(f, "anonymous", "office"), "e2e.titles()")
		})
	}
}

// TestBackToExperience: Chromium may restore the page of an In-Product Experience
// as it was left, token and all, but not for who comes after a log-out.
func TestBackToExperience(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[3:] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, f.configure)
			b := openTab(t, w.url)
			b.logIn(alice)
			waitFor(f.open(b), titles(alice, ""), "e2e.titles()")
			away(b)
			b.later("history.back()")
			waitFor(f.await(b), titles(alice, ""), "e2e.titles()")

			away(b)
			b.click(`form[action="/logout"] button`)
			b.see(`form[action="/login"]`)
			backTo(b, f.path)
			waitFor(f.await(b), titles("anonymous", ""), "e2e.titles()")
		})
	}
}

// TestRestoredPage has a site that allows its pages to be stored. A page that the
// browser restores, with the token that it had, goes on.
func TestRestoredPage(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.wrap = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(&headerWriter{rw, func(h http.Header) { h.Set("Cache-Control", "private, max-age=0") }}, r)
				})
			}
			b := w.visit(t, f.path)
			b.do(chromedp.Evaluate[chromedp.Void](`addEventListener("pageshow", (event) => { window.restored = event.persisted; })`))
			away(b)
			w.platform.RejectAll()
			b.later("history.back()")
			waitFor(b, true, "window.restored")
			b.search("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			if got := w.renewals.Load(); got != 1 {
				t.Errorf("%d requests to the renewal route, want 1", got)
			}
		})
	}
}

// TestOvernight leaves a page open for longer than its token lives. An In-Product
// Experience cannot renew it, and has to be loaded again.
func TestOvernight(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f frontEnd) {
		const night = 30 * time.Second // from the log-in on
		w := newWorld(t, f.configure)
		b := openTab(t, w.url)
		w.platform.SetTokenLife(night)
		b.logIn(alice)
		search := f.open(b)
		waitFor(search, titles(alice, ""), "e2e.titles()")
		tokens := w.platform.Requests(searchtokentest.KindToken)
		expiry := time.Unix(tokens[len(tokens)-1].Claims.ExpiresAt, 0)
		b.do(chromedp.Sleep(time.Until(expiry)))
		w.platform.SetTokenLife(0)
		w.platform.ResetRequests()

		search.search("office")
		if f.experience != "" {
			w.await(t, "a query that is refused", func() bool {
				queries := w.platform.Requests(searchtokentest.KindSearch)
				return len(queries) > 0 && queries[0].Status == 419
			})
			waitFor(search, true, `e2e.problem() !== ""`)
			b.screenshot("overnight " + string(f.name))
			search = f.open(b)
			waitFor(search, titles(alice, ""), "e2e.titles()")
			search.search("office")
		}
		waitFor(search, titles(alice, "office"), "e2e.titles()")
		b.screenshot("morning " + string(f.name))
	})
}
