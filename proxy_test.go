package searchtoken_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

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
		return nil, fmt.Errorf("connection refused for ann@example.com at %v", r.URL)
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
		{"escaped prefix", "POST", "/caf%C3%A9/rest/search/v2", ownHost + "/rest/search/v2", searchtoken.Route{ProxyURL: "/café"}},
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

func TestProxyForwardsNothingElse(t *testing.T) {
	for _, tt := range []struct{ name, method, path string }{
		{"token call", "POST", "/coveo/rest/search/v2/token"},
		{"another spelling of the token call", "POST", "/coveo/rest/search/token"},
		{"login", "GET", "/coveo/rest/search/v2/login/x"},
		{"administration", "GET", "/coveo/rest/organizations/acme/sources"},
		{"another method", "PUT", "/coveo/rest/search/v2"},
		{"method in lower case", "post", "/coveo/rest/search/v2"},
		{"HEAD", "HEAD", "/coveo/rest/search/v2"},
		{"another organization", "POST", "/coveo/rest/organizations/other/commerce/v2/search"},
		{"organization in upper case", "POST", "/coveo/rest/organizations/ACME/commerce/v2/search"},
		{"upper case", "POST", "/coveo/rest/search/v2/QUERYSUGGEST"},
		{"slash at the end", "POST", "/coveo/rest/search/v2/"},
		{"empty segment", "POST", "/coveo/rest//search/v2"},
		{"dots", "POST", "/coveo/rest/search/v2/../v2"},
		{"escaped dots", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/%2e%2e"},
		{"escaped slash", "POST", "/coveo/rest/search%2fv2"},
		{"escaped slash in an ID", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/a%2Fb"},
		{"escape in an escape", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/a%252Fb"},
		{"backslash in an ID", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/a%5Cb"},
		{"control character in an ID", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/a%0Ab"},
		{"empty ID", "GET", "/coveo/rest/organizations/acme/machinelearning/streaming/"},
		{"escaped letter", "POST", "/coveo/rest/searc%68/v2"},
		{"escaped organization", "POST", "/coveo/rest/organizations/acm%65/commerce/v2/search"},
		{"matrix parameter", "POST", "/coveo/rest/search/v2;x=1"},
		{"operation after another path", "POST", "/coveo/rest/admin/rest/search/v2"},
		{"operation after the prefix", "POST", "/coveo/x/rest/search/v2"},
		{"empty segment in front", "POST", "//coveo/rest/search/v2"},
		{"empty segment in another prefix", "POST", "/other//rest/search/v2"},
		{"dots in another prefix", "POST", "/other/../rest/search/v2"},
		{"dot in another prefix", "POST", "/other/./rest/search/v2"},
		{"escaped dots in another prefix", "POST", "/other/%2e%2e/rest/search/v2"},
		{"escaped slash in another prefix", "POST", "/other%2fx/rest/search/v2"},
		{"escape in an escape in another prefix", "POST", "/other%252fx/rest/search/v2"},
		{"matrix parameter in another prefix", "POST", "/other;x/rest/search/v2"},
		{"backslash in another prefix", "POST", "/other%5c/rest/search/v2"},
		{"placeholder", "POST", "/coveo/rest/organizations/{org}/commerce/v2/search"},
		{"nothing", "POST", "/coveo/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{}
			r := proxyCall("POST", "/", "application/json", "{}")
			r.Method = tt.method
			r.URL = &url.URL{Path: tt.path}
			if path, err := url.PathUnescape(tt.path); err == nil {
				r.URL = &url.URL{Path: path, RawPath: tt.path}
			}
			w := u.proxied(t, searchtoken.Config{Route: searchtoken.Route{ProxyURL: "/coveo"}}, r)
			if w.Code != 404 || u.got != nil {
				t.Errorf("status %d, Coveo got %+v, want 404 and nothing", w.Code, u.got)
			}
		})
	}
}

func TestProxySendsNothingOfTheBrowserThatCoveoNeedNotKnow(t *testing.T) {
	u := &upstream{}
	r := query()
	for name, value := range map[string]string{
		"Accept": "*/*", "Accept-Encoding": "br", "Accept-Language": "fr", "User-Agent": "Browser",
		"Cookie": "session=secret", "Referer": "https://example.com/?q=secret", "Origin": "http://example.com",
		"Authorization": "Bearer proxied", "Forwarded": "for=1.2.3.4", "X-Forwarded-For": "1.2.3.4",
		"X-Forwarded-Host": "example.com", "X-Real-Ip": "1.2.3.4", "Via": "x", "Te": "trailers",
		"Connection": "Upgrade", "Upgrade": "websocket", "X-Http-Method-Override": "DELETE",
		"Content-Encoding": "gzip", "Range": "bytes=0-1", "If-None-Match": "x",
	} {
		r.Header.Set(name, value)
	}
	r.RemoteAddr = "192.0.2.7:1234"
	if w := u.proxied(t, searchtoken.Config{}, r); w.Code != 200 {
		t.Fatalf("status %d", w.Code)
	}
	want := []sent{{
		Method: "POST", URL: ownHost + "/rest/search/v2?organizationId=acme", Body: `{"q":"x"}`,
		Header: http.Header{
			"Accept": {"*/*"}, "Accept-Encoding": {"br"}, "Accept-Language": {"fr"}, "User-Agent": {"Browser"},
			"Content-Type": {"application/json"}, "X-Forwarded-For": {"192.0.2.7"}, "Idempotency-Key": nil,
			"Authorization": {"Bearer " + u.bearer()},
		},
	}}
	if diff := cmp.Diff(want, u.got); diff != "" || nameOf(u.bearer()) != "ann 1" {
		t.Errorf("Coveo gets the token %s and (-want +got):\n%s", nameOf(u.bearer()), diff)
	}
}

// bearer is the token of the last request that u got.
func (u *upstream) bearer() string {
	return strings.TrimPrefix(u.got[len(u.got)-1].Header.Get("Authorization"), "Bearer ")
}

func TestProxySendsTheAddressOfTheVisitor(t *testing.T) {
	clientIP := func(address string) func(*http.Request) string {
		return func(*http.Request) string { return address }
	}
	for _, tt := range []struct {
		name, remote string
		clientIP     func(*http.Request) string
		want         []string
	}{
		{"IPv4", "192.0.2.7:1", nil, []string{"192.0.2.7"}},
		{"IPv6", "[2001:db8::1%eth0]:1", nil, []string{"2001:db8::1"}},
		{"IPv4 in IPv6", "[::ffff:192.0.2.7]:1", nil, []string{"192.0.2.7"}},
		{"socket without an address", "@", nil, nil},
		{"set by a middleware", "192.0.2.7", nil, []string{"192.0.2.7"}},
		{"IPv6, set by a middleware", "2001:db8::7", nil, []string{"2001:db8::7"}},
		{"ClientIP", "192.0.2.7:1", clientIP("198.51.100.1"), []string{"198.51.100.1"}},
		{"ClientIP returns a list", "192.0.2.7:1", clientIP("198.51.100.1, 10.0.0.1"), nil},
		{"ClientIP returns a header's end", "192.0.2.7:1", clientIP("x\r\nCookie: a"), nil},
		{"ClientIP does not know", "192.0.2.7:1", clientIP(""), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, r := &upstream{}, query()
			r.RemoteAddr = tt.remote
			u.proxied(t, searchtoken.Config{Route: searchtoken.Route{ClientIP: tt.clientIP}}, r)
			if diff := cmp.Diff(tt.want, u.got[0].Header["X-Forwarded-For"]); diff != "" {
				t.Errorf("X-Forwarded-For (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProxyMakesParametersTheUsersOwn(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		name, query, contentType, body string
		status                         int
		wantQuery, wantBody            string
	}{
		{"nothing to change", "organizationId=acme&visitor=1", "application/json", `{"org":"x"}`, 200, "organizationId=acme&visitor=1", `{"org":"x"}`},
		{"token in the query", "access_token=proxied&q=x", "", "", 200, "q=x", ""},
		{"token in upper case", "ACCESS_TOKEN=proxied&q=x", "", "", 200, "q=x", ""},
		{"script as an answer", "callback=alert&errorsAsSuccess=1&q=x", "", "", 200, "q=x", ""},
		{"another organization", "organizationId=other", "", "", 403, "", ""},
		{"another organization of analytics", "org=other", "", "", 403, "", ""},
		{"two organizations", "organizationId=acme&organizationId=other", "", "", 403, "", ""},
		{"the same organization twice", "organizationId=acme&organizationId=acme", "", "", 200, "organizationId=acme", ""},
		{"another organization in upper case", "ORGANIZATIONID=other", "", "", 403, "", ""},
		{"semicolon", "q=x;access_token=y", "", "", 400, "", ""},
		{"broken escape", "q=%zz", "", "", 400, "", ""},
		{"form", "", form, "q=a+b&access_token=proxied&callback=x&organizationId=acme", 200, "", "organizationId=acme&q=a+b"},
		{"form with a charset", "", form + "; charset=UTF-8", "q=%C3%A9&access_token=proxied", 200, "", "q=%C3%A9"},
		{"form of another organization", "", form, "organizationId=other", 403, "", ""},
		{"broken form", "", form, "q=%zz", 400, "", ""},
		{"beacon", "", "text/plain;charset=UTF-8", "{}", 200, "", "{}"},
		{"parts of a form", "", "multipart/form-data; boundary=x", "--x", 415, "", ""},
		{"body without a type", "", "", "x", 415, "", ""},
		{"longest body", "", "application/json", strings.Repeat("x", 1<<20), 200, "", strings.Repeat("x", 1<<20)},
		{"body that is too long", "", "application/json", strings.Repeat("x", 1<<20+1), 413, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{}
			r := proxyCall("POST", "/coveo/rest/search/v2?"+tt.query, tt.contentType, tt.body)
			if w := u.proxied(t, searchtoken.Config{}, r); w.Code != tt.status {
				t.Fatalf("status %d, want %d", w.Code, tt.status)
			}
			if tt.status != 200 {
				if u.got != nil {
					t.Errorf("Coveo got %+v", u.got)
				}
				return
			}
			_, query, _ := strings.Cut(u.got[0].URL, "?")
			if query != tt.wantQuery || u.got[0].Body != tt.wantBody {
				t.Errorf("query %q and body %.100q, want %q and %.100q", query, u.got[0].Body, tt.wantQuery, tt.wantBody)
			}
		})
	}
}

func TestProxySendsAFormThatAMiddlewareHasParsed(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"form", "q=a+b&q=c&access_token=proxied", 200, "q=a+b&q=c"},
		{"empty form", "", 200, ""},
		{"form of another organization", "organizationId=other", 403, ""},
		{"form that is too long", "q=" + strings.Repeat("x", 1<<20), 413, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{}
			r := proxyCall("POST", "/coveo/rest/search/v2?visitor=1", "application/x-www-form-urlencoded", tt.body)
			r.FormValue("_method")
			w := u.proxied(t, searchtoken.Config{}, r)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d", w.Code, tt.status)
			}
			if tt.status == 200 && (u.got[0].Body != tt.want || !strings.HasSuffix(u.got[0].URL, "?visitor=1")) {
				t.Errorf("Coveo got %s with the body %q, want %q", u.got[0].URL, u.got[0].Body, tt.want)
			}
		})
	}
}

// closedBody is a body that a handler has closed.
type closedBody struct{}

func (closedBody) Read([]byte) (int, error) { return 0, http.ErrBodyReadAfterClose }
func (closedBody) Close() error             { return nil }

func TestProxyNoticesThatAMiddlewareHasReadTheBody(t *testing.T) {
	const json, form = "application/json", "application/x-www-form-urlencoded"
	read := func(r *http.Request) { io.Copy(io.Discard, r.Body) }
	type result struct {
		Status  int
		Body    string // that Coveo got
		Outcome searchtoken.Outcome
	}
	refused, sent := result{500, "", "error"}, func(body string) result { return result{200, body, "ok"} }
	for _, tt := range []struct {
		name, contentType, body string
		before                  func(r *http.Request)
		want                    result
	}{
		{"read", json, `{"q":"x"}`, read, refused},
		{"closed", json, `{"q":"x"}`, func(r *http.Request) { r.Body = closedBody{} }, refused},
		{"closed, of unknown length", json, "", func(r *http.Request) { r.Body, r.ContentLength = closedBody{}, -1 }, refused},
		{"removed", json, `{"q":"x"}`, func(r *http.Request) { r.Body = http.NoBody }, refused},
		{"form that was read", form, "q=x", read, refused},
		{"JSON that was read after a look for a form", json, "{}", func(r *http.Request) { r.FormValue("q"); read(r) }, refused},
		{"JSON after a look for a form", json, "{}", func(r *http.Request) { r.FormValue("q") }, sent("{}")},
		{"form that was closed after it was parsed", form, "q=x", func(r *http.Request) { r.FormValue("q"); r.Body = closedBody{} }, sent("q=x")},
		{"read and put back", json, "{}", func(r *http.Request) { read(r); r.Body = io.NopCloser(strings.NewReader("{}")) }, sent("{}")},
		{"empty", json, "", read, sent("")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var events events
			var log logLines
			u, r := &upstream{}, proxyCall("POST", "/coveo/rest/search/v2", tt.contentType, tt.body)
			tt.before(r)
			w := u.proxied(t, searchtoken.Config{Observe: events.observe, Logger: log.logger()}, r)
			seen := events.takeAll()
			got := result{w.Code, "", seen[len(seen)-1].Outcome}
			if len(u.got) > 0 {
				got.Body = u.got[0].Body
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer and what Coveo got (-want +got):\n%s", diff)
			}
			const reason = "a handler before this one has read the body"
			logged := slices.ContainsFunc(log.take(), func(line string) bool { return strings.Contains(line, reason) })
			if failed := tt.want == refused; strings.Contains(w.Body.String(), reason) != failed || logged != failed {
				t.Errorf("answer %s, logged %v, want the reason: %v", w.Body, logged, failed)
			}
		})
	}
}

func TestProxySendsNoBodyWithAGet(t *testing.T) {
	u := &upstream{}
	u.proxied(t, searchtoken.Config{}, proxyCall("GET", "/coveo/rest/search/v2/fields", "application/json", "body"))
	if got := u.got[0]; got.Body != "" {
		t.Errorf("Coveo got the body %q", got.Body)
	}
}

func TestProxyAnswersPagesOfTheSiteOnly(t *testing.T) {
	const preview, search = "/coveo/rest/search/v2/html", "/coveo/rest/search/v2"
	for _, tt := range []struct {
		name, method, path          string
		site, dest, origin, referer string
		want                        int
	}{
		{"query by script", "POST", search, "same-origin", "empty", "http://example.com", "", 200},
		{"query by GET", "GET", search, "same-origin", "empty", "", "", 200},
		{"query of another site", "POST", search, "cross-site", "empty", "https://evil.example", "", 403},
		{"query of another site by GET", "GET", search, "cross-site", "empty", "", "", 403},
		{"query of a sister site", "POST", search, "same-site", "empty", "https://sister.example.com", "", 403},
		{"query typed by the visitor", "GET", search, "none", "document", "", "", 403},
		{"query without a destination, typed by the visitor", "GET", search, "none", "", "", "", 403},
		{"query as a page", "GET", search, "same-origin", "document", "", "", 403},
		{"query in a frame", "GET", search, "same-origin", "iframe", "", "", 403},
		{"query as a script", "GET", search, "same-origin", "script", "", "", 403},
		{"query as a picture", "GET", search, "same-origin", "image", "", "", 403},
		{"query of a trusted origin", "POST", search, "cross-site", "empty", "https://app.example.com", "", 200},
		{"query of a trusted origin by GET", "GET", search, "cross-site", "empty", "https://app.example.com", "", 200},
		{"query of no origin", "POST", search, "cross-site", "empty", "null", "", 403},
		{"preview in a frame", "GET", preview, "same-origin", "iframe", "", "", 200},
		{"preview in a frame of another site", "GET", preview, "cross-site", "iframe", "", "", 403},
		{"preview in a tab", "GET", preview, "none", "document", "", "", 200},
		{"preview by script", "POST", preview, "same-origin", "empty", "", "", 200},
		{"preview as a script", "GET", preview, "same-origin", "script", "", "", 403},
		{"preview as a style sheet", "GET", preview, "same-origin", "style", "", "", 403},
		{"preview as an object", "GET", preview, "same-origin", "object", "", "", 403},
		{"preview as an embedded document", "GET", preview, "same-origin", "embed", "", "", 403},
		{"plain http", "GET", search, "", "", "", "", 200},
		{"plain http, own page", "GET", search, "", "", "", "http://example.com/search", 200},
		{"plain http, page of another site", "GET", search, "", "", "", "http://evil.example/", 403},
		{"plain http, query as a page", "GET", search, "", "navigation", "", "", 403},
		{"plain http, preview as a page", "GET", preview, "", "navigation", "", "", 200},
		{"plain http, preview as a page of another site", "GET", preview, "", "navigation", "", "http://evil.example/", 403},
		{"plain http, post", "POST", search, "", "", "http://example.com", "", 200},
		{"plain http, post of another site", "POST", search, "", "", "http://evil.example", "", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{}
			r := httptest.NewRequest(tt.method, tt.path, nil)
			for name, value := range map[string]string{
				"User": "ann", "Sec-Fetch-Site": tt.site, "Sec-Fetch-Dest": tt.dest, "Origin": tt.origin, "Referer": tt.referer,
			} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			if tt.dest == "navigation" { // without a name on plain http
				r.Header.Del("Sec-Fetch-Dest")
				r.Header.Set("Upgrade-Insecure-Requests", "1")
			}
			w := u.proxied(t, searchtoken.Config{Route: searchtoken.Route{TrustedOrigins: []string{"https://app.example.com"}}}, r)
			if w.Code != tt.want || len(u.got) > 0 != (tt.want == 200) {
				t.Errorf("status %d, Coveo got %d requests, want status %d", w.Code, len(u.got), tt.want)
			}
		})
	}
}

