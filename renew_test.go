package searchtoken_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

func TestRenewHandlerAnswersInThePreferredFormat(t *testing.T) {
	const text, json = "text/plain; charset=utf-8", "application/json"
	for _, tt := range []struct {
		name, accept string
		want         string
	}{
		{"nothing", "", json},
		{"JSON", "application/json", json},
		{"text", "text/plain", text},
		{"text in upper case", "TEXT/PLAIN", text},
		{"text above JSON", "application/json;q=0.8, text/plain", text},
		{"JSON above text", "text/plain;q=0.8, application/json", json},
		{"both alike", "application/json, text/plain, */*", json},
		{"text and anything", "text/plain, */*", text},
		{"text of any kind", "text/*, */*;q=0.1", text},
		{"text of any kind, but plain less", "text/*, text/plain;q=0.1, application/json;q=0.5", json},
		{"anything", "*/*", json},
		{"anything except text", "text/plain;q=0, */*", json},
		{"malformed", ";;,text/;q=x", json},
		{"quality above 1", "text/plain;q=1.5, application/json", json},
		{"negative quality", "text/plain;q=-1, application/json;q=0", json},
		{"quality that is not a number", "text/plain;q=NaN, application/json", json},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{})
			page, _ := pageOf(m, request("ann"))
			r := renewal("ann", "")
			r.Header.Set("Accept", tt.accept)
			w := renew(m, r)
			type response struct {
				Status int
				Body   string
				Header http.Header
			}
			body := fmt.Sprintf(`{"token":%q,"expiresAt":%q,"organizationId":"acme","environment":"prod",`+
				`"platformUrl":"https://acme.org.coveo.com","analyticsUrl":"https://acme.analytics.org.coveo.com"}`+"\n",
				page.Token.Value, page.Token.Expiry.UTC().Format(time.RFC3339))
			want := response{200, body, http.Header{
				"Cache-Control": {"private, no-store"}, "Vary": {"Cookie", "Accept"}, "X-Content-Type-Options": {"nosniff"},
				"Content-Type": {tt.want},
			}}
			if tt.want == text {
				want.Body = page.Token.Value
			}
			if diff := cmp.Diff(want, response{w.Code, w.Body.String(), w.Header()}); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenewHandlerRefusesOtherOriginsMethodsAndBodies(t *testing.T) {
	const rejected = `{"rejected":"x"}`
	bodyOf := func(n int) string { return `{"rejected":"` + strings.Repeat("a", n-len(`{"rejected":""}`)) + `"}` }
	for _, tt := range []struct {
		name   string
		method string
		body   string
		header string // "Name: value"
		nobody bool
		want   int
	}{
		{name: "GET without browser", method: "GET", want: 200},
		{name: "GET of the same origin", method: "GET", header: "Sec-Fetch-Site: same-origin", want: 200},
		{name: "GET typed by the user", method: "GET", header: "Sec-Fetch-Site: none", want: 200},
		{name: "GET of the same site", method: "GET", header: "Sec-Fetch-Site: same-site", want: 403},
		{name: "GET of another site", method: "GET", header: "Sec-Fetch-Site: cross-site", want: 403},
		{name: "GET of another origin", method: "GET", header: "Origin: https://evil.example.com", want: 403},
		{name: "GET of the page's origin", method: "GET", header: "Origin: http://example.com", want: 200},
		{name: "GET of the page", method: "GET", header: "Referer: http://example.com/search?q=a", want: 200},
		{name: "GET of the page in upper case", method: "GET", header: "Referer: http://EXAMPLE.com/", want: 200},
		{name: "GET of a page of another host", method: "GET", header: "Referer: http://evil.example.com/", want: 403},
		{name: "GET of a page of a host that ends alike", method: "GET", header: "Referer: http://evilexample.com/", want: 403},
		{name: "GET of a page of a host with this prefix", method: "GET", header: "Referer: http://example.com.evil.com/", want: 403},
		{name: "GET of a page of another port", method: "GET", header: "Referer: http://example.com:8080/", want: 403},
		{name: "GET of a page whose user looks like this host", method: "GET", header: "Referer: http://example.com@evil.com/", want: 403},
		{name: "GET of a page without a host", method: "GET", header: "Referer: about:blank", want: 403},
		{name: "GET of a malformed page", method: "GET", header: "Referer: http://[example.com/", want: 403},
		{name: "POST of a page of another host", method: "POST", body: rejected, header: "Referer: http://evil.com/", want: 403},
		{name: "POST of the same origin", method: "POST", body: rejected, header: "Sec-Fetch-Site: same-origin", want: 200},
		{name: "POST of another site", method: "POST", body: rejected, header: "Sec-Fetch-Site: cross-site", want: 403},
		{name: "POST of another origin", method: "POST", body: rejected, header: "Origin: https://evil.example.com", want: 403},
		{name: "POST of an empty token", method: "POST", body: `{"rejected":""}`, want: 200},
		{name: "PUT", method: "PUT", body: rejected, want: 405},
		{name: "HEAD", method: "HEAD", want: 405},
		{name: "OPTIONS", method: "OPTIONS", want: 405},
		{name: "PUT of another origin", method: "PUT", header: "Origin: https://evil.example.com", want: 405},
		{name: "empty body", method: "POST", body: ``, want: 200},
		{name: "line break", method: "POST", body: "\r\n", want: 200},
		{name: "empty object", method: "POST", body: `{}`, want: 200},
		{name: "null token", method: "POST", body: `{"rejected":null}`, want: 200},
		{name: "token and another property", method: "POST", body: `{"rejected":"x","page":"/"}`, want: 200},
		{name: "half a body", method: "POST", body: `{"rejected":"x"`, want: 400},
		{name: "two bodies", method: "POST", body: `{"rejected":"x"}{}`, want: 400},
		{name: "null", method: "POST", body: `null`, want: 400},
		{name: "array", method: "POST", body: `["x"]`, want: 400},
		{name: "another property", method: "POST", body: `{"token":"x"}`, want: 400},
		{name: "another type", method: "POST", body: `{"rejected":17}`, want: 400},
		{name: "form", method: "POST", body: `rejected=x`, want: 400},
		{name: "16 KiB", method: "POST", body: bodyOf(16 << 10), want: 200},
		{name: "over 16 KiB", method: "POST", body: bodyOf(16<<10 + 1), want: 413},
		{name: "nobody is logged in", method: "POST", body: rejected, nobody: true, want: 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer := &issuer{}
			m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{
				Optional:     true,
				ErrorHandler: func(http.ResponseWriter, *http.Request, error) { t.Error("ErrorHandler is called") },
			}})
			r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			if !tt.nobody {
				r.Header.Set("User", "ann")
			}
			if name, value, ok := strings.Cut(tt.header, ": "); ok {
				r.Header.Set(name, value)
			}
			w := renew(m, r)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			if tt.want != 200 && (w.Body.String() != http.StatusText(tt.want)+"\n" || issuer.count() != 0) {
				t.Errorf("body %q after %d calls, want the text of the status and no call", w.Body, issuer.count())
			}
			want := map[string]string{
				"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff",
				"Access-Control-Allow-Origin": "", "Allow": "",
			}
			if tt.want == 405 {
				want["Allow"] = "GET, POST"
			}
			got := map[string]string{}
			for name := range want {
				got[name] = w.Header().Get(name)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRenewHandlerNoticesThatAMiddlewareHasReadTheBody(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(r *http.Request)
	}{
		{"read", func(r *http.Request) { io.Copy(io.Discard, r.Body) }},
		{"closed", func(r *http.Request) { r.Body = closedBody{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				r := renewal("ann", h.get("ann").Body)
				tt.before(r)
				h.log.take()
				check(h, "status", 500, renew(h.middleware, r).Code)
				check(h, "log", []string{`level=WARN msg="searchtoken: renewal refused" reason=body_read route=""` +
					` error="searchtoken: renewal refused: a handler before this one has read the body"`}, h.log.take())
			})
		})
	}
}

// TestRenewHandlerAnswersWithAllThatAFrontEndNeeds has a route with values of
// its own, and a server in another time zone.
func TestRenewHandlerAnswersWithAllThatAFrontEndNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(time.Hour + time.Nanosecond).In(time.FixedZone("", 3600))
		m := newMiddleware(t, searchtoken.Config{
			Environment: searchtoken.EnvHIPAA, PlatformURL: "https://platform.example/", AnalyticsURL: "https://analytics.example",
			Issuer: &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
				return searchtoken.Token{Value: "a.b.c", Issued: time.Now(), Expiry: expires}, nil
			}},
			Route: searchtoken.Route{Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
				p.SearchHub = "R&D"
				return nil
			}},
		})
		r := renewal("ann", "")
		r.Header.Del("Accept")
		var got map[string]string
		if err := json.Unmarshal(renew(m, r).Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		check(t, "answer", map[string]string{
			"token": "a.b.c", "expiresAt": "2000-01-01T01:00:00Z", "organizationId": "acme", "environment": "hipaa",
			"platformUrl": "https://platform.example", "analyticsUrl": "https://analytics.example", "searchHub": "R&D",
		}, got)
	})
}

