package searchtokentest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRouteDecidesTheKind(t *testing.T) {
	for _, tc := range []struct {
		method, target string
		want           Kind
	}{
		{"POST", "/rest/search/v2/token", KindToken},
		{"GET", "/rest/search/v2/token/", KindToken},
		{"POST", "/rest/search/v2", KindSearch},
		{"POST", "/rest/search/v2/", KindSearch},
		{"POST", "/rest/search/v2/querySuggest", KindSuggest},
		{"POST", "/rest/search/v2/plan", KindOther},
		{"POST", "/rest/search/v2/facet", KindOther},
		{"GET", "/rest/search/v2/html", KindOther},
		{"GET", "/rest/search/v2/fields", KindOther},
		{"POST", "/rest/ua/v15/analytics/search", KindAnalytics},
		{"POST", "/rest/organizations/acme/events/v1", KindAnalytics},
		{"GET", "/rest/organizations/acme/pages/1/inappwidget/loader", KindIPX},
		{"GET", "/pages/acme/inappwidget/1", KindIPX},
		{"OPTIONS", "/rest/search/v2/token", KindPreflight},
		{"OPTIONS", "/", KindPreflight},
		{"GET", "/rest/search/v9", KindOther},
		{"GET", "/", KindOther},
	} {
		t.Run(tc.method+" "+tc.target, func(t *testing.T) {
			p := New(Config{})
			send(t, p, tc.method, tc.target, "")
			if got := p.Requests()[0].Kind; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestQueryAPIRefusesOtherRequests(t *testing.T) {
	p := New(Config{})
	const unknown = `"type":"OrganizationNotFoundException"`
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"own organization", "GET", "/rest/search/v2?organizationId=acme", "", 200, "totalCount"},
		{"another organization", "GET", "/rest/search/v2?organizationId=globex", "", 404, unknown},
		{"another spelling", "GET", "/rest/search/v2?organizationid=globex", "", 404, unknown},
		{"two organizations", "GET", "/rest/search/v2?organizationId=acme&organizationId=globex", "", 404, unknown},
		{"another organization's org", "GET", "/rest/search/v2?org=globex", "", 404, unknown},
		{"method", "DELETE", "/rest/search/v2", "", 405, `"statusCode":405`},
		{"unknown path", "GET", "/rest/search/v9", "", 404, `"type":"NotFoundException"`},
		{"root", "GET", "/", "", 404, `"statusCode":404`},
	})
}

func TestEveryOperationChecksTokenAndOrganization(t *testing.T) {
	p := New(Config{})
	valid, rejected := p.IssueToken(user(alice)), p.IssueToken(user(alice))
	p.Reject(rejected)
	for _, o := range p.router.operations {
		t.Run(o.path, func(t *testing.T) {
			own := strings.NewReplacer("{organization}", "acme", "{", "", "}", "").Replace(o.path)
			other := strings.Replace(own, "/acme/", "/globex/", 1)
			if other == own {
				other += "?organizationId=globex"
			}
			testCalls(t, p, "", []callTest{{"no token", "POST", own, "{}", 401, `"type":"InvalidTokenException"`}})
			testCalls(t, p, rejected, []callTest{{"rejected", "POST", own, "{}", 419, `"type":"ExpiredTokenException"`}})
			testCalls(t, p, valid, []callTest{
				{"another organization", "POST", other, "{}", 404, `"type":"OrganizationNotFoundException"`},
				{"method", "PUT", own, "{}", 405, `"statusCode":405`},
			})
			for _, r := range p.Requests() {
				if r.Kind != o.kind {
					t.Errorf("got kind %q of %s, want %q", r.Kind, r.Path, o.kind)
				}
			}
			p.ResetRequests()
		})
	}
}

func TestFormNamesTheOrganization(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	for _, tc := range []struct {
		name, target, contentType, form string
		status                          int
	}{
		{"own", "/rest/search/v2", "application/x-www-form-urlencoded", "organizationId=acme&q=", 200},
		{"another", "/rest/search/v2", "application/x-www-form-urlencoded; charset=UTF-8", "organizationId=globex", 404},
		{"another spelling", "/rest/search/v2", "application/x-www-form-urlencoded", "organizationid=globex", 404},
		{"another, in analytics", "/rest/ua/v15/analytics/click", "application/x-www-form-urlencoded", "org=globex", 404},
		{"not a form", "/rest/ua/v15/analytics/click", "text/plain", "org=globex", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, "POST", tc.target, tc.form,
				"Authorization", "Bearer "+token, "Content-Type", tc.contentType)
			if resp.StatusCode != tc.status {
				t.Errorf("got status %d and %s, want %d", resp.StatusCode, b, tc.status)
			}
		})
	}
}