func TestProxyPassesOnOnlyWhatAPageNeeds(t *testing.T) {
	const strict = "sandbox; default-src 'none'"
	header := func(contentType, policy string) http.Header {
		return http.Header{
			"Cache-Control": {"private, no-store"}, "Vary": {"Cookie"}, "X-Content-Type-Options": {"nosniff"},
			"Content-Security-Policy": {policy}, "Content-Type": {contentType}, "X-Answer-Id": {"1"}, "X-Request-Id": {"2"},
			"Content-Encoding": {"br"}, "Content-Language": {"fr"},
		}
	}
	unbuffered := header("text/event-stream", strict)
	unbuffered.Set("X-Accel-Buffering", "no")
	for _, tt := range []struct {
		name, method, path, contentType string
		want                            http.Header
	}{
		{"JSON", "POST", "/rest/search/v2", "application/json", header("application/json", strict)},
		{
			"preview", "GET", "/rest/search/v2/html", "text/html; charset=utf-16",
			header("text/html; charset=utf-16", strict+"; img-src https: data:; style-src 'unsafe-inline'"),
		},
		{
			"stream", "GET", "/rest/organizations/acme/machinelearning/streaming/1", "text/event-stream",
			unbuffered,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{answer: func(*http.Request, int) *http.Response {
				resp := reply(200, tt.contentType, "<script>")
				for name, value := range map[string]string{
					"X-Answer-Id": "1", "X-Request-Id": "2", "Content-Encoding": "br", "Content-Language": "fr",
					"Set-Cookie": "a=b", "Clear-Site-Data": "*", "Refresh": "0; url=https://evil.example", "Location": "/",
					"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true", "Link": "</x>; rel=preload",
					"Content-Security-Policy": "default-src *", "Cache-Control": "public, max-age=9", "Expires": "0",
					"Strict-Transport-Security": "max-age=0", "X-Frame-Options": "DENY", "Service-Worker-Allowed": "/",
					"Vary": "Origin", "Www-Authenticate": "Basic", "Set-Login": "logged-in", "Nel": "{}", "Report-To": "{}",
				} {
					resp.Header.Set(name, value)
				}
				return resp
			}}
			w := u.proxied(t, searchtoken.Config{}, proxyCall(tt.method, tt.path, "", ""))
			if diff := cmp.Diff(tt.want, w.Header()); diff != "" || w.Body.String() != "<script>" {
				t.Errorf("body %q, header (-want +got):\n%s", w.Body, diff)
			}
		})
	}
}

