package e2e

import (
	"fmt"
	"io"
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

// TestSearchThroughTheSite has two users on the site at once. Each searches,
// has the token rejected, searches again, selects a value of a facet, searches
// for others, opens a preview and opens a result. The browsers have no token
// and may connect to the site only.
func TestSearchThroughTheSite(t *testing.T) {
	t.Parallel()
	for _, p := range proxiedPages {
		t.Run(string(p.frontEnd), func(t *testing.T) {
			t.Parallel()
			w := p.newApp(t)
			visitors := map[string]*tab{alice: openTab(t, w.url), bob: openTab(t, w.url)}
			recorded := make(map[string]*traffic)
			for user, b := range visitors {
				recorded[user] = recordTraffic(b)
				p.open(b, user)
			}
			w.platform.RejectAll()
			for user, b := range visitors {
				b.searchByKeys("office")
				waitFor(b, titles(user, "office"), "e2e.titles()")
			}
			for user, b := range visitors {
				b.clickOn(p.facet)
				waitFor(b, helpTitles(user, "office"), "e2e.titles()")
				b.typeInto(p.facetBox, "int")
				b.clickOn(p.opener)
				waitFor(b, true, p.preview+`.includes("Install the client")`)
				b.do(clickFirstResult)
			}
			b := visitors[alice]
			b.screenshot("through the site, " + string(p.frontEnd))
			for user, b := range visitors {
				for _, path := range []string{"/v2", "/querySuggest", "/facet", "/html", "/click"} {
					w.awaitCall(t, user, path)
				}
				if p.frontEnd == searchtoken.JSUI {
					w.awaitCall(t, user, "/searches")
				} else {
					w.awaitCall(t, user, "/analytics/search")
				}
				if problem := eval[string](b, "e2e.problem()"); problem != "" {
					t.Errorf("%s sees the error %q, want none", user, problem)
				}
				if diff := cmp.Diff(p.violations, b.messages("error: violation: ")); diff != "" {
					t.Errorf("violations (-want +got):\n%s", diff)
				}
				w.checkNoSecrets(t, recorded[user])
			}
			w.checkNone(t, recorded[alice].collectMemory())
			if got := w.renewals.Load(); got != 0 {
				t.Errorf("got %d requests to the renewal route, want 0", got)
			}
			if got := w.platform.Count(searchtokentest.KindToken); got != 4 {
				t.Errorf("got %d tokens, want 2 for each user", got)
			}
			w.checkAllCallsAreTheSites(t, alice, bob)
		})
	}
}

// TestSearchThroughTheSiteOnPlainHTTP: browsers send less about their requests
// there.
func TestSearchThroughTheSiteOnPlainHTTP(t *testing.T) {
	t.Parallel()
	for _, p := range proxiedPages {
		t.Run(string(p.frontEnd), func(t *testing.T) {
			t.Parallel()
			w := p.newApp(t)
			b := openTab(t, w.plainURL())
			p.open(b, alice)
			b.searchByKeys("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			b.clickOn(p.opener)
			waitFor(b, true, p.preview+`.includes("Install the client")`)
			b.do(clickFirstResult)
			w.awaitCall(t, alice, "/click")
			if diff := cmp.Diff(p.violations, b.messages("error: violation: ")); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			w.checkAllCallsAreTheSites(t, alice)
		})
	}
}

// helpTitles returns the titles of the documents of the source Help that the
// user may see and that contain the word.
func helpTitles(user, word string) []string {
	list := titles(user, word)
	for _, d := range searchtokentest.DefaultDocuments() {
		if d.Source != "Help" {
			list = slices.DeleteFunc(list, func(title string) bool { return title == d.Title })
		}
	}
	return list
}

// awaitCall waits until the platform has answered a call of a path with the
// user's token.
func (w *world) awaitCall(t *testing.T, user, path string) {
	t.Helper()
	w.await(t, path+" with the token of "+user, func() bool {
		return slices.ContainsFunc(w.platform.Requests(), func(r searchtokentest.Request) bool {
			return strings.HasSuffix(r.Path, path) && r.Status == http.StatusOK && w.bearer(r) == user
		})
	})
}

// checkAllCallsAreTheSites checks that no call of the platform comes from a
// browser, and that all of them have the token of one of the users and the
// search hub.
func (w *world) checkAllCallsAreTheSites(t *testing.T, users ...string) {
	t.Helper()
	for _, r := range w.platform.Requests() {
		if got := r.Header.Get("Origin") + r.Header.Get("Sec-Fetch-Mode") + r.Header.Get("Cookie"); got != "" {
			t.Errorf("%s %s: comes from a browser, want it from the site", r.Method, r.Path)
		}
		if r.Kind == searchtokentest.KindToken || r.Status == 0 || r.Status == 419 { // 0: not answered yet
			continue
		}
		if got := w.bearer(r); !slices.Contains(users, got) {
			t.Errorf("%s %s: got a call of %s, want one of %s", r.Method, r.Path, got, users)
		}
		if r.Kind == searchtokentest.KindSearch && r.SearchHub != "intranet" {
			t.Errorf("%s %s: got the search hub %q, want the token's", r.Method, r.Path, r.SearchHub)
		}
	}
}

// TestAnswersStreamThroughTheSite asks a question on a page of Atomic. The
// answer appears while it is being written. The libraries ignore the configured
// endpoints for generated answers.
func TestAnswersStreamThroughTheSite(t *testing.T) {
	t.Parallel()
	const (
		answer        = "Travel is paid for by the office in Paris."
		query         = `<atomic-generated-answer></atomic-generated-answer>`
		configuration = `<atomic-generated-answer answer-configuration-id="config"></atomic-generated-answer>`
	)
	for name, test := range map[string]struct {
		element     string
		environment searchtoken.Environment
	}{
		"of a query":                {query, ""},
		"of a query, HIPAA":         {query, searchtoken.EnvHIPAA},
		"of a configuration":        {configuration, ""},
		"of a configuration, HIPAA": {configuration, searchtoken.EnvHIPAA},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := strings.Replace(atomicBody, "<atomic-result-list>", test.element+"<atomic-result-list>", 1)
			w := newApp(t, app{frontEnd: searchtoken.Atomic, body: body, config: func(cfg *searchtoken.Config) {
				throughTheSite(cfg)
				cfg.Environment = test.environment
			}})
			w.platform.GenerateAnswers(answer, 300*time.Millisecond)
			b := openTab(t, w.url)
			recorded := recordTraffic(b)
			b.logInAs(alice)
			b.open("/")
			waitFor(b, titles(alice, ""), "e2e.titles()")
			// The page looks itself, so that a slow test does not miss the
			// start.
			b.do(chromedp.Evaluate[chromedp.Void](`window.started = false;
				setInterval(() => {
					const seen = e2e.texts().join(" ");
					started ||= seen.includes("Travel is paid") && !seen.includes("Paris");
				}, 100)`))
			b.search("office")
			waitFor(b, true, fmt.Sprintf("e2e.texts().join(' ').includes(%q)", answer))
			if !eval[bool](b, "started") {
				t.Error("the answer appeared at once, want its first words before its last")
			}
			b.screenshot("generated answer " + name)
			if got := w.platform.Count(searchtokentest.KindAnswer); got != 1 {
				t.Errorf("got %d streams, want 1", got)
			}
			if diff := cmp.Diff([]string(nil), b.messages("error: violation: ")); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			w.checkNoSecrets(t, recorded)
			w.checkAllCallsAreTheSites(t, alice)
			for _, r := range w.platform.Requests() {
				if got, want := strings.Contains(r.Host, "hipaa"), test.environment == searchtoken.EnvHIPAA; got != want {
					t.Errorf("%s %s: on a HIPAA host: %v, want %v", r.Method, r.Path, got, want)
				}
			}
		})
	}
}

