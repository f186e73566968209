package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestVisitorsFindTheirOwnDocuments has two visitors on the site at once. Each
// finds the documents that they may see, and no others, with their own token.
func TestVisitorsFindTheirOwnDocuments(t *testing.T) {
	t.Parallel()
	forEachFrontEnd(t, func(t *testing.T, f frontEnd) {
		w := newWorld(t, f.configure)
		visitors := map[string]*tab{alice: openTab(t, w.url), bob: openTab(t, w.url)}
		pages := make(map[string]*tab)
		for user, b := range visitors {
			b.logIn(user)
		}
		for user, b := range visitors {
			pages[user] = f.open(b)
		}
		all, err := json.Marshal(excerpts(""))
		if err != nil {
			t.Fatal(err)
		}
		seen := string(all) + ".filter((excerpt) => e2e.texts().includes(excerpt))"
		for user, page := range pages {
			waitFor(page, titles(user, ""), "e2e.titles()")
			waitFor(page, excerpts(user), seen)
		}
		visitors[alice].screenshot(string(f.name))

		// The platform has verified the signatures of these tokens.
		got := make(map[string]int)
		for _, r := range w.platform.Requests(searchtokentest.KindSearch) {
			got[r.Host+" "+w.bearer(r)]++
		}
		host := strings.Replace(f.searchHost, "acme", w.organization, 1)
		want := map[string]int{host + " " + alice: 1, host + " " + bob: 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("queries by host and user (-want +got):\n%s", diff)
		}
	})
}

// bearer returns the user of the token in the Authorization header.
func (w *world) bearer(r searchtokentest.Request) string {
	if r.Claims == nil || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		return "nobody"
	}
	return r.Claims.UserIDs[0].Name
}

// TestAnalyticsEventsHaveTheVisitorsToken checks the events of a search and a
// click.
func TestAnalyticsEventsHaveTheVisitorsToken(t *testing.T) {
	t.Parallel()
	forEachFrontEnd(t, func(t *testing.T, f frontEnd) {
		w := newWorld(t, f.configure)
		b := openTab(t, w.url)
		b.logIn(alice)
		page := f.open(b)
		waitFor(page, titles(alice, ""), "e2e.titles()")
		page.do(clickFirstResult)
		var events []searchtokentest.Request
		w.await(t, "analytics events of a search and a click", func() bool {
			events = w.platform.Requests(searchtokentest.KindAnalytics)
			paths := ""
			for _, r := range events {
				if r.Status == 0 { // it is not answered yet
					return false
				}
				paths += r.Path + " "
			}
			return strings.Contains(paths, "/search") && (strings.Contains(paths, "/click") || f.name == searchtoken.IPX)
		})
		host := strings.Replace(f.analyticsHost, "acme", w.organization, 1)
		for _, r := range events {
			if r.Host != host {
				t.Errorf("%s %s: got host %s, want %s", r.Method, r.Path, r.Host, host)
			}
			if r.Claims == nil || r.Claims.UserIDs[0].Name != alice {
				t.Errorf("%s %s: got claims %+v, want those of alice", r.Method, r.Path, r.Claims)
			}
			if r.Status != 200 {
				t.Errorf("%s %s: got status %d, want 200", r.Method, r.Path, r.Status)
			}
		}
	})
}

// TestRefusedEventIsInvisible refuses an event as Usage Analytics does. JSUI
// renews its token and sends the event again; Headless and Atomic renew for
// queries only. The visitor does not notice.
func TestRefusedEventIsInvisible(t *testing.T) {
	t.Parallel()
	for _, f := range frontEnds[:3] {
		t.Run(string(f.name), func(t *testing.T) {
			t.Parallel()
			var renewals int64
			want := []int{400}
			if f.name == searchtoken.JSUI {
				renewals, want = 1, []int{400, 200}
			}
			w := newWorld(t, nil)
			w.platform.Inject(searchtokentest.Fault{
				Kind: searchtokentest.KindAnalytics, Times: 1, Status: 400,
				Body: `{"message":"The provided token is not a valid token.","type":"InvalidToken"}`,
			})
			statuses := func() []int {
				var list []int
				for _, r := range w.platform.Requests(searchtokentest.KindAnalytics) {
					list = append(list, r.Status)
				}
				return list
			}
			b := w.visit(t, f.path)
			w.await(t, fmt.Sprint("events with the statuses ", want), func() bool { return slices.Equal(statuses(), want) })
			b.search("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			w.await(t, "an event of the second search", func() bool {
				list := statuses()
				return len(list) > len(want) && list[len(list)-1] == 200
			})
			if problem := eval[string](b, "e2e.problem()"); problem != "" {
				t.Errorf("the visitor sees the error %q, want none", problem)
			}
			if got := w.renewals.Load(); got != renewals {
				t.Errorf("got %d requests to the renewal route, want %d", got, renewals)
			}
		})
	}
}

// TestHIPAAPageUsesHIPAAHostsOnly checks the hosts of all requests to the
// platform, before and after the token is renewed.
func TestHIPAAPageUsesHIPAAHostsOnly(t *testing.T) {
	t.Parallel()
	forEachFrontEnd(t, func(t *testing.T, f frontEnd) {
		w := newWorld(t, func(cfg *site.Config) {
			f.configure(cfg)
			cfg.Coveo.Environment = searchtoken.EnvHIPAA
		})
		b := openTab(t, w.url)
		b.logIn(alice)
		page := f.open(b)
		waitFor(page, titles(alice, ""), "e2e.titles()")
		if f.openButton == "" {
			w.platform.RejectAll()
			b.search("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
		}
		if got := b.messages("error: violation: "); got != nil {
			t.Errorf("got violations %q, want none", got)
		}
		hosts := make(map[string]bool)
		for _, r := range w.platform.Requests() {
			hosts[strings.Replace(r.Host, w.organization, "acme", 1)] = true
		}
		hipaa := strings.NewReplacer(
			"acme.org.", "acme.orghipaa.", "acme.analytics.org.", "acme.analytics.orghipaa.", ".cloud.", "hipaa.cloud.",
		)
		want := map[string]bool{"acme.orghipaa.coveo.com": true} // issues tokens
		for _, host := range []string{f.searchHost, f.analyticsHost} {
			want[hipaa.Replace(host)] = true
		}
		switch f.name {
		case searchtoken.IPX:
			want["searchhipaa.cloud.coveo.com"] = true
		case searchtoken.IPXBuilder:
			want["platformhipaa.cloud.coveo.com"] = true
		}
		if diff := cmp.Diff(want, hosts); diff != "" {
			t.Errorf("hosts (-want +got):\n%s", diff)
		}
	})
}