func TestProxyAnswersInCoveosShape(t *testing.T) {
	status := func(status int, header ...string) func(*http.Request, int) *http.Response {
		return func(*http.Request, int) *http.Response {
			resp := reply(status, "text/html", "ann@example.com")
			for i := 0; i < len(header); i += 2 {
				resp.Header.Set(header[i], header[i+1])
			}
			return resp
		}
	}
	nobody := query()
	nobody.Header.Del("User")
	refuse := func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Identity{}, errApplication }
	type result struct {
		Status              int
		Body, RetryAfter    string
		Outcome             searchtoken.Outcome
		ContentType, Policy string
	}
	const strict, json = "sandbox; default-src 'none'", "application/json"
	ours := func(status int, kind, message, retryAfter string, outcome searchtoken.Outcome) result {
		body := fmt.Sprintf(`{"statusCode":%d,"type":%q,"message":%q}`+"\n", status, kind, message)
		return result{status, body, retryAfter, outcome, json, strict}
	}
	for _, tt := range []struct {
		name   string
		answer func(*http.Request, int) *http.Response
		cfg    searchtoken.Config
		call   *http.Request
		want   result
	}{
		{name: "nobody is logged in", call: nobody, want: ours(401, "Unauthorized", "Unauthorized", "", "no_identity")},
		{name: "Identify fails", cfg: searchtoken.Config{Identify: refuse}, want: ours(500, "InternalServerError", "Internal Server Error", "", "error")},
		{
			name: "no token", cfg: searchtoken.Config{Issuer: failing(503)},
			want: ours(503, "ServiceUnavailable", "Service Unavailable", "300", "unavailable"),
		},
		{
			name: "Coveo refuses the token", cfg: searchtoken.Config{Issuer: failing(403)},
			want: ours(502, "BadGateway", "Bad Gateway", "300", "refused"),
		},
		{
			name: "no connection", answer: func(*http.Request, int) *http.Response { return nil },
			want: ours(503, "ServiceUnavailable", "Coveo could not be reached", "1", "unavailable"),
		},
		{name: "500", answer: status(500), want: ours(503, "ServiceUnavailable", "Service Unavailable", "1", "unavailable")},
		{
			name: "503", answer: status(503, "Retry-After", "7"),
			want: ours(503, "ServiceUnavailable", "Service Unavailable", "7", "unavailable"),
		},
		{name: "403", answer: status(403), want: ours(502, "BadGateway", "Bad Gateway", "", "refused")},
		{name: "401 always", answer: status(401), want: ours(502, "BadGateway", "Coveo rejects the token", "", "refused")},
		{name: "419 always", answer: status(419), want: ours(502, "BadGateway", "Coveo rejects the token", "", "refused")},
		{name: "redirect", answer: status(302, "Location", "https://evil.example"), want: ours(502, "BadGateway", "Bad Gateway", "", "refused")},
		{name: "switch of protocols", answer: status(101), want: ours(502, "BadGateway", "Bad Gateway", "", "refused")},
		{name: "404", answer: status(404), want: result{404, "ann@example.com", "", "refused", "text/html", strict}},
		{name: "422", answer: status(422), want: result{422, "ann@example.com", "", "refused", "text/html", strict}},
		{name: "400", answer: status(400), want: result{400, "ann@example.com", "", "refused", "text/html", strict}},
		{name: "429", answer: status(429, "Retry-After", "9"), want: result{429, "ann@example.com", "9", "unavailable", "text/html", strict}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.call == nil {
				tt.call = query()
			}
			var events events
			tt.cfg.Observe = events.observe
			w := (&upstream{answer: tt.answer}).proxied(t, tt.cfg, tt.call)
			got := result{
				w.Code, w.Body.String(), w.Header().Get("Retry-After"), "",
				w.Header().Get("Content-Type"), w.Header().Get("Content-Security-Policy"),
			}
			for _, event := range events.takeAll() {
				if event.Kind == searchtoken.EventProxy {
					got.Outcome = event.Outcome
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// zipped returns text, compressed by gzip.
func zipped(text string) string {
	var b strings.Builder
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func TestProxyShowsNoTokenThatAnErrorRepeats(t *testing.T) {
	const search = "/coveo/rest/search/v2"
	plain := func(text string) string { return text }
	for _, tt := range []struct {
		name, method, path string
		rejected           int // calls before the error
		status             int
		encoding           string
		encode             func(string) string
		message            string // of the error; TOKEN is the token of the call
		passed             bool
	}{
		{"another error", "POST", search, 0, 400, "", plain, "bad query", true},
		{"another error in gzip", "POST", search, 0, 422, "gzip", zipped, "bad query", true},
		{"nothing", "POST", search, 0, 404, "", plain, "", true},
		{"header", "POST", search, 0, 400, "", plain, "Authorization: Bearer TOKEN", false},
		{"header in gzip", "POST", search, 0, 400, "gzip", zipped, "Bearer TOKEN", false},
		{"after a renewal", "POST", search, 1, 404, "", plain, "Bearer TOKEN", false},
		{"too many calls", "POST", search, 0, 429, "", plain, "Bearer TOKEN", false},
		{"event", "POST", "/coveo/rest/v15/analytics/search", 0, 400, "", plain, "Bearer TOKEN", false},
		{"stream", "GET", streaming, 0, 404, "", plain, "Bearer TOKEN", false},
		{"far behind", "POST", search, 0, 400, "", plain, strings.Repeat(" ", 1<<20-1000) + "TOKEN", false},
		{"too long to look", "POST", search, 0, 400, "", plain, strings.Repeat(" ", 1<<20+1), false},
		{"too long in gzip", "POST", search, 0, 400, "gzip", zipped, strings.Repeat(" ", 1<<20+1), false},
		{"unknown encoding", "POST", search, 0, 400, "br", plain, "?", false},
		{"two encodings", "POST", search, 0, 400, "gzip, gzip", zipped, "?", false},
		{"broken gzip", "POST", search, 0, 400, "gzip", plain, "?", false},
		{"gzip that is cut off", "POST", search, 0, 400, "gzip", func(s string) string { return zipped(s)[:15] }, "Bearer TOKEN", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &upstream{}
			var body string
			u.answer = func(r *http.Request, n int) *http.Response {
				if n <= tt.rejected {
					return reply(401, "application/json", "{}")
				}
				body = tt.encode(strings.ReplaceAll(tt.message, "TOKEN", u.bearer()))
				resp := reply(tt.status, "application/json", body)
				resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
				resp.Header.Set("Retry-After", "7")
				if tt.encoding != "" {
					resp.Header.Set("Content-Encoding", tt.encoding)
				}
				return resp
			}
			var log logLines
			w := u.proxied(t, searchtoken.Config{Logger: log.logger()}, proxyCall(tt.method, tt.path, "application/json", ""))
			want := http.Header{"Content-Encoding": {tt.encoding}, "Content-Length": {fmt.Sprint(len(body))}}
			if tt.encoding == "" {
				delete(want, "Content-Encoding")
			}
			if !tt.passed {
				const message = "the error of Coveo is not shown, because it may contain the token"
				body = fmt.Sprintf(`{"statusCode":%d,"type":%q,"message":%q}`+"\n",
					tt.status, strings.ReplaceAll(http.StatusText(tt.status), " ", ""), message)
				want = http.Header{}
				if line := log.take(); !strings.Contains(line[len(line)-1], message+": Coveo answered") {
					t.Errorf("log lines %q", line)
				}
			}
			got := w.Header()
			maps.DeleteFunc(got, func(name string, _ []string) bool { return !strings.HasPrefix(name, "Content-") })
			delete(got, "Content-Type")
			delete(got, "Content-Security-Policy")
			if diff := cmp.Diff(want, got); diff != "" || w.Code != tt.status || w.Body.String() != body {
				t.Errorf("status %d, body %.200q, header (-want +got):\n%s", w.Code, w.Body, diff)
			}
		})
	}
}

// failing returns an Issuer that Coveo answers with a status and the longest
// Retry-After.
func failing(status int) *issuer {
	i := &issuer{}
	i.fail(&searchtoken.APIError{StatusCode: status, RetryAfter: 5 * time.Minute})
	return i
}

// TestProxyPassesNoPartOfAnErrorOn has errors of Coveo that end before their
// end, or never.
func TestProxyPassesNoPartOfAnErrorOn(t *testing.T) {
	for _, tt := range []struct {
		name   string
		body   func(r *http.Request) io.Reader
		status int
	}{
		{"Coveo breaks off", func(*http.Request) io.Reader { return brokenReader{} }, 502},
		{"Coveo stalls", func(r *http.Request) io.Reader { return hanging("")(r, 1).Body }, 504},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{answer: func(r *http.Request, _ int) *http.Response {
					resp := reply(404, "application/json", "")
					resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"message":"`), tt.body(r)))
					return resp
				}}
				w := u.proxied(t, searchtoken.Config{}, query())
				if w.Code != tt.status || strings.Contains(w.Body.String(), "token") {
					t.Errorf("status %d, body %s, want %d", w.Code, w.Body, tt.status)
				}
			})
		})
	}
}