// TestFetchThroughTheSite calls window.fetch as the libraries do. The calls of
// the organization's hosts go to the site, and others stay as they are. Errors
// of a server in front of the site become JSON.
func TestFetchThroughTheSite(t *testing.T) {
	t.Parallel()
	w := newApp(t, app{frontEnd: searchtoken.Headless, options: []string{"build", "false"}, config: throughTheSite})
	w.wrap = func(site http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				site.ServeHTTP(rw, r)
				return
			}
			switch r.URL.Path {
			case "/coveo/rest/login":
				http.Redirect(rw, r, "/login", http.StatusFound)
				return
			case "/login", "/coveo/rest/preview":
				rw.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(rw, "<h1>Page</h1>")
				return
			case "/coveo/rest/down":
				http.Error(rw, "<h1>Down</h1>", http.StatusServiceUnavailable)
				return
			case "/coveo/rest/refused":
				rw.Header().Set("Content-Type", "application/json; charset=utf-8")
				rw.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(rw, `{"statusCode":400}`)
				return
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(rw, "%s %s %q authorization=%q accept=%q type=%q", r.Method, r.RequestURI, body,
				r.Header.Get("Authorization"), r.Header.Get("Accept"), r.Header.Get("Content-Type"))
		})
	}
	b := openTab(t, w.url)
	b.logInAs(alice)
	b.open("/")
	host := "https://" + w.organization + ".org.coveo.com"
	const proxied = `headers: {Authorization: "Bearer proxied", Accept: "text/event-stream"}`
	const withBody = `{method: "POST", body: JSON.stringify({q: "a"}),
		headers: {Authorization: "Bearer proxied", "Content-Type": "application/json"}}`
	for _, test := range []struct{ name, call, want string }{
		{
			"a string", `fetch("` + host + `/rest/a?b=c#d", {` + proxied + `})`,
			`GET /coveo/rest/a?b=c "" authorization="" accept="text/event-stream" type=""`,
		},
		{
			"a URL", `fetch(new URL("` + host + `/api/a%2Fb"))`,
			`GET /coveo/api/a%2Fb "" authorization="" accept="*/*" type=""`,
		},
		{
			"a Request", `fetch(new Request("` + host + `/rest/a", ` + withBody + `))`,
			`POST /coveo/rest/a "{\"q\":\"a\"}" authorization="" accept="*/*" type="application/json"`,
		},
		{
			"a body", `fetch("` + host + `/rest/a", ` + withBody + `)`,
			`POST /coveo/rest/a "{\"q\":\"a\"}" authorization="" accept="*/*" type="application/json"`,
		},
		{
			"a host of analytics", `fetch("https://` + w.organization + `.analytics.org.coveo.com/rest/a", {method: "POST", body: "a"})`,
			`POST /coveo/rest/a "a" authorization="" accept="*/*" type="text/plain;charset=UTF-8"`,
		},
		{
			"the configured URL", `fetch(coveoEngineConfiguration.search.proxyBaseUrl, {` + proxied + `})`,
			`GET /coveo/rest/search/v2 "" authorization="" accept="text/event-stream" type=""`,
		},
		{
			"a header of the site", `fetch("/coveo/rest/a", {headers: {Authorization: "Basic YTpi"}})`,
			`GET /coveo/rest/a "" authorization="Basic YTpi" accept="*/*" type=""`,
		},
		{
			"another path of the site", `fetch("/other", {` + proxied + `})`,
			`GET /other "" authorization="Bearer proxied" accept="text/event-stream" type=""`,
		},
	} {
		got := eval[string](b, test.call+".then((response) => response.text(), String)")
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: request (-want +got):\n%s", test.name, diff)
		}
	}
	for path, want := range map[string]string{
		"/rest/preview": `200 <h1>Page</h1>`,
		"/rest/refused": `400 {"statusCode":400}`,
		"/rest/down":    `503 {"statusCode":503,"type":"NoJSON","message":"the answer of the site is not JSON"}`,
		"/rest/login":   `401 {"statusCode":401,"type":"NoJSON","message":"the answer of the site is not JSON"}`,
	} {
		call := fmt.Sprintf("fetch(%q).then(async (response) => response.status + ' ' + await response.text())", "/coveo"+path)
		if diff := cmp.Diff(want, eval[string](b, call)); diff != "" {
			t.Errorf("%s: answer (-want +got):\n%s", path, diff)
		}
	}
	const aborted = `fetch("%s/rest/a", {signal: AbortSignal.abort()}).then(() => "answered", (error) => error.name)`
	if got := eval[string](b, fmt.Sprintf(aborted, host)); got != "AbortError" {
		t.Errorf("an aborted call: got %q, want an AbortError", got)
	}
	const invalid = `fetch("https://").then(() => "answered", (error) => error.name)`
	if got := eval[string](b, invalid); got != "TypeError" {
		t.Errorf("a call of an invalid URL: got %q, want a TypeError", got)
	}
	if diff := cmp.Diff([]string(nil), b.messages("error: violation: ")); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
