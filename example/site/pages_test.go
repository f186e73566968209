package site_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestPagesShowTheUserAndTheirToken(t *testing.T) {
	const (
		minutes, hours = "(60 minutes from now)", "(24 hours from now)"

		noToken      = "This page holds no token."
		fromBrowser  = "Your browser searches Coveo itself, with the search token in this page."
		throughSite  = "Your browser sends its searches to this site, which adds your search token. " + noToken
		fromSite     = "This site sends the query, with your search token. " + noToken
		homeProxy    = "Browsers send their searches to this site, so that only the IPX page holds a token."
		homeNotProxy = "The pages of the front ends hold a token, and browsers search Coveo themselves."
	)
	tests := []struct {
		path       string
		proxy      bool
		tokenInTag bool // the page gives the token to a front end
		tokenLife  time.Duration
		lifeText   string
		way        string // how the page searches
	}{
		{"/", false, false, time.Hour, minutes, homeNotProxy},
		{"/plain", false, false, time.Hour, minutes, fromSite},
		{"/jsui", false, true, time.Hour, minutes, fromBrowser},
		{"/atomic", false, true, time.Hour, minutes, fromBrowser},
		{"/headless", false, true, time.Hour, minutes, fromBrowser},
		{"/ipx", false, true, 24 * time.Hour, hours, fromBrowser},
		{"/", true, false, time.Hour, minutes, homeProxy},
		{"/plain", true, false, time.Hour, minutes, fromSite},
		{"/jsui", true, false, time.Hour, minutes, throughSite},
		{"/atomic", true, false, time.Hour, minutes, throughSite},
		{"/headless", true, false, time.Hour, minutes, throughSite},
		{"/ipx", true, true, 24 * time.Hour, hours, fromBrowser},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s, proxy %v", test.path, test.proxy), func(t *testing.T) {
			base, platform := start(t, func(cfg *site.Config) { cfg.Proxy = test.proxy })
			v := newVisitor(t, base)
			v.logIn(alice)
			a := v.get(test.path)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("status %d", a.StatusCode)
			}
			if strings.Contains(a.text, searchtokentest.DefaultAPIKey) {
				t.Error("the API key is on the page")
			}
			if got := strings.Contains(a.text, "eyJ"); got != test.tokenInTag {
				t.Errorf("a token on the page: %v, want %v", got, test.tokenInTag)
			}
			if test.tokenInTag {
				if user := tokenUser(t, a.text); user != alice {
					t.Errorf("the page has a token of %s", user)
				}
			}
			if !strings.Contains(a.text, "<strong>"+alice+"</strong>") {
				t.Error("the page does not show the user")
			}
			tokens := platform.Requests(searchtokentest.KindToken)
			claims := tokens[len(tokens)-1].Claims
			expiry := time.Unix(claims.ExpiresAt, 0).UTC()
			if life := expiry.Sub(time.Unix(claims.IssuedAt, 0)); life != test.tokenLife {
				t.Errorf("the token lives for %v, want %v", life, test.tokenLife)
			}
			shown, err := time.Parse(time.RFC3339, capture(`<time datetime="([^"]*)"`, a.text)[0])
			if err != nil || shown.Sub(expiry).Abs() > 2*time.Second {
				t.Errorf("the page shows the expiry %v, want %v (error %v)", shown, expiry, err)
			}
			if !strings.Contains(a.text, test.lifeText) {
				t.Errorf("the page does not say %q", test.lifeText)
			}
			if diff := cmp.Diff([]string{test.way}, capture(`<p class="way">([^<]*)</p>`, a.text)); diff != "" {
				t.Errorf("how the page searches (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPagesShowWhereTheVisitorIs(t *testing.T) {
	base, _ := start(t, nil)
	tests := []struct {
		path, title, heading, current, back string
	}{
		{"/", "Search site", "One search, five front ends", "Search site", "/"},
		{"/jsui", "JSUI · Search site", "JSUI", "JSUI", "/jsui"},
		{"/plain?q=a%26b", "Plain · Search site", "Plain", "Plain", "/plain?q=a%26b"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			v := newVisitor(t, base)
			for _, form := range []string{"/login", "/logout"} {
				text := v.get(test.path).text
				want := []string{test.title, test.heading, test.current, form, test.back}
				got := []string{}
				for _, pattern := range []string{
					`<title>([^<]*)<`, `<h1>([^<]*)<`, `<a [^>]*aria-current="page">([^<]*)<`,
					`<form method="post" action="([^"]*)"`, `<input type="hidden" name="page" value="([^"]*)">`,
				} {
					got = append(got, capture(pattern, text)...)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("title, heading, current page, form and its page (-want +got):\n%s", diff)
				}
				v.logIn(alice)
			}
		})
	}
}

func TestUnknownErrorsHaveAnErrorPage(t *testing.T) {
	base, _ := start(t, func(cfg *site.Config) {
		cfg.Coveo.Prepare = func(*http.Request, *searchtoken.TokenParams) error { return errors.New("details") }
	})
	a := newVisitor(t, base).get("/jsui")
	if a.StatusCode != http.StatusInternalServerError ||
		!strings.Contains(a.text, "Something went wrong on this site.") {
		t.Errorf("status %d, page:\n%s", a.StatusCode, a.text)
	}
	if strings.Contains(a.text, "details") {
		t.Error("the page shows the error")
	}
}

func TestPagesLoadTheConfiguredAssets(t *testing.T) {
	base, _ := start(t, func(cfg *site.Config) { cfg.Assets = "http://127.0.0.1:3000/" })
	for _, path := range []string{"/jsui", "/atomic", "/headless"} {
		t.Run(path, func(t *testing.T) {
			a := newVisitor(t, base).get(path)
			if !strings.Contains(strings.ReplaceAll(a.text, `\/`, "/"), `"http://127.0.0.1:3000/`) {
				t.Error("the library is loaded from elsewhere")
			}
			// Headless needs no source in the policy: its scripts have the
			// nonce.
			if path != "/headless" &&
				!strings.Contains(a.Header.Get("Content-Security-Policy"), "http://127.0.0.1:3000") {
				t.Error("the policy does not allow the assets")
			}
		})
	}
}

func TestPagesUseTheBrowserURL(t *testing.T) {
	const browserURL = "http://127.0.0.1:3000"
	base, platform := start(t, func(cfg *site.Config) { cfg.BrowserURL = browserURL })
	for _, path := range []string{"/jsui", "/atomic", "/headless", "/ipx", "/plain"} {
		t.Run(path, func(t *testing.T) {
			a := newVisitor(t, base).get(path)
			all := strings.ReplaceAll(a.text, `\/`, "/") + a.Header.Get("Content-Security-Policy")
			got, want := strings.Contains(all, browserURL), path != "/plain"
			if got != want || strings.Contains(all, platform.URL) {
				t.Errorf("status %d; the browser's URL is on the page: %v, want %v", a.StatusCode, got, want)
			}
		})
	}
}

func TestIPXPageWithoutAnIDNamesTheSetting(t *testing.T) {
	base, _ := start(t, func(cfg *site.Config) { cfg.IPXPageID = "" })
	a := newVisitor(t, base).get("/ipx")
	if !strings.Contains(a.text, "COVEO_IPX_PAGE_ID") || strings.Contains(a.text, "<script") {
		t.Errorf("the page does not name the setting, or has a script:\n%s", a.text)
	}
	if strings.Contains(a.text, `class="way"`) {
		t.Error("the page says how it searches, but it does not search")
	}
}

func TestErrorPagesTellNoDetails(t *testing.T) {
	const details = "details of the platform"
	token := searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: 500, Body: `{"message":"` + details + `"}`}
	refused := token
	refused.Status = http.StatusForbidden
	search := token
	search.Kind = searchtokentest.KindSearch
	malformed := searchtokentest.Fault{Kind: searchtokentest.KindSearch, Body: `{"results": "` + details}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{}"))
	}))
	defer elsewhere.Close()
	redirect := searchtokentest.Fault{Kind: searchtokentest.KindSearch, Location: elsewhere.URL}
	tests := []struct {
		name, path string
		fault      searchtokentest.Fault
		status     int
		text       string
	}{
		{"no token for the home page", "/", token, http.StatusOK, "There is no search token at the moment"},
		{"no token for JSUI", "/jsui", token, http.StatusServiceUnavailable, "Please try again in a minute."},
		{
			name: "no token for the plain page", path: "/plain", fault: token,
			status: http.StatusServiceUnavailable, text: "Please try again in a minute.",
		},
		{"Coveo refuses a token", "/atomic", refused, http.StatusBadGateway, "operator"},
		{"the query fails", "/plain?q=x", search, http.StatusBadGateway, "Please try again in a minute."},
		{"the answer is malformed", "/plain?q=x", malformed, http.StatusBadGateway, "Please try again in a minute."},
		{"the answer is a redirect", "/plain?q=x", redirect, http.StatusBadGateway, "Please try again in a minute."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base, platform := start(t, nil)
			platform.Inject(test.fault)
			a := newVisitor(t, base).get(test.path)
			if a.StatusCode != test.status {
				t.Errorf("status %d, want %d", a.StatusCode, test.status)
			}
			if !strings.Contains(a.text, test.text) {
				t.Errorf("the page does not say %q", test.text)
			}
			if strings.Contains(a.text, details) {
				t.Error("the page shows the body of the platform's error")
			}
		})
	}
}