// unreadBody is a body that must not be read.
type unreadBody struct{ *testing.T }

func (b unreadBody) Read([]byte) (int, error) {
	b.Error("the body is read")
	return 0, io.EOF
}

func TestProxyKeepsNoBodyInMemoryWithoutAToken(t *testing.T) {
	u, r := &upstream{}, query()
	r.Body = io.NopCloser(unreadBody{t})
	if w := u.proxied(t, searchtoken.Config{Issuer: failing(503)}, r); w.Code != 503 {
		t.Errorf("status %d, want 503", w.Code)
	}
}

func TestProxyRenewsARejectedToken(t *testing.T) {
	const rejected = `{"message":"The provided token is not a valid token.","type":"InvalidToken"}`
	for _, tt := range []struct {
		name, path string
		upstream   *upstream
		want       []string
		status     int
	}{
		{"401 once", "/coveo/rest/search/v2", rejecting(1, 401, "{}"), []string{"ann 1", "ann 2"}, 200},
		{"419 once", "/coveo/rest/search/v2", rejecting(1, 419, "{}"), []string{"ann 1", "ann 2"}, 200},
		{"419 always", "/coveo/rest/search/v2", rejecting(9, 419, "{}"), []string{"ann 1", "ann 2"}, 502},
		{"InvalidToken once", "/coveo/rest/v15/analytics/search", rejecting(1, 400, rejected), []string{"ann 1", "ann 2"}, 200},
		{"InvalidToken always", "/coveo/rest/v15/analytics/search", rejecting(9, 400, rejected), []string{"ann 1", "ann 2"}, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := tt.upstream.proxied(t, searchtoken.Config{}, proxyCall("POST", tt.path, "application/json", "{}"))
			if diff := cmp.Diff(tt.want, tt.upstream.tokens()); diff != "" || w.Code != tt.status {
				t.Errorf("status %d, want %d; tokens (-want +got):\n%s", w.Code, tt.status, diff)
			}
			for _, s := range tt.upstream.got {
				if s.Body != "{}" {
					t.Errorf("Coveo got the body %q", s.Body)
				}
			}
		})
	}
}