// TestEveryRefusedRenewalIsReported has each refusal twice within a minute.
func TestEveryRefusedRenewalIsReported(t *testing.T) {
	const hint = ` hint="if both are this site, let the reverse proxy pass the Host header on;` +
		` if the page is of another site of yours, add its origin to Route.TrustedOrigins"`
	origin := func(from, value string) string {
		return `reason=origin route=search error="searchtoken: renewal refused: the request ` + from + ` \"` + value +
			`\", and its Host is \"example.com\""` + hint
	}
	const page = "comes from a page of"
	for _, tt := range []struct {
		name    string
		method  string
		body    string
		headers map[string]string
		want    string // the attributes of the log line
	}{
		{
			name: "method", method: "PUT",
			want: `reason=method route=search error="searchtoken: renewal refused: the method is neither GET nor POST"`,
		},
		{
			name: "body", method: "POST", body: "x",
			want: `reason=body route=search error="searchtoken: renewal refused: the body is not {\"rejected\": \"<token>\"}"`,
		},
		{
			name: "long body", method: "POST", body: strings.Repeat("x", 16<<10+1),
			want: `reason=too_large route=search error="searchtoken: renewal refused: the body is longer than 16 KiB"`,
		},
		{
			name: "Origin", method: "POST", headers: map[string]string{"Origin": "https://app.example.com:8443"},
			want: origin(page, "app.example.com:8443"),
		},
		{
			name: "Origin of a page in a sandbox", method: "POST", headers: map[string]string{"Origin": "null"},
			want: origin("has Origin", "null"),
		},
		{
			name: "Referer", method: "GET", headers: map[string]string{"Referer": "http://www.example.com/?user=jsmith"},
			want: origin(page, "www.example.com"),
		},
		{
			name: "Referer and Sec-Fetch-Site", method: "GET",
			headers: map[string]string{"Sec-Fetch-Site": "same-site", "Referer": "https://www.example.com/"},
			want:    origin(page, "www.example.com"),
		},
		{
			name: "Referer without a host", method: "GET", headers: map[string]string{"Referer": "about:blank?user=jsmith"},
			want: strings.Replace(origin("has a Referer without a host", ""), ` \"\"`, "", 1),
		},
		{
			name: "Sec-Fetch-Site alone", method: "GET", headers: map[string]string{"Sec-Fetch-Site": "cross-site"},
			want: origin("has Sec-Fetch-Site", "cross-site"),
		},
		{
			name: "Origin that is a secret", method: "POST", headers: map[string]string{"Origin": "https://" + apiKey + "\n" + secret},
			want: origin("has Origin", "https://[redacted] [redacted]"),
		},
		{
			name: "long Origin", method: "POST", headers: map[string]string{"Origin": "https://" + strings.Repeat("a", 1000)},
			want: origin(page, strings.Repeat("a", 300)+"…"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{Route: searchtoken.Route{Name: "search"}})
				refuse := func() (status int) {
					r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
					for name, value := range tt.headers {
						r.Header.Set(name, value)
					}
					return renew(h.middleware, r).Code
				}
				line := `level=WARN msg="searchtoken: renewal refused" ` + tt.want
				for _, lines := range [][]string{{line}, nil, {line + " suppressed=1"}} {
					if len(lines) > 0 {
						h.elapse(time.Minute)
					}
					status := refuse()
					check(h, "status of the event's error", status, searchtoken.HTTPStatus(h.events.seen[0].Err))
					check(h, "events", []event{{"renewal_refused", "search", "refused", 0}}, takeEvents(h))
					check(h, "log", lines, h.log.take())
				}
			})
		})
	}
}

