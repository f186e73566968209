package site_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// proxyQuery returns a query as a front end on a page of the site sends it.
func (v *visitor) proxyQuery(query string) *http.Request {
	v.t.Helper()
	r := v.request(http.MethodPost, site.ProxyURL+"/rest/search/v2?organizationId="+searchtokentest.DefaultOrganizationID,
		"application/json", `{"q":"`+query+`"}`)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Authorization", "Bearer proxied")
	return r
}

// resultTitles returns the titles in a response of the Search API.
func resultTitles(t *testing.T, body string) []string {
	t.Helper()
	var response struct {
		Results []struct{ Title string }
	}
	if err := json.Unmarshal([]byte(body), &response); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	var titles []string
	for _, r := range response.Results {
		titles = append(titles, r.Title)
	}
	return titles
}

func withProxy(cfg *site.Config) { cfg.Proxy = true }

func TestProxySearchesAsTheUser(t *testing.T) {
	base, platform := start(t, withProxy)
	tests := []struct {
		name, user string
		want       []string
	}{
		{"anonymous", "", nil},
		{"alice", alice, []string{"Alice's performance review"}},
		{"bob", bob, []string{"Bob's performance review"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVisitor(t, base)
			if test.user != "" {
				v.logIn(test.user)
			}
			for _, rejected := range []bool{false, true} {
				if rejected {
					platform.RejectAll()
				}
				a := v.do(v.proxyQuery("review"))
				if a.StatusCode != http.StatusOK {
					t.Fatalf("status %d, rejected %v: %s", a.StatusCode, rejected, a.text)
				}
				if diff := cmp.Diff(test.want, resultTitles(t, a.text)); diff != "" {
					t.Errorf("documents (-want +got):\n%s", diff)
				}
			}
			v.logIn(alice)
			v.logOut()
			if titles := resultTitles(t, v.do(v.proxyQuery("review")).text); titles != nil {
				t.Errorf("documents after logout: %q, want none", titles)
			}
		})
	}
	for _, r := range platform.Requests(searchtokentest.KindSearch) {
		if r.Header.Get("Cookie") != "" || strings.Contains(r.Header.Get("Authorization"), "proxied") {
			t.Errorf("the platform got the cookie %q and %q", r.Header["Cookie"], r.Header["Authorization"])
		}
	}
}

func TestProxyAnswersPagesOfTheSiteOnly(t *testing.T) {
	base, platform := start(t, withProxy)
	v := newVisitor(t, base)
	v.logIn(alice)
	r := v.proxyQuery("review")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := v.do(r); a.StatusCode != http.StatusForbidden {
		t.Errorf("a query from another site: status %d, want 403", a.StatusCode)
	}
	if got := platform.Count(searchtokentest.KindSearch); got != 0 {
		t.Errorf("%d queries reached the platform, want none", got)
	}
}

func TestSiteGivesTokensOrAnswersCalls(t *testing.T) {
	tests := []struct {
		name          string
		proxy         bool
		query, renews int // statuses
	}{
		{"token in the page", false, http.StatusNotFound, http.StatusOK},
		{"calls through the site", true, http.StatusOK, http.StatusNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base, _ := start(t, func(cfg *site.Config) { cfg.Proxy = test.proxy })
			v := newVisitor(t, base)
			if a := v.do(v.proxyQuery("welcome")); a.StatusCode != test.query {
				t.Errorf("a query: status %d, want %d", a.StatusCode, test.query)
			}
			r := v.request(http.MethodPost, site.RenewURL, "application/json", `{"rejected":"a.b.c"}`)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			a := v.do(r)
			if a.StatusCode != test.renews || strings.Contains(a.text, "eyJ") == test.proxy {
				t.Errorf("a renewal: status %d and %s, want %d", a.StatusCode, a.text, test.renews)
			}
		})
	}
}

// The policy of the site's pages must not replace that of a preview.
func TestPreviewsRunNoScripts(t *testing.T) {
	base, _ := start(t, withProxy)
	const preview = "/rest/search/v2/html?uniqueId=1.1$https://intranet.example.com/welcome"
	a := newVisitor(t, base).get(site.ProxyURL + preview)
	if a.StatusCode != http.StatusOK || !strings.Contains(a.text, "<h1>Welcome to the intranet</h1>") {
		t.Fatalf("status %d: %s", a.StatusCode, a.text)
	}
	policies := a.Header["Content-Security-Policy"]
	if len(policies) != 1 || !strings.HasPrefix(policies[0], "sandbox;") {
		t.Errorf("the policies are %q, want one that begins with sandbox", policies)
	}
}