// hanging answers with a body that ends when the caller leaves.
func hanging(contentType string) func(r *http.Request, n int) *http.Response {
	return func(r *http.Request, _ int) *http.Response {
		body, w := io.Pipe()
		context.AfterFunc(r.Context(), func() { w.CloseWithError(context.Cause(r.Context())) })
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {contentType}}, Body: body}
	}
}

// silent is an upstream that never answers.
func silent(r *http.Request, _ int) *http.Response {
	<-r.Context().Done()
	return nil
}

const streaming = "/coveo/rest/organizations/acme/machinelearning/streaming/1"

func TestProxyGivesUpOnASlowCoveo(t *testing.T) {
	type result struct {
		Status  int
		Aborted bool
		Waited  time.Duration
		Outcome string
	}
	for _, tt := range []struct {
		name   string
		answer func(*http.Request, int) *http.Response
		call   func() *http.Request
		leave  time.Duration // 0: the visitor stays
		server any           // nil: not that of net/http, and it may not recover from a panic
		want   result
	}{
		{name: "call", answer: silent, call: query, want: result{504, false, 30 * time.Second, "proxy 504"}},
		{
			name: "body of a call", answer: hanging("application/json"), call: query, server: &http.Server{},
			want: result{200, true, 30 * time.Second, "proxy 504"},
		},
		{
			name: "body of a call in another server", answer: hanging("application/json"), call: query,
			want: result{200, false, 30 * time.Second, "proxy 504"},
		},
		{
			name: "stream", answer: silent, call: func() *http.Request { return proxyCall("GET", streaming, "", "") },
			want: result{504, false, 60 * time.Second, "proxy 504"},
		},
		{
			name: "body of a stream", answer: hanging("text/event-stream"), server: &http.Server{},
			call: func() *http.Request { return proxyCall("GET", streaming, "", "") },
			want: result{200, true, 60 * time.Second, "proxy 504"},
		},
		{
			name: "visitor who leaves a call", answer: silent, call: query, leave: time.Second,
			want: result{503, false, time.Second, "proxy 503"},
		},
		{
			name: "visitor who leaves a stream", answer: hanging("text/event-stream"), leave: time.Second, server: &http.Server{},
			call: func() *http.Request { return proxyCall("GET", streaming, "", "") },
			want: result{200, true, time.Second, "proxy 503"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				u := &upstream{answer: tt.answer}
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}})
				ctx := context.WithValue(h.Context(), http.ServerContextKey, tt.server)
				if tt.leave > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.leave)
					defer cancel()
				}
				r := tt.call().WithContext(ctx)
				w, began := httptest.NewRecorder(), time.Now()
				var got result
				func() {
					defer func() { got.Aborted = recover() == http.ErrAbortHandler }()
					h.middleware.ProxyHandler().ServeHTTP(w, r)
				}()
				got.Status, got.Waited = w.Code, time.Since(began)
				kinds := h.events.take()
				got.Outcome = kinds[len(kinds)-1]
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestProxyPassesEachEventOnAtOnce(t *testing.T) {
	bubble(t, func(h *harness) {
		u := &upstream{answer: func(r *http.Request, _ int) *http.Response {
			body, w := io.Pipe()
			go func() {
				defer w.Close()
				for range 10 { // more than a minute in all, and none of silence
					time.Sleep(59 * time.Second)
					io.WriteString(w, "data: x\n\n")
				}
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body}
		}}
		h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}})
		w := &flushes{ResponseRecorder: httptest.NewRecorder(), began: time.Now()}
		h.middleware.ProxyHandler().ServeHTTP(w, proxyCall("GET", streaming, "", ""))
		var want []string
		for i := range 11 { // the header first
			want = append(want, fmt.Sprintf("%d bytes after %v", i*len("data: x\n\n"), time.Duration(i)*59*time.Second))
		}
		if diff := cmp.Diff(want, w.got); diff != "" {
			t.Errorf("what the browser has seen (-want +got):\n%s", diff)
		}
	})
}

