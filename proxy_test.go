package searchtoken_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/searchtoken/searchtoken"
)

// upstream is a fake of Coveo behind a ProxyHandler. It answers by answer, and
// remembers what it got.
type upstream struct {
	answer func(r *http.Request, n int) *http.Response // n counts from 1; nil: 200 and {}
	got    []sent
}

// sent is a request that an upstream got.
type sent struct {
	Method, URL string
	Header      http.Header
	Body        string
}

func (u *upstream) RoundTrip(r *http.Request) (*http.Response, error) {
	got := sent{Method: r.Method, URL: r.URL.String(), Header: r.Header}
	if r.Body != nil {
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		got.Body = string(body)
	}
	u.got = append(u.got, got)
	if u.answer == nil {
		return reply(200, "application/json", "{}"), nil
	}
	resp := u.answer(r, len(u.got))
	if resp == nil {
		return nil, errors.New("connection refused for ann@example.com")
	}
	return resp, nil
}

// reply returns an answer of Coveo.
func reply(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: -1,
	}
}

// proxied has the ProxyHandler of a Middleware with cfg serve r. The handler's
// calls go to u.
func (u *upstream) proxied(t testing.TB, cfg searchtoken.Config, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	cfg.HTTPClient = &http.Client{Transport: u}
	w := httptest.NewRecorder()
	newMiddleware(t, cfg).ProxyHandler().ServeHTTP(w, r)
	return w
}

// proxyCall returns a request of ann's page to a ProxyHandler at /coveo.
func proxyCall(method, target, contentType, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("User", "ann")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-Dest", "empty")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func query() *http.Request {
	return proxyCall("POST", "/coveo/rest/search/v2?organizationId=acme", "application/json", `{"q":"x"}`)
}

const ownHost = "https://acme.org.coveo.com"

func TestProxyForwardsTheOperationsOfTheFrontEnds(t *testing.T) {
	const analytics = "https://acme.analytics.org.coveo.com"
	for _, tt := range []struct {
		name, method, path, want string
		route                    searchtoken.Route
	}{
		{"query", "POST", "/coveo/rest/search/v2", ownHost + "/rest/search/v2", searchtoken.Route{}},
		{"suggestions", "POST", "/coveo/rest/search/v2/querySuggest", ownHost + "/rest/search/v2/querySuggest", searchtoken.Route{}},
		{"preview", "GET", "/coveo/rest/search/v2/html?uniqueId=1", ownHost + "/rest/search/v2/html?uniqueId=1", searchtoken.Route{}},
		{"analytics of JSUI", "POST", "/coveo/rest/ua/v15/analytics/searches", analytics + "/rest/ua/v15/analytics/searches", searchtoken.Route{}},
		{"analytics", "POST", "/coveo/rest/v15/analytics/click", analytics + "/rest/v15/analytics/click", searchtoken.Route{}},
		{
			"events", "POST", "/coveo/rest/organizations/acme/events/v1", analytics + "/rest/organizations/acme/events/v1",
			searchtoken.Route{},
		},
		{
			"generated answer", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/a-1",
			ownHost + "/rest/organizations/acme/machinelearning/streaming/a-1", searchtoken.Route{},
		},
		{
			"agent", "POST", "/coveo/api/preview/organizations/acme/agents/a/follow-up",
			ownHost + "/api/preview/organizations/acme/agents/a/follow-up", searchtoken.Route{},
		},
		{
			"commerce", "POST", "/coveo/rest/organizations/acme/commerce/v2/search/querySuggest",
			ownHost + "/rest/organizations/acme/commerce/v2/search/querySuggest", searchtoken.Route{},
		},
		{"no prefix", "POST", "/rest/search/v2", ownHost + "/rest/search/v2", searchtoken.Route{}},
		{"another prefix", "POST", "/a/b/rest/search/v2", ownHost + "/rest/search/v2", searchtoken.Route{}},
		{
			"prefix that looks like an operation", "POST", "/api/coveo/rest/search/v2", ownHost + "/rest/search/v2",
			searchtoken.Route{ProxyURL: "/api/coveo"},
		},
		{
			"escaped ID", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/a%20b%2Db",
			ownHost + "/rest/organizations/acme/machinelearning/streaming/a%20b-b", searchtoken.Route{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{}
			w := u.proxied(t, searchtoken.Config{Route: tt.route}, proxyCall(tt.method, tt.path, "application/json", "{}"))
			if w.Code != 200 || len(u.got) != 1 || u.got[0].URL != tt.want || u.got[0].Method != tt.method {
				t.Errorf("status %d, Coveo got %+v, want %s", w.Code, u.got, tt.want)
			}
		})
	}
}
