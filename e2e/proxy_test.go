package e2e

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// throughTheSite makes the pages of an app call the site instead of Coveo.
func throughTheSite(cfg *searchtoken.Config) {
	cfg.ProxyURL, cfg.Params.SearchHub = "/coveo", "intranet"
	cfg.RenewURL = "/coveo/token" // which the pages must not need
}

// headlessPage is the body of a page whose script shows the results of Headless.
const headlessPage = `<input type="search" aria-label="Search"><ul></ul>`

// startHeadless is that script.
const startHeadless = `coveoEngine.then(async (engine) => {
	const headless = await import("https://static.cloud.coveo.com/headless/v3/headless.esm.js");
	const box = headless.buildSearchBox(engine);
	const list = headless.buildResultList(engine);
	const input = document.querySelector("input");
	input.addEventListener("keydown", (event) => {
		if (event.key === "Enter") {
			box.updateText(input.value);
			box.submit();
		}
	});
	list.subscribe(() => {
		document.querySelector("ul").replaceChildren(...list.state.results.map((result) => {
			const link = document.createElement("a");
			link.href = result.clickUri;
			link.textContent = result.title;
			const interactive = headless.buildInteractiveResult(engine, {options: {result}});
			link.addEventListener("click", () => interactive.select());
			return link;
		}));
	});
	engine.executeFirstSearch();
})`

// TestSearchThroughTheSite searches, has the token rejected, searches again and
// opens a result. The browser has no token and may connect to the site only.
func TestSearchThroughTheSite(t *testing.T) {
	t.Parallel()
	for _, a := range []app{
		{frontEnd: searchtoken.JSUI, body: jsuiBody},
		{frontEnd: searchtoken.Atomic, body: atomicBody},
		{frontEnd: searchtoken.Headless, body: headlessPage},
	} {
		t.Run(string(a.frontEnd), func(t *testing.T) {
			t.Parallel()
			a.config = throughTheSite
			w := newApp(t, a)
			connect := []string{"'self'"}
			if a.frontEnd == searchtoken.Atomic {
				connect = append(connect, "https://static.cloud.coveo.com")
			}
			var got []string
			for _, s := range sources(w.policy(t, "/")) {
				if s.directive == "connect-src" {
					got = append(got, s.source)
				}
			}
			if diff := cmp.Diff(connect, got); diff != "" {
				t.Errorf("sources of connect-src (-want +got):\n%s", diff)
			}

			b := openTab(t, w.url)
			b.open("/")
			if a.frontEnd == searchtoken.Headless {
				b.do(chromedp.Evaluate[chromedp.Void](startHeadless, chromedp.EvalAwaitPromise))
			}
			waitFor(b, titles(alice, ""), "e2e.titles()")
			w.platform.RejectAll()
			b.searchByKeys("office")
			waitFor(b, titles(alice, "office"), "e2e.titles()")
			b.do(clickFirstResult)
			w.await(t, "an event of the opened result", func() bool {
				return slices.ContainsFunc(w.platform.Requests(searchtokentest.KindAnalytics), func(r searchtokentest.Request) bool {
					return strings.HasSuffix(r.Path, "/click") && r.Status == http.StatusOK
				})
			})

			if problem := eval[string](b, "e2e.problem()"); problem != "" {
				t.Errorf("the visitor sees the error %q, want none", problem)
			}
			if diff := cmp.Diff([]string(nil), b.messages("error: violation: ")); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			if got := w.renewals.Load(); got != 0 {
				t.Errorf("got %d requests to the renewal route, want 0", got)
			}
			w.checkBrowserHasNoToken(t, b)
			w.checkAllCallsAreTheSites(t)
		})
	}
}

var jwt = regexp.MustCompile(`eyJ[\w-]+\.eyJ[\w-]+`)

// checkBrowserHasNoToken searches the page, the state of its engine and the URLs
// that it has loaded for anything that looks like a token.
func (w *world) checkBrowserHasNoToken(t *testing.T, b *tab) {
	t.Helper()
	for what, expression := range map[string]string{
		"markup": "document.documentElement.outerHTML",
		"URLs":   "performance.getEntries().map((entry) => entry.name).join()",
		"engine": `Promise.resolve(window.coveoEngine || document.querySelector("atomic-search-interface")?.engine)
			.then((engine) => JSON.stringify(engine ? engine.state : null))`,
		"endpoint": "JSON.stringify(window.Coveo ? Coveo.SearchEndpoint.endpoints.default.options : null)",
		"storage":  "JSON.stringify([localStorage, sessionStorage, document.cookie])",
	} {
		if token := jwt.FindString(eval[string](b, expression)); token != "" {
			t.Errorf("the page has a token in its %s: %s", what, token)
		}
	}
}

// checkAllCallsAreTheSites checks that no call of the platform comes from a
// browser, and that all of them have the user's token and the search hub.
func (w *world) checkAllCallsAreTheSites(t *testing.T) {
	t.Helper()
	for _, r := range w.platform.Requests() {
		if got := r.Header.Get("Origin") + r.Header.Get("Sec-Fetch-Mode") + r.Header.Get("Cookie"); got != "" {
			t.Errorf("%s %s: comes from a browser, want it from the site", r.Method, r.Path)
		}
		if r.Kind == searchtokentest.KindToken || r.Status == 419 {
			continue
		}
		if got := w.bearer(r); got != alice {
			t.Errorf("%s %s: got a call of %s, want alice's", r.Method, r.Path, got)
		}
		if r.Kind == searchtokentest.KindSearch && r.SearchHub != "intranet" {
			t.Errorf("%s %s: got the search hub %q, want the token's", r.Method, r.Path, r.SearchHub)
		}
	}
}

// TestAnswersStreamThroughTheSite asks a question on a page of Atomic. The
// libraries ignore the configured endpoints for generated answers.
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
			w.platform.GenerateAnswers(answer, 100*time.Millisecond)
			b := openTab(t, w.url)
			b.open("/")
			waitFor(b, titles(alice, ""), "e2e.titles()")
			b.search("office")
			waitFor(b, true, fmt.Sprintf("e2e.texts().join(' ').includes(%q)", answer))
			b.screenshot("generated answer " + name)
			if got := w.platform.Count(searchtokentest.KindAnswer); got != 1 {
				t.Errorf("got %d streams, want 1", got)
			}
			if diff := cmp.Diff([]string(nil), b.messages("error: violation: ")); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
			w.checkBrowserHasNoToken(t, b)
			w.checkAllCallsAreTheSites(t)
			for _, r := range w.platform.Requests() {
				if got, want := strings.Contains(r.Host, "hipaa"), test.environment == searchtoken.EnvHIPAA; got != want {
					t.Errorf("%s %s: on a HIPAA host: %v, want %v", r.Method, r.Path, got, want)
				}
			}
		})
	}
}

// TestFetchThroughTheSite calls window.fetch as the libraries do. The calls of
// the organization's hosts go to the site, and others stay as they are.
func TestFetchThroughTheSite(t *testing.T) {
	t.Parallel()
	w := newApp(t, app{frontEnd: searchtoken.Headless, options: []string{"build", "false"}, config: throughTheSite})
	w.wrap = func(site http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				site.ServeHTTP(rw, r)
				return
			}
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(rw, "%s %s %q authorization=%q accept=%q type=%q", r.Method, r.RequestURI, body,
				r.Header.Get("Authorization"), r.Header.Get("Accept"), r.Header.Get("Content-Type"))
		})
	}
	b := openTab(t, w.url)
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