// flushes notes what was written when it is flushed.
type flushes struct {
	*httptest.ResponseRecorder
	began time.Time
	got   []string
}

func (f *flushes) Flush() {
	f.got = append(f.got, fmt.Sprintf("%d bytes after %v", f.Body.Len(), time.Since(f.began)))
}

func TestProxyLimitsCallsAtTheSameTime(t *testing.T) {
	kinds := map[string]func() *http.Request{
		"calls":  query,
		"events": func() *http.Request { return proxyCall("POST", "/coveo/rest/v15/analytics/search", "", "") },
		"streams": func() *http.Request {
			return proxyCall("GET", streaming, "", "")
		},
		"suggestions": func() *http.Request { return proxyCall("POST", "/coveo/rest/search/v2/querySuggest", "", "") },
	}
	type caller struct{ kind, user, address string } // %d in user is the number of the user
	send := func(c caller, number int) *http.Request {
		r := kinds[c.kind]()
		r.Header.Set("User", strings.ReplaceAll(c.user, "%d", fmt.Sprint(number)))
		r.RemoteAddr = c.address
		return r
	}
	const home = "192.0.2.1:1"
	for _, tt := range []struct {
		name        string
		users, held int // so many users have so many calls each that do not end
		by          caller
		caller      caller
		want        int
		wantWait    time.Duration
	}{
		{"free share", 1, 7, caller{"calls", "ann", home}, caller{"calls", "ann", home}, 200, 0},
		{"own share is used up", 1, 8, caller{"calls", "ann", home}, caller{"calls", "ann", home}, 429, time.Second},
		{"another user", 1, 8, caller{"calls", "ann", home}, caller{"calls", "bob", home}, 200, 0},
		{"events while calls hang", 1, 8, caller{"calls", "ann", home}, caller{"events", "ann", home}, 200, 0},
		{"calls while events hang", 1, 8, caller{"events", "ann", home}, caller{"calls", "ann", home}, 200, 0},
		{"own events are used up", 1, 8, caller{"events", "ann", home}, caller{"events", "ann", home}, 429, time.Second},
		{"calls while suggestions hang", 1, 8, caller{"suggestions", "ann", home}, caller{"calls", "ann", home}, 200, 0},
		{
			"own suggestions are used up", 1, 8,
			caller{"suggestions", "ann", home}, caller{"suggestions", "ann", home}, 429, time.Second,
		},
		{"calls while streams hang", 1, 4, caller{"streams", "ann", home}, caller{"calls", "ann", home}, 200, 0},
		{"own streams are used up", 1, 4, caller{"streams", "ann", home}, caller{"streams", "ann", home}, 429, time.Second},
		{"all calls are used up", 8, 8, caller{"calls", "user%d", home}, caller{"calls", "ann", home}, 429, time.Second},
		{"all streams are used up", 64, 4, caller{"streams", "user%d", home}, caller{"streams", "ann", home}, 429, time.Second},
		{"a free stream", 63, 4, caller{"streams", "user%d", home}, caller{"streams", "ann", home}, 200, 0},
		{
			"anonymous visitors with one address", 1, 8,
			caller{"calls", "anonymous", home}, caller{"calls", "anonymous", home}, 429, time.Second,
		},
		{
			"anonymous visitor with another address", 1, 8,
			caller{"calls", "anonymous", home}, caller{"calls", "anonymous", "192.0.2.2:1"}, 200, 0,
		},
		{
			"anonymous visitor with many addresses", 1, 8,
			caller{"calls", "anonymous", "[2001:db8::1]:1"}, caller{"calls", "anonymous", "[2001:db8::2]:1"}, 429, time.Second,
		},
		{
			"user with another address", 1, 8,
			caller{"calls", "ann", home}, caller{"calls", "ann", "192.0.2.2:1"}, 429, time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				holding := true
				ctx, end := context.WithCancel(h.Context())
				u := roundTripper(func(r *http.Request) (*http.Response, error) {
					if holding {
						<-ctx.Done()
					}
					return reply(200, "application/json", "{}"), nil
				})
				h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: u}, MaxInFlight: 1000})
				proxy := h.middleware.ProxyHandler()
				for user := range tt.users {
					for range tt.held {
						h.background(func() { proxy.ServeHTTP(httptest.NewRecorder(), send(tt.by, user)) })
					}
				}
				synctest.Wait()
				holding = false
				w, began := httptest.NewRecorder(), time.Now()
				proxy.ServeHTTP(w, send(tt.caller, 0))
				if waited := time.Since(began); w.Code != tt.want || waited != tt.wantWait {
					t.Errorf("status %d after %v, want %d after %v", w.Code, waited, tt.want, tt.wantWait)
				}
				if after := w.Header().Get("Retry-After"); tt.want == 429 && after != "1" {
					t.Errorf("Retry-After %q, want 1", after)
				}
				end()
				h.wait()
				w = httptest.NewRecorder()
				proxy.ServeHTTP(w, send(tt.caller, 0))
				if w.Code != 200 {
					t.Errorf("status %d after all calls have ended", w.Code)
				}
			})
		})
	}
}