func TestRenewalsBeyondTheLimitAreReported(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Route: searchtoken.Route{Name: "search"}})
		for _, suppressed := range []string{"", " suppressed=1"} {
			for range 3 {
				h.renew("ann", h.get("ann").Body)
			}
			current := h.get("ann").Body
			h.events.take()
			h.renew("ann", current)
			h.renew("ann", current)
			check(h, "events", slices.Repeat([]event{{"renewal_refused", "search", "limited", 0}}, 2), takeEvents(h))
			check(h, "log", []string{`level=WARN msg="searchtoken: renewal refused" reason=limit route=search` +
				` error="searchtoken: the user forces too many renewals"` + suppressed}, h.log.take())
			h.elapse(time.Minute)
		}
	})
}

// TestTrustedOriginsMayRenew has a site at https://www.example.com whose pages
// and those of a trusted origin renew their tokens.
func TestTrustedOriginsMayRenew(t *testing.T) {
	const trusted = "https://app.example.com"
	for _, tt := range []struct {
		name    string
		headers map[string]string
		want    int
	}{
		{"no header", nil, 200},
		{"Origin of the site", map[string]string{"Origin": "https://www.example.com"}, 200},
		{"trusted Origin", map[string]string{"Origin": trusted}, 200},
		{"trusted Origin on the same site", map[string]string{"Origin": trusted, "Sec-Fetch-Site": "same-site"}, 200},
		{"trusted Origin on another site", map[string]string{"Origin": trusted, "Sec-Fetch-Site": "cross-site"}, 200},
		{"no Origin on the same site", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"trusted Referer without Origin on the same site", map[string]string{"Sec-Fetch-Site": "same-site", "Referer": trusted}, 403},
		{"another Origin", map[string]string{"Origin": "https://evil.example.com"}, 403},
		{"another port", map[string]string{"Origin": trusted + ":8443"}, 403},
		{"another scheme", map[string]string{"Origin": "http://app.example.com"}, 403},
		{"trusted Referer", map[string]string{"Referer": trusted + "/search?q=a"}, 200},
		{"trusted Referer in upper case", map[string]string{"Referer": "https://APP.example.com/"}, 200},
		{"Referer of another scheme", map[string]string{"Referer": "http://app.example.com/"}, 403},
		{"Referer of the site", map[string]string{"Referer": "https://www.example.com/"}, 200},
		{"another Referer", map[string]string{"Referer": "https://evil.example.com/" + trusted}, 403},
		{"another Referer with a trusted Origin", map[string]string{"Referer": "https://evil.example.com/", "Origin": trusted}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Route: searchtoken.Route{TrustedOrigins: []string{trusted}}})
			for _, method := range []string{"GET", "POST"} {
				r := httptest.NewRequest(method, "https://www.example.com/", nil)
				r.Header.Set("User", "ann")
				for name, value := range tt.headers {
					r.Header.Set(name, value)
				}
				check(t, "status of a "+method, tt.want, renew(m, r).Code)
			}
		})
	}
}