func TestMatchPath(t *testing.T) {
	const pattern = "/rest/{organization}/configs/{id}"
	for _, tc := range []struct {
		path, pattern string
		want          map[string]string // nil: no match
	}{
		{"/rest/search/v2", "/rest/search/v2", map[string]string{}},
		{"/rest/acme/configs/1", pattern, map[string]string{"organization": "acme", "id": "1"}},
		{"/rest/acme/configs/{id}", pattern, map[string]string{"organization": "acme", "id": "{id}"}},
		{"/rest/acme/configs/", pattern, nil},
		{"/rest//configs/1", pattern, nil},
		{"/rest/acme/config/1", pattern, nil},
		{"/rest/acme/configs/1/2", pattern, nil},
		{"/rest/acme/configs", pattern, nil},
		{"", pattern, nil},
	} {
		t.Run(tc.path, func(t *testing.T) {
			values, ok := matchPath(tc.path, tc.pattern)
			if diff := cmp.Diff(tc.want, values); diff != "" || ok != (tc.want != nil) {
				t.Errorf("got ok %v; values (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestTokenOf(t *testing.T) {
	for _, tc := range []struct {
		name, header, query, want string
	}{
		{"none", "", "", ""},
		{"header", "Bearer a", "", "a"},
		{"scheme in another case", "bearer  a ", "", "a"},
		{"another scheme", "Basic a", "", ""},
		{"query", "", "b", "b"},
		{"header first", "Bearer a", "b", "a"},
		{"another scheme and query", "Basic a", "b", "b"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := http.NewRequest("GET", endpoint+query("access_token", tc.query), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", tc.header)
			if got := tokenOf(r); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPagesOfEveryOriginMayCall(t *testing.T) {
	const origin = "https://www.example.com"
	preflight := []string{
		"Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type",
	}
	for _, tc := range []struct {
		name, method string
		headers      []string // of the request, in pairs
		status       int
		want         http.Header
	}{
		{"preflight", "OPTIONS", preflight, 204, http.Header{
			"Access-Control-Allow-Origin":      {origin},
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Allow-Methods":     {"GET, POST, OPTIONS"},
			"Access-Control-Allow-Headers":     {"authorization,content-type"},
			"Access-Control-Expose-Headers":    {"X-Request-ID, X-Answer-Id"},
			"Vary":                             {"Origin"},
		}},
		{"preflight without headers", "OPTIONS", []string{"Origin", origin}, 204, http.Header{
			"Access-Control-Allow-Origin":      {origin},
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Allow-Methods":     {"GET, POST, OPTIONS"},
			"Access-Control-Expose-Headers":    {"X-Request-ID, X-Answer-Id"},
			"Vary":                             {"Origin"},
		}},
		{"error", "GET", []string{"Origin", origin}, 401, http.Header{
			"Access-Control-Allow-Origin":      {origin},
			"Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Expose-Headers":    {"X-Request-ID, X-Answer-Id"},
			"Vary":                             {"Origin"},
		}},
		{"no origin", "GET", nil, 401, http.Header{"Vary": {"Origin"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, _ := send(t, New(Config{}), tc.method, "/rest/search/v2", "", tc.headers...)
			got := http.Header{}
			for name, values := range resp.Header {
				if strings.HasPrefix(name, "Access-Control-") || name == "Vary" {
					got[name] = values
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" || resp.StatusCode != tc.status {
				t.Errorf("got status %d, want %d; headers (-want +got):\n%s", resp.StatusCode, tc.status, diff)
			}
		})
	}
}