func TestProxyServesAUserWithATokenWhileOthersWaitForTheirs(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return reply(200, "application/json", "{}"), nil
		})}})
		h.get("ann")
		h.issuer.slow(9 * time.Second)
		proxy := h.middleware.ProxyHandler()
		call := func(user string) (status int) {
			r, w := query(), httptest.NewRecorder()
			r.Header.Set("User", user)
			proxy.ServeHTTP(w, r)
			return w.Code
		}
		for i := range 64 {
			h.background(func() { call(fmt.Sprint("user", i)) })
		}
		synctest.Wait()
		began := time.Now()
		if status, waited := call("ann"), time.Since(began); status != 200 || waited != 0 {
			t.Errorf("status %d after %v, want 200 at once", status, waited)
		}
		h.wait()
	})
}

func TestProxyReportsWhatFailsWithoutTheVisitorsWords(t *testing.T) {
	bubble(t, func(h *harness) {
		u := &upstream{answer: func(_ *http.Request, n int) *http.Response {
			switch n {
			case 1:
				return nil // its error names ann@example.com
			case 2:
				return reply(500, "application/json", `{"message":"ann@example.com asked for secret"}`)
			}
			return reply(200, "application/json", "{}")
		}}
		h.configure(searchtoken.Config{
			HTTPClient: &http.Client{Transport: u},
			Identify:   func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Email("ann@example.com"), nil },
			Route:      searchtoken.Route{Name: "search"},
		})
		proxy := func(method, target string) {
			h.middleware.ProxyHandler().ServeHTTP(httptest.NewRecorder(), proxyCall(method, target, "application/json", `{"q":"secret"}`))
		}
		for range 3 { // two failures, then an answer
			proxy("POST", "/coveo/rest/search/v2?q=secret")
		}
		for range 10 {
			proxy("GET", "/coveo/rest/search/v2/token?q=secret")
			proxy("POST", "/coveo/rest/bob@example.com")
		}
		var kinds []string
		for _, kind := range h.events.take() {
			if strings.HasPrefix(kind, "proxy") {
				kinds = append(kinds, kind)
			}
		}
		want := append([]string{"proxy 503", "proxy 503", "proxy"}, slices.Repeat([]string{"proxy 404"}, 20)...)
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		lines := h.log.take()
		if len(lines) != 2 {
			t.Fatalf("log lines:\n%s\nwant one for each status", strings.Join(lines, "\n"))
		}
		for i, operation := range []string{`"POST /rest/search/v2"`, `"GET /coveo/rest/search/v2/token"`} {
			for _, part := range []string{"level=WARN", "route=search", "operation=" + operation} {
				if !strings.Contains(lines[i], part) {
					t.Errorf("log line %s\nlacks %s", lines[i], part)
				}
			}
		}
		for _, line := range lines {
			if strings.Contains(line, "secret") || strings.Contains(line, "@example") {
				t.Errorf("log line %s", line)
			}
		}
		h.elapse(time.Minute)
		proxy("POST", "/coveo/rest/"+strings.Repeat("x/", 140)+"bobby.long.name@example.com") // a log line ends within it
		if lines := h.log.take(); len(lines) != 1 || strings.Contains(lines[0], "bob") {
			t.Errorf("log lines after a minute: %q", lines)
		}
	})
}