// TestBrowserThatNamesTheOriginNeedsNoReferer has pages whose Referer says
// another host than the browser's own word about the origin.
func TestBrowserThatNamesTheOriginNeedsNoReferer(t *testing.T) {
	for _, tt := range []struct{ name, header, value string }{
		{"Sec-Fetch-Site", "Sec-Fetch-Site", "same-origin"},
		{"Origin", "Origin", "http://example.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request("ann")
			r.Header.Set(tt.header, tt.value)
			r.Header.Set("Referer", "http://other.example.com/")
			if w := renew(newMiddleware(t, searchtoken.Config{}), r); w.Code != 200 {
				t.Errorf("status %d, want 200", w.Code)
			}
		})
	}
}

func TestRenewalReplacesTheRejectedToken(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.slow(time.Second)
		h.get("ann")
		h.elapse(time.Minute)

		// Several tabs share a fetch.
		got := make([]answer, 5)
		h.together(len(got), func(i int) { got[i] = h.renew("ann", "ann 1") })
		got = append(got, h.get("ann"))
		// An hour later, another tab still has the first token.
		h.elapse(time.Hour)
		got = append(got, h.renew("ann", "ann 1"), h.renew("ann", ""))
		for i, a := range got {
			if diff := cmp.Diff(answer{200, "ann 2", ""}, a); diff != "" {
				t.Errorf("answer %d (-want +got):\n%s", i, diff)
			}
		}
		if n := h.issuer.count(); n != 2 {
			t.Errorf("%d calls, want 2", n)
		}
	})
}

