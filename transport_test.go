package searchtoken_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// transportClient returns a client with m's Transport over u.
func transportClient(m *searchtoken.Middleware, u *upstream) *http.Client {
	return &http.Client{Transport: m.Transport(u)}
}

// contextOf returns the context of a request by user that passed through m's
// Handler.
func contextOf(m *searchtoken.Middleware, user string) (ctx context.Context) {
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { ctx = r.Context() })).
		ServeHTTP(httptest.NewRecorder(), request(user))
	return ctx
}

// tokensOf are the names of the tokens in what an upstream got.
func (u *upstream) tokens() (names []string) {
	for _, s := range u.got {
		names = append(names, nameOf(strings.TrimPrefix(s.Header.Get("Authorization"), "Bearer ")))
	}
	return names
}

// rejecting returns an upstream that answers with a status until it has got so
// many requests.
func rejecting(requests, status int, body string) *upstream {
	return &upstream{answer: func(_ *http.Request, n int) *http.Response {
		if n <= requests {
			return reply(status, "application/json", body)
		}
		return reply(200, "application/json", `{"results":[]}`)
	}}
}

func TestTransportGivesTokensToTheOrganizationsHostsOnly(t *testing.T) {
	for _, tt := range []struct {
		name, url string
		cfg       searchtoken.Config
		refused   string // the host that the error names
	}{
		{name: "platform", url: "https://acme.org.coveo.com/rest/search/v2"},
		{name: "analytics", url: "https://acme.analytics.org.coveo.com/rest/ua/v15/analytics/search"},
		{name: "upper case and port", url: "HTTPS://ACME.org.coveo.com:443/"},
		{
			name: "configured platform", url: "http://localhost:8080/rest/search/v2",
			cfg: searchtoken.Config{PlatformURL: "http://localhost:8080"},
		},
		{
			name: "own host, although another one is configured", url: "https://acme.org.coveo.com/",
			cfg: searchtoken.Config{PlatformURL: "http://localhost:8080"},
		},
		{
			name: "configured analytics", url: "https://events.example.com/x",
			cfg: searchtoken.Config{AnalyticsURL: "https://events.example.com/base"},
		},
		{
			name: "environment", url: "https://acme.orghipaa.coveo.com/",
			cfg: searchtoken.Config{Environment: searchtoken.EnvHIPAA},
		},
		{
			name: "host of another environment", url: "https://acme.org.coveo.com/", refused: "acme.org.coveo.com",
			cfg: searchtoken.Config{Environment: searchtoken.EnvHIPAA},
		},
		{name: "another organization", url: "https://other.org.coveo.com/", refused: "other.org.coveo.com"},
		{name: "clear text", url: "http://acme.org.coveo.com/", refused: "acme.org.coveo.com"},
		{name: "another port", url: "https://acme.org.coveo.com:8443/", refused: "acme.org.coveo.com:8443"},
		{name: "the host at the start", url: "https://acme.org.coveo.com.example/", refused: "acme.org.coveo.com.example"},
		{name: "the host at the end", url: "https://evilacme.org.coveo.com/", refused: "evilacme.org.coveo.com"},
		{name: "the host as a user", url: "https://acme.org.coveo.com@example.com/", refused: "example.com"},
		{name: "the host in the path", url: "https://example.com/acme.org.coveo.com", refused: "example.com"},
		{name: "general host", url: "https://platform.cloud.coveo.com/", refused: "platform.cloud.coveo.com"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, u := newMiddleware(t, tt.cfg), &upstream{}
			r, err := http.NewRequestWithContext(contextOf(m, "ann"), "POST", tt.url, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transportClient(m, u).Do(r)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), `"`+tt.refused+`" is not a host of the Coveo organization`) || u.got != nil {
					t.Errorf("Do() error = %v, sent %v, want an error that names %s", err, u.got, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if diff := cmp.Diff([]string{"ann 1"}, u.tokens()); diff != "" {
				t.Errorf("tokens (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTransportRefusesOtherHostsAfterARedirect(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{})
	u := &upstream{answer: func(*http.Request, int) *http.Response {
		resp := reply(302, "", "")
		resp.Header.Set("Location", "https://evil.example/")
		return resp
	}}
	r, _ := http.NewRequestWithContext(contextOf(m, "ann"), "GET", ownHost+"/", nil)
	if _, err := transportClient(m, u).Do(r); err == nil || !strings.Contains(err.Error(), `"evil.example" is not a host`) || len(u.got) != 1 {
		t.Errorf("Do() error = %v after %d requests, want one that names evil.example after 1", err, len(u.got))
	}
}

func TestTransportDoesNotChangeTheRequest(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{})
	u := rejecting(1, 401, "{}")
	r, err := http.NewRequestWithContext(contextOf(m, "ann"), "POST", ownHost+"/", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer proxied")
	want, body := r.Header.Clone(), r.Body
	resp, err := m.Transport(u).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if diff := cmp.Diff(want, r.Header); diff != "" || r.Body != body {
		t.Errorf("the request changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"ann 1", "ann 2"}, u.tokens()); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
}

// closer notes that it was closed.
type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func TestTransportNeedsAPageWithAToken(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{Route: searchtoken.Route{Optional: true}})
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want string
		is   error
	}{
		{"no page", t.Context(), "searchtoken: Transport: the request's context has no Page", nil},
		{"page without a user", contextOf(m, ""), "searchtoken: Transport: nobody is logged in", searchtoken.ErrNoIdentity},
		{
			"empty page", searchtoken.NewContext(t.Context(), &searchtoken.Page{}),
			"searchtoken: Transport: the Page in the request's context has no token", nil,
		},
		{
			"page of another organization", contextOf(newMiddleware(t, searchtoken.Config{OrganizationID: "other"}), "ann"),
			"searchtoken: Transport: the Page in the request's context is of another organization", nil,
		},
		{
			"page of another environment", contextOf(newMiddleware(t, searchtoken.Config{Environment: searchtoken.EnvHIPAA}), "ann"),
			"searchtoken: Transport: the Page in the request's context is of another organization or Environment", nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, body := &upstream{}, &closer{Reader: strings.NewReader("x")}
			r, _ := http.NewRequestWithContext(tt.ctx, "POST", ownHost+"/", body)
			_, err := m.Transport(u).RoundTrip(r)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("RoundTrip() error = %v, want %s", err, tt.want)
			}
			if u.got != nil || !body.closed {
				t.Errorf("sent %v, body closed %v, want nothing and a closed body", u.got, body.closed)
			}
		})
	}
}

// valueKey is the key of a value that has nothing to do with the package.
type valueKey struct{}

func TestTransportRenewsARejectedToken(t *testing.T) {
	prepare := func(_ *http.Request, p *searchtoken.TokenParams) error {
		p.SearchHub = "prepared"
		return nil
	}
	const rejected = `{"message":"The provided token is not a valid token.","type":"InvalidToken"}`
	type result struct {
		Status int
		Body   string
		Tokens []string
		Bodies []string
	}
	twice := result{200, `{"results":[]}`, []string{"ann 1", "ann 2"}, []string{"body", "body"}}
	for _, tt := range []struct {
		name     string
		upstream *upstream
		route    searchtoken.Route
		ctx      func(ctx context.Context) context.Context
		stream   bool // the body cannot be sent again
		want     result
	}{
		{name: "accepted", upstream: rejecting(0, 0, ""), want: result{200, `{"results":[]}`, []string{"ann 1"}, []string{"body"}}},
		{name: "401", upstream: rejecting(1, 401, "{}"), want: twice},
		{name: "419", upstream: rejecting(1, 419, "{}"), want: twice},
		{name: "InvalidToken of analytics", upstream: rejecting(1, 400, rejected), want: twice},
		{
			name: "another 400", upstream: rejecting(1, 400, `{"type":"InvalidQuery"}`),
			want: result{400, `{"type":"InvalidQuery"}`, []string{"ann 1"}, []string{"body"}},
		},
		{name: "429", upstream: rejecting(1, 429, "slow"), want: result{429, "slow", []string{"ann 1"}, []string{"body"}}},
		{
			name: "rejected again", upstream: rejecting(9, 401, "no"),
			want: result{401, "no", []string{"ann 1", "ann 2"}, []string{"body", "body"}},
		},
		{
			name: "body that cannot be sent again", upstream: rejecting(1, 401, "no"), stream: true,
			want: result{401, "no", []string{"ann 1"}, []string{"body"}},
		},
		{name: "route with a Prepare", upstream: rejecting(1, 401, "{}"), route: searchtoken.Route{Prepare: prepare}, want: twice},
		{
			name: "context within the page's", upstream: rejecting(1, 401, "{}"), route: searchtoken.Route{Prepare: prepare},
			ctx:  func(ctx context.Context) context.Context { return context.WithValue(ctx, valueKey{}, "value") },
			want: twice,
		},
		{
			name: "page from NewContext", upstream: rejecting(1, 401, "{}"),
			ctx: func(ctx context.Context) context.Context {
				page, _ := searchtoken.FromContext(ctx)
				return searchtoken.NewContext(context.Background(), page)
			},
			want: twice,
		},
		{
			name: "page from NewContext on a route with a Prepare", upstream: rejecting(1, 401, "no"),
			route: searchtoken.Route{Prepare: prepare},
			ctx: func(ctx context.Context) context.Context {
				page, _ := searchtoken.FromContext(ctx)
				return searchtoken.NewContext(context.Background(), page)
			},
			want: result{401, "no", []string{"ann 1"}, []string{"body"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Route: tt.route})
			ctx := contextOf(m, "ann")
			if tt.ctx != nil {
				ctx = tt.ctx(ctx)
			}
			var body io.Reader = strings.NewReader("body")
			if tt.stream {
				body = io.MultiReader(body)
			}
			r, _ := http.NewRequestWithContext(ctx, "POST", ownHost+"/", body)
			resp, err := transportClient(m, tt.upstream).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got := result{Status: resp.StatusCode, Body: string(answer), Tokens: tt.upstream.tokens()}
			for _, s := range tt.upstream.got {
				got.Bodies = append(got.Bodies, s.Body)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer and what Coveo got (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTransportRenewsTheGrantOfThePage(t *testing.T) {
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{Params: searchtoken.TokenParams{SearchHub: "own"}}})
	helpDesk, err := m.With(func(r *searchtoken.Route) { r.Params.SearchHub = "help desk" })
	if err != nil {
		t.Fatal(err)
	}
	inner := searchtoken.NewContext(contextOf(helpDesk, "ann"), &searchtoken.Page{
		Token: searchtoken.Token{Value: "rejected"}, Identity: searchtoken.Email("bob"),
	})
	changed := contextOf(helpDesk, "ann")
	page, _ := searchtoken.FromContext(changed)
	page.Token, page.Identity = searchtoken.Token{Value: "rejected"}, searchtoken.Email("carl")
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want []string // user and hub of the token calls
	}{
		{"page of another route", contextOf(helpDesk, "ann"), []string{"ann, help desk", "ann, help desk"}},
		{"page from NewContext within another page", inner, []string{"bob, own"}},
		{"page that a handler gave to another user", changed, []string{"carl, own"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := http.NewRequestWithContext(tt.ctx, "GET", ownHost+"/", nil)
			resp, err := transportClient(m, rejecting(1, 401, "{}")).Do(r)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("Do() = %v, %v", resp, err)
			}
			resp.Body.Close()
			var got []string
			for _, p := range issuer.params() {
				got = append(got, p.UserIDs[0].Name+", "+p.SearchHub)
			}
			if diff := cmp.Diff(tt.want, got[len(got)-len(tt.want):]); diff != "" {
				t.Errorf("token calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTransportForcesNoMoreRenewalsThanABrowser(t *testing.T) {
	bubble(t, func(h *harness) {
		u := rejecting(100, 401, "no")
		client := transportClient(h.middleware, u)
		for range 10 {
			r, _ := http.NewRequestWithContext(contextOf(h.middleware, "ann"), "GET", ownHost+"/", nil)
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if calls := h.issuer.count(); calls != 1+3 || len(u.got) != 10+3 {
			t.Errorf("%d token calls and %d requests, want 4 and 13", calls, len(u.got))
		}
	})
}
