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

// leavePage follows a link to the home page, which has no search.
func leavePage(b *tab) {
	b.t.Helper()
	b.click(`header a[href="/"]`)
	b.waitForElement(".cards")
}

// backTo goes back in the history to the last page at path.
func backTo(b *tab, path string) {
	b.t.Helper()
	b.evalLater(fmt.Sprintf(`
		const last = navigation.entries().findLastIndex((entry) => entry.url.includes(%q));
		history.go(last - navigation.currentEntry.index)`, path))
}

// titlesAfterReturn returns the titles that a page shows if the visitor
// searches for word, leaves and returns. JSUI and Atomic keep the query in the
// URL; the site's Headless page does not.
func titlesAfterReturn(f frontEnd, user, word string) []string {
	if f.name == searchtoken.Headless {
		word = ""
	}
	return titles(user, word)
}

// TestBackAndForwardLoadThePageAgain: browsers may not store the pages. Back
// and forward request them from the site, with a valid token.
func TestBackAndForwardLoadThePageAgain(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			b := w.visit(t, f.path)
			b.search("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			leavePage(b)
			w.platform.RejectAll() // no token in a browser is valid
			b.evalLater("history.back()")
			waitFor(b, titlesAfterReturn(f, alice, "office"), "e2e.titles()")
			const reasons = `performance.getEntriesByType("navigation")[0].notRestoredReasons.reasons.map((r) => r.reason)`
			if diff := cmp.Diff([]string{"response-cache-control-no-store"}, eval[[]string](b, reasons)); diff != "" {
				t.Errorf("reasons why the page was not restored (-want +got):\n%s", diff)
			}
			b.evalLater("history.forward()")
			b.waitForElement(".cards")

			// The next visitor sees nothing of alice's.
			b.click(`form[action="/logout"] button`)
			b.waitForElement(`form[action="/login"]`)
			backTo(b, f.path)
			waitFor(b, titlesAfterReturn(f, "anonymous", "office"), "e2e.titles()")
		})
	}
}

// TestBackToExperienceAfterLogoutShowsNothingOfAlice: Chromium may restore the
// page of an In-Product Experience with its token, but not after a logout.
func TestBackToExperienceAfterLogoutShowsNothingOfAlice(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[3:] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, f.configure)
			b := openTab(t, w.url)
			b.logIn(alice)
			waitFor(f.open(b), titles(alice, ""), "e2e.titles()")
			leavePage(b)
			b.evalLater("history.back()")
			waitFor(f.await(b), titles(alice, ""), "e2e.titles()")

			leavePage(b)
			b.click(`form[action="/logout"] button`)
			b.waitForElement(`form[action="/login"]`)
			backTo(b, f.path)
			waitFor(f.await(b), titles("anonymous", ""), "e2e.titles()")
		})
	}
}

// TestRestoredPageRenewsItsToken: this site allows browsers to store pages. A
// page that the browser restores with a rejected token renews it.
func TestRestoredPageRenewsItsToken(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			w.wrap = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					allowStore := func(h http.Header) { h.Set("Cache-Control", "private, max-age=0") }
					next.ServeHTTP(&headerWriter{rw, allowStore}, r)
				})
			}
			b := w.visit(t, f.path)
			b.do(chromedp.Evaluate[chromedp.Void](
				`addEventListener("pageshow", (event) => { window.restored = event.persisted; })`))
			leavePage(b)
			w.platform.RejectAll()
			b.evalLater("history.back()")
			waitFor(b, true, "window.restored")
			b.search("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			if got := w.renewals.Load(); got != 1 {
				t.Errorf("got %d requests to the renewal route, want 1", got)
			}
		})
	}
}

// TestPageWorksAfterItsTokenExpired leaves a page open until its token expires.
// An In-Product Experience cannot renew the token; its page must be loaded
// again.
func TestPageWorksAfterItsTokenExpired(t *testing.T) {
	t.Parallel()
	forEachFrontEnd(t, func(t *testing.T, f frontEnd) {
		const night = 30 * time.Second // the lifetime of the token, from the login
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
		if f.openButton != "" {
			w.await(t, "a query with status 419", func() bool {
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