func TestRenewalComparesTheTimesOfIssue(t *testing.T) {
	const start = 946684800 // of a bubble's clock
	claims := func(iat int64, id string) string {
		return jwt(map[string]any{"iat": start + iat, "exp": start + iat + 86400, "id": id})
	}
	cached := claims(1000, "c")
	for _, tt := range []struct {
		name     string
		cached   string
		age      time.Duration
		rejected string
		forced   bool
	}{
		{"earlier", cached, time.Hour, claims(999, "r"), false},
		{"later", cached, 0, claims(1001, "r"), true},
		{"of the same second as a recent token", cached, 10*time.Second - 1, claims(1000, "r"), false},
		{"of the same second as an old token", cached, 10 * time.Second, claims(1000, "r"), true},
		{"the cached token", cached, 0, cached, true},
		{"not a JWT", cached, time.Hour, "garbage", false},
		{"neither is a JWT, the cached one is recent", "opaque", 0, "garbage", false},
		{"neither is a JWT, the cached one is old", "opaque", time.Hour, "garbage", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					if n == 1 {
						return searchtoken.Token{Value: tt.cached}, nil
					}
					return tokenFor(n, p), nil
				}
				h.get("ann")
				h.elapse(tt.age)
				want, calls := answer{200, tt.cached, ""}, 1
				if tt.forced {
					want, calls = answer{200, "ann 2", ""}, 2
				}
				if diff := cmp.Diff(want, h.renew("ann", tt.rejected)); diff != "" {
					t.Errorf("renewal (-want +got):\n%s", diff)
				}
				if n := h.issuer.count(); n != calls {
					t.Errorf("%d calls, want %d", n, calls)
				}
			})
		})
	}
}

func TestForcedRenewalsOfAUserAreLimited(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{
			Identify: searchtoken.FirstIdentity(byHeader, searchtoken.AnonymousIdentity),
		})
		force := func(user string, n int) (statuses []int) {
			for range n {
				current := h.get(user)
				a := h.renew(user, current.Body)
				statuses = append(statuses, a.Status)
				if a.Status == http.StatusOK {
					continue
				}
				if diff := cmp.Diff(answer{429, "Too Many Requests\n", "20"}, a); diff != "" {
					t.Errorf("refusal (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(current, h.get(user)); diff != "" {
					t.Errorf("page after a refusal (-want +got):\n%s", diff)
				}
			}
			return statuses
		}
		want := []int{200, 200, 200, 429, 429}
		for _, user := range []string{"ann", "bob", ""} {
			if diff := cmp.Diff(want, force(user, 5)); diff != "" {
				t.Errorf("statuses of %q (-want +got):\n%s", user, diff)
			}
		}
		h.elapse(20 * time.Second)
		if diff := cmp.Diff([]int{200, 429}, force("ann", 2)); diff != "" {
			t.Errorf("statuses 20 s later (-want +got):\n%s", diff)
		}
		h.elapse(time.Hour)
		if diff := cmp.Diff(want, force("ann", 5)); diff != "" {
			t.Errorf("statuses an hour later (-want +got):\n%s", diff)
		}
	})
}

func TestRenewalThatFailsKeepsTheCachedToken(t *testing.T) {
	upstream := errors.New("text of the upstream")
	for _, tt := range []struct {
		name   string
		answer func(first searchtoken.Token) (searchtoken.Token, error)
		want   int
	}{
		{"Coveo fails", func(searchtoken.Token) (searchtoken.Token, error) {
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 500, Message: upstream.Error()}
		}, 503},
		{"Coveo refuses", func(searchtoken.Token) (searchtoken.Token, error) {
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 403, Message: upstream.Error()}
		}, 502},
		{"Coveo cannot be reached", func(searchtoken.Token) (searchtoken.Token, error) {
			return searchtoken.Token{}, upstream
		}, 503},
		{"the rejected token again", func(first searchtoken.Token) (searchtoken.Token, error) {
			return first, nil
		}, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				var first searchtoken.Token
				h.issuer.answer = func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					if n == 1 {
						first = tokenFor(n, p)
						return first, nil
					}
					return tt.answer(first)
				}
				page := h.get("ann")
				got := h.renew("ann", "ann 1")
				if got.RetryAfter == "" {
					t.Error("no Retry-After")
				}
				got.RetryAfter = ""
				if diff := cmp.Diff(answer{tt.want, http.StatusText(tt.want) + "\n", ""}, got); diff != "" {
					t.Errorf("renewal (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(page, h.get("ann")); diff != "" {
					t.Errorf("page after the renewal (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestInventedRejectionsForceFewFetches has a visitor who reports tokens as
// rejected that nobody issued.
func TestInventedRejectionsForceFewFetches(t *testing.T) {
	future := jwt(map[string]any{"iat": time.Now().Add(100 * 365 * 24 * time.Hour).Unix()})
	for _, tt := range []struct {
		name     string
		failing  []string // methods of the Cache
		renewals int
		want     int // calls, including the page's
	}{
		{name: "one", renewals: 1, want: 2},
		{name: "many", renewals: 10, want: 4},
		{name: "many while the Cache fails", failing: []string{"Get", "Set"}, renewals: 100, want: 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.cache.fail(errDown, tt.failing...)
				h.configure(searchtoken.Config{Cache: h.cache})
				h.get("ann")
				for i := range tt.renewals {
					want := answer{200, fmt.Sprint("ann ", i+2), ""}
					if i >= 3 {
						want = answer{429, "Too Many Requests\n", "20"}
					}
					if diff := cmp.Diff(want, h.renew("ann", future)); diff != "" {
						t.Errorf("renewal %d (-want +got):\n%s", i, diff)
					}
				}
				if n := h.issuer.count(); n != tt.want {
					t.Errorf("%d calls, want %d", n, tt.want)
				}
			})
		})
	}
}

func TestRenewalWithoutACachedTokenIsNotLimited(t *testing.T) {
	bubble(t, func(h *harness) {
		for range 10 {
			page := h.get("ann")
			h.forget("ann")
			if got := h.renew("ann", page.Body); got.Status != 200 || got.Body == page.Body {
				t.Errorf("renewal: %v, want another token than %v", got, page)
			}
		}
	})
}

// TestInventedRejectionDoesNotFailOthers has an Issuer that always returns the
// same token, and a visitor who reports that token as rejected.
func TestInventedRejectionDoesNotFailOthers(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.answer = func(ctx context.Context, _ int, _ searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{Value: "only"}, pause(ctx, time.Second)
		}
		h.background(func() {
			if got := h.renew("ann", "only"); got.Status != 503 {
				t.Errorf("renewal: %v", got)
			}
		})
		for range 2 { // the first page shares the renewal's fetch
			if diff := cmp.Diff(answer{200, "only", ""}, h.get("ann")); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		}
		h.wait()
		if n := h.issuer.count(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

func TestRenewalRequestsTheGrantOfThePage(t *testing.T) {
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{
		Params: searchtoken.TokenParams{SearchHub: "hub"},
		Prepare: func(r *http.Request, p *searchtoken.TokenParams) error {
			p.Filter = "@tenant==" + r.Host
			return nil
		},
	}})
	renew(m, renewal("ann", get(m, request("ann")).Body.String()))
	grant := searchtoken.TokenParams{
		UserIDs: searchtoken.Email("ann").UserIDs, SearchHub: "hub", Filter: "@tenant==example.com",
	}
	if diff := cmp.Diff([]searchtoken.TokenParams{grant, grant}, issuer.params()); diff != "" {
		t.Errorf("calls for the page and the renewal (-want +got):\n%s", diff)
	}
}

func TestRenewalWithTheTokenOfAnotherUserRenewsNothing(t *testing.T) {
	bubble(t, func(h *harness) {
		pages := []answer{h.get("ann"), h.get("bob")}
		got := []answer{h.renew("bob", "ann 1"), h.get("ann"), h.get("bob")}
		if diff := cmp.Diff([]answer{pages[1], pages[0], pages[1]}, got); diff != "" {
			t.Errorf("bob's renewal and the pages after it (-want +got):\n%s", diff)
		}
	})
}

func TestRenewalHonorsTheSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Minute)
		m := newMiddleware(t, searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			id.Expires = end
			return id, nil
		}})
		statuses := []int{renew(m, renewal("", "")).Code}
		time.Sleep(time.Minute)
		statuses = append(statuses, renew(m, renewal("", "")).Code)
		if diff := cmp.Diff([]int{200, 401}, statuses); diff != "" {
			t.Errorf("statuses before and after the session's end (-want +got):\n%s", diff)
		}
	})
}
