package searchtoken_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

func TestNewNamesEveryFault(t *testing.T) {
	good := searchtoken.Config{OrganizationID: "acme", APIKey: apiKey, Identify: byHeader}
	with := func(change func(*searchtoken.Config)) searchtoken.Config {
		cfg := good
		change(&cfg)
		return cfg
	}
	credential := func(context.Context) (string, error) { return "", nil }
	for _, tt := range []struct {
		name string
		cfg  searchtoken.Config
		want []string
	}{
		{"good", good, nil},
		{"credential", with(func(c *searchtoken.Config) { c.APIKey, c.Credential = "", credential }), nil},
		{"issuer", with(func(c *searchtoken.Config) { c.APIKey, c.Issuer = "", &issuer{} }), nil},
		{"nothing", searchtoken.Config{}, []string{"OrganizationID", "APIKey", "Identify"}},
		{"key and credential", with(func(c *searchtoken.Config) { c.Credential = credential }), []string{"APIKey", "Credential"}},
		{"key and issuer", with(func(c *searchtoken.Config) { c.Issuer = &issuer{} }), []string{"Issuer", "APIKey"}},
		{"user in Params", with(func(c *searchtoken.Config) { c.Params.UserIDs = searchtoken.Email("a").UserIDs }), []string{"Params.UserIDs"}},
		{"refresh in the dead part", with(func(c *searchtoken.Config) { c.RefreshBefore = 2 * time.Minute }), []string{"RefreshBefore"}},
		{"all at once", searchtoken.Config{
			OrganizationID: "a.b", Environment: "x", PlatformURL: "http://example.com", AnalyticsURL: "http://example.com", APIKey: "a b", MaxInFlight: -1,
			Route: searchtoken.Route{RenewURL: "https://example.com", MinRemaining: -1, RefreshBefore: -1, Params: searchtoken.TokenParams{ValidFor: 1}},
		}, []string{"OrganizationID", "Environment", "PlatformURL", "AnalyticsURL", "APIKey", "Identify", "MaxInFlight", "RenewURL", "MinRemaining", "RefreshBefore", "Params.ValidFor"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := searchtoken.New(tt.cfg)
			if (err != nil) != (tt.want != nil) || (m == nil) != (err != nil) {
				t.Fatalf("New() = %v, %v, want an error that names %v", m, err, tt.want)
			}
			for _, field := range tt.want {
				if n := strings.Count(err.Error(), field+":") + strings.Count(err.Error(), field+","); n != 1 {
					t.Errorf("New: %q names %s %d times, want once", err, field, n)
				}
			}
		})
	}
	for _, path := range []string{"//evil.example.com", `/\evil.example.com`, "/\t/evil.example.com", "\n//evil", "renew", "", "/a b", "/a#b", "https://evil.example.com/", "javascript:alert(1)"} {
		t.Run(fmt.Sprintf("RenewURL %q", path), func(t *testing.T) {
			_, err := searchtoken.New(with(func(c *searchtoken.Config) { c.RenewURL = path }))
			if (err == nil) != (path == "") {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func TestHandlerHandsOutThePage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMiddleware(t, searchtoken.Config{
			OrganizationID: "acme", Environment: searchtoken.EnvHIPAA,
			Identify: func(*http.Request) (searchtoken.Identity, error) {
				id := searchtoken.Email("ann")
				id.DisplayName = "Ann"
				return id, nil
			},
			Route: searchtoken.Route{
				Params:   searchtoken.TokenParams{SearchHub: "hub"},
				RenewURL: "/coveo/token",
				Nonce:    func(r *http.Request) string { return "nonce of " + r.URL.Path },
			},
		})
		var got *searchtoken.Page
		m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got, _ = searchtoken.FromContext(r.Context())
		})).ServeHTTP(httptest.NewRecorder(), request("ann"))
		want := &searchtoken.Page{
			Token:          tokenFor(1, searchtoken.TokenParams{UserIDs: searchtoken.Email("ann").UserIDs}),
			Identity:       searchtoken.Identity{UserIDs: searchtoken.Email("ann").UserIDs, DisplayName: "Ann"},
			OrganizationID: "acme", Environment: "hipaa",
			PlatformURL: "https://acme.orghipaa.coveo.com", AnalyticsURL: "https://acme.analytics.orghipaa.coveo.com",
			RenewURL: "/coveo/token", SearchHub: "hub", Nonce: "nonce of /",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
	})
}

func TestFromContextWithoutHandler(t *testing.T) {
	if page, ok := searchtoken.FromContext(context.Background()); page != nil || ok {
		t.Errorf("FromContext() = %v, %v, want nil, false", page, ok)
	}
	if page, ok := searchtoken.FromContext(searchtoken.NewContext(context.Background(), nil)); page != nil || ok {
		t.Errorf("FromContext() of a nil page = %v, %v, want nil, false", page, ok)
	}
	want := &searchtoken.Page{SearchHub: "hub"}
	if page, ok := searchtoken.FromContext(searchtoken.NewContext(context.Background(), want)); page != want || !ok {
		t.Errorf("FromContext() = %v, %v, want the page of NewContext", page, ok)
	}
}

// An upstream, or what else fails, decides on the answer.
func TestErrors(t *testing.T) {
	refuse := func(err error) *issuer {
		return &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{}, err
		}}
	}
	const secretText = "secret text"
	for _, tt := range []struct {
		name       string
		user       string
		cfg        searchtoken.Config
		want       int
		wantRetry  bool
		wantErr    error
		wantServed bool // the page with Optional is served
	}{
		{name: "nobody", cfg: searchtoken.Config{}, want: 401, wantErr: searchtoken.ErrNoIdentity},
		{name: "identity fails", cfg: searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, errors.New(secretText)
		}}, want: 500},
		{name: "session store fails", cfg: searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, fmt.Errorf("%w: %s", searchtoken.ErrSession, secretText)
		}}, want: 500, wantErr: searchtoken.ErrSession},
		{name: "identity of nobody", cfg: searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, nil
		}}, want: 500},
		{name: "identity without a provider", cfg: searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{UserIDs: []searchtoken.UserID{{Name: "ann"}}}, nil
		}}, want: 500},
		{name: "identity whose name is no text", cfg: searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			id.DisplayName = "\xff"
			return id, nil
		}}, want: 500},
		{name: "session that has ended", cfg: searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("ann")
			id.Expires = time.Now()
			return id, nil
		}}, want: 401, wantErr: searchtoken.ErrNoIdentity},
		{name: "Prepare fails", user: "ann", cfg: searchtoken.Config{Route: searchtoken.Route{Prepare: func(*http.Request, *searchtoken.TokenParams) error {
			return errors.New(secretText)
		}}}, want: 500},
		{name: "Prepare knows that nobody is logged in", user: "ann", cfg: searchtoken.Config{Route: searchtoken.Route{Prepare: func(*http.Request, *searchtoken.TokenParams) error {
			return searchtoken.ErrNoIdentity
		}}}, want: 401, wantErr: searchtoken.ErrNoIdentity},
		{name: "Prepare makes what Coveo refuses", user: "ann", cfg: searchtoken.Config{Route: searchtoken.Route{Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
			p.ValidFor = 1
			return nil
		}}}, want: 500},
		{name: "bad request", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 400, Message: secretText})}, want: 502, wantRetry: true, wantErr: searchtoken.ErrRefused},
		{name: "wrong key", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 401})}, want: 502, wantRetry: true, wantErr: searchtoken.ErrRefused},
		{name: "no privilege", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 403})}, want: 502, wantRetry: true, wantErr: searchtoken.ErrRefused},
		{name: "unknown organization", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 404})}, want: 502, wantRetry: true, wantErr: searchtoken.ErrRefused},
		{name: "redirect", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 302})}, want: 502, wantRetry: true, wantErr: searchtoken.ErrRefused},
		{name: "no token in the answer", user: "ann", cfg: searchtoken.Config{Issuer: refuse(nil)}, want: 502, wantRetry: true, wantErr: searchtoken.ErrRefused},
		{name: "too many requests", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 429})}, want: 503, wantRetry: true, wantErr: searchtoken.ErrUnavailable},
		{name: "failure", user: "ann", cfg: searchtoken.Config{Issuer: refuse(&searchtoken.APIError{StatusCode: 500})}, want: 503, wantRetry: true, wantErr: searchtoken.ErrUnavailable},
		{name: "unreachable", user: "ann", cfg: searchtoken.Config{Issuer: refuse(errors.New(secretText))}, want: 503, wantRetry: true, wantErr: searchtoken.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(name string, w *httptest.ResponseRecorder, status int) {
				t.Helper()
				if w.Code != status {
					t.Errorf("%s: status %d, want %d", name, w.Code, status)
				}
				if got := w.Header().Get("Retry-After") != ""; status >= 500 && got != tt.wantRetry {
					t.Errorf("%s: Retry-After: %v, want %v", name, got, tt.wantRetry)
				}
				if got := w.Header()["Cache-Control"]; !cmp.Equal(got, []string{"private, no-store"}) {
					t.Errorf("%s: Cache-Control: %v", name, got)
				}
				if got := w.Header()["Vary"]; !cmp.Equal(got, []string{"Cookie"}) {
					t.Errorf("%s: Vary: %v", name, got)
				}
				if strings.Contains(w.Body.String(), secretText) {
					t.Errorf("%s: the visitor sees %q", name, w.Body)
				}
			}
			w := get(newMiddleware(t, tt.cfg), request(tt.user))
			check("default", w, tt.want)
			if got, want := w.Body.String(), http.StatusText(tt.want)+"\n"; got != want {
				t.Errorf("body %q, want %q", got, want)
			}

			// An ErrorHandler answers in the place of the default, once.
			calls := 0
			cfg := tt.cfg
			cfg.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
				calls++
				if got := searchtoken.HTTPStatus(err); got != tt.want {
					t.Errorf("HTTPStatus() = %d, want %d", got, tt.want)
				}
				if tt.wantErr != nil && !errors.Is(err, tt.wantErr) {
					t.Errorf("error %v, want %v", err, tt.wantErr)
				}
				w.WriteHeader(http.StatusTeapot)
			}
			w = httptest.NewRecorder()
			newMiddleware(t, cfg).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				t.Error("the page is served, too")
			})).ServeHTTP(w, request(tt.user))
			if w.Code != http.StatusTeapot || calls != 1 {
				t.Errorf("ErrorHandler: status %d after %d calls", w.Code, calls)
			}

			// An Optional route serves its page all the same.
			cfg = tt.cfg
			cfg.Optional = true
			w = httptest.NewRecorder()
			newMiddleware(t, cfg).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				page, ok := searchtoken.FromContext(r.Context())
				if !ok || page.Token != (searchtoken.Token{}) || searchtoken.HTTPStatus(page.Err) != tt.want || page.OrganizationID != "acme" {
					t.Errorf("page %+v, %v", page, ok)
				}
			})).ServeHTTP(w, request(tt.user))
			check("optional", w, 200)
		})
	}
}

func TestErrorTexts(t *testing.T) {
	if got := searchtoken.HTTPStatus(nil); got != 200 {
		t.Errorf("HTTPStatus(nil) = %d", got)
	}
	if got := searchtoken.RetryAfter(errors.New("")); got != 0 {
		t.Errorf("RetryAfter() = %v, want 0", got)
	}
	if got := searchtoken.RetryAfter(&searchtoken.APIError{RetryAfter: 1000 * time.Hour}); got != 5*time.Minute {
		t.Errorf("RetryAfter() = %v, want 5m", got)
	}
}

func TestPageHeaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before []string // Vary
		want   []string
	}{
		{"none", nil, []string{"Cookie"}},
		{"others", []string{"Accept-Encoding", "Origin"}, []string{"Accept-Encoding", "Origin", "Cookie"}},
		{"there already", []string{"Accept, cookie"}, []string{"Accept, cookie"}},
		{"everything", []string{"*"}, []string{"*"}},
		{"another with that name in it", []string{"X-Cookie"}, []string{"X-Cookie", "Cookie"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{})
			for range 2 { // what one response appends must not reach the next
				w := httptest.NewRecorder()
				if tt.before != nil {
					w.Header()["Vary"] = tt.before
				}
				m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if diff := cmp.Diff(tt.want, w.Header()["Vary"]); diff != "" {
						t.Errorf("Vary before the wrapped handler (-want +got):\n%s", diff)
					}
					if diff := cmp.Diff([]string{"private, no-store"}, w.Header()["Cache-Control"]); diff != "" {
						t.Errorf("Cache-Control before the wrapped handler (-want +got):\n%s", diff)
					}
					w.Header().Add("Vary", "Accept")
					w.Header().Add("Cache-Control", "no-transform")
					w.Header()["Cache-Control"][0] = "public"
				})).ServeHTTP(w, request("ann"))
			}
		})
	}
}

func TestHandlerDoesNotWrapTheResponseWriter(t *testing.T) {
	w := httptest.NewRecorder()
	newMiddleware(t, searchtoken.Config{}).Handler(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
		if got != http.ResponseWriter(w) {
			t.Errorf("the wrapped handler got a %T of ours", got)
		}
	})).ServeHTTP(w, request("ann"))
}

// TestUsersNeverShareTokens varies one thing at a time: whatever a token's grant
// or its user depend on must make another token of it.
func TestUsersNeverShareTokens(t *testing.T) {
	type variant struct {
		name     string
		org      string
		platform string
		id       searchtoken.Identity
		params   searchtoken.TokenParams
		prepare  func(*http.Request, *searchtoken.TokenParams) error
	}
	id := func(ids ...searchtoken.UserID) searchtoken.Identity { return searchtoken.Identity{UserIDs: ids} }
	ann := searchtoken.Email("ann")
	withName := ann
	withName.DisplayName = "Ann"
	withGroups := ann
	withGroups.Groups = []string{"a", "b"}
	withOtherGroups := ann
	withOtherGroups.Groups = []string{"ab"}
	setUser := func(ids ...searchtoken.UserID) func(*http.Request, *searchtoken.TokenParams) error {
		return func(_ *http.Request, p *searchtoken.TokenParams) error {
			p.UserIDs = ids
			return nil
		}
	}
	variants := []variant{
		{name: "ann", id: ann},
		{name: "bob", id: searchtoken.Email("bob")},
		{name: "organization", org: "acme2", id: ann},
		{name: "endpoint", platform: "https://platform-eu.cloud.coveo.com", id: ann},
		{name: "provider", id: id(searchtoken.UserID{Name: "ann", Provider: "Other"})},
		{name: "type", id: id(searchtoken.UserID{Name: "ann", Provider: searchtoken.EmailSecurityProvider, Type: searchtoken.UserTypeGroup})},
		{name: "two identities", id: id(searchtoken.UserID{Name: "ann", Provider: "P"}, searchtoken.UserID{Name: "bob", Provider: "P"})},
		{name: "two identities, in the other order", id: id(searchtoken.UserID{Name: "bob", Provider: "P"}, searchtoken.UserID{Name: "ann", Provider: "P"})},
		{name: "parts shifted", id: id(searchtoken.UserID{Name: "annP", Provider: "bobP"})},
		{name: "display name", id: withName},
		{name: "groups", id: withGroups},
		{name: "groups shifted", id: withOtherGroups},
		{name: "hub", id: ann, params: searchtoken.TokenParams{SearchHub: "x"}},
		{name: "pipeline", id: ann, params: searchtoken.TokenParams{Pipeline: "x"}},
		{name: "filter", id: ann, params: searchtoken.TokenParams{Filter: "x"}},
		{name: "life", id: ann, params: searchtoken.TokenParams{ValidFor: time.Hour}},
		{name: "profiles", id: ann, params: searchtoken.TokenParams{CanSeeUserProfileOf: []string{"a", "b"}}},
		{name: "dictionary", id: ann, params: searchtoken.TokenParams{DictionaryFieldContext: map[string]string{"a": "b"}}},
		{name: "dictionary, other key", id: ann, params: searchtoken.TokenParams{DictionaryFieldContext: map[string]string{"a": "c"}}},
		{name: "dictionary, two fields", id: ann, params: searchtoken.TokenParams{DictionaryFieldContext: map[string]string{"a": "b", "c": "d"}}},
		{name: "allowed keys", id: ann, params: searchtoken.TokenParams{AllowedDictionaryFieldKeys: map[string][]string{"a": {"*"}}}},
		{name: "prepared filter", id: ann, prepare: func(_ *http.Request, p *searchtoken.TokenParams) error { p.Filter = "y"; return nil }},
		{name: "prepared user", id: ann, prepare: setUser(searchtoken.UserID{Name: "carol", Provider: "P"})},
		{name: "prepared user, other", id: ann, prepare: setUser(searchtoken.UserID{Name: "dave", Provider: "P"})},
	}
	cache := searchtoken.NewMemoryCache(0)
	all := &issuer{}
	tokens := map[string]string{}
	for range 2 {
		for _, v := range variants {
			t.Run(v.name, func(t *testing.T) {
				m := newMiddleware(t, searchtoken.Config{
					OrganizationID: v.org, PlatformURL: v.platform, Cache: cache, Issuer: all,
					Identify: func(*http.Request) (searchtoken.Identity, error) { return v.id, nil },
					Route:    searchtoken.Route{Params: v.params, Prepare: v.prepare},
				})
				token := get(m, request("")).Body.String()
				if name, ok := tokens[token]; ok && name != v.name {
					t.Errorf("%s gets the token of %s", v.name, name)
				}
				tokens[token] = v.name
			})
		}
	}
	if got := all.count(); got != len(variants) {
		t.Errorf("%d calls for %d grants: each is to be asked for once", got, len(variants))
	}
	// What only looks different is one.
	m := newMiddleware(t, searchtoken.Config{Cache: cache, Issuer: all, Identify: func(*http.Request) (searchtoken.Identity, error) {
		return id(searchtoken.UserID{Name: "ann", Provider: searchtoken.EmailSecurityProvider}), nil
	}, Route: searchtoken.Route{Params: searchtoken.TokenParams{ValidFor: 24 * time.Hour}}})
	if got := get(m, request("")).Body.String(); tokens[got] != "ann" {
		t.Errorf("the default type and life, spelled out, are another token: that of %q", tokens[got])
	}
}

func TestWhatTheIssuerIsAskedFor(t *testing.T) {
	ann := searchtoken.Email("ann")
	ann.DisplayName, ann.Groups = "Ann", []string{"staff"}
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{
		Issuer:   issuer,
		Identify: func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
		Route: searchtoken.Route{
			Params:  searchtoken.TokenParams{SearchHub: "hub", UserDisplayName: "Somebody", UserGroups: []string{"all"}, ValidFor: time.Hour},
			Prepare: func(r *http.Request, p *searchtoken.TokenParams) error { p.Filter = "@host==" + r.Host; return nil },
		},
	})
	get(m, request(""))
	want := []searchtoken.TokenParams{{
		UserIDs: ann.UserIDs, UserDisplayName: "Ann", UserGroups: []string{"staff"}, SearchHub: "hub", ValidFor: time.Hour, Filter: "@host==example.com",
	}}
	if diff := cmp.Diff(want, issuer.params()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
}

// TestCopies writes to all that a callback gets, and looks for it elsewhere.
func TestCopies(t *testing.T) {
	fresh := func() searchtoken.TokenParams {
		return searchtoken.TokenParams{
			CanSeeUserProfileOf:    []string{"a"},
			UserGroups:             []string{"g"},
			DictionaryFieldContext: map[string]string{"f": "k"},
		}
	}
	spoil := func(p *searchtoken.TokenParams) {
		p.CanSeeUserProfileOf[0] = "spoilt"
		p.UserGroups[0] = "spoilt"
		p.DictionaryFieldContext["f"] = "spoilt"
		if len(p.UserIDs) > 0 {
			p.UserIDs[0].Name = "spoilt"
		}
	}
	given, ann := fresh(), searchtoken.Email("ann")
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{
		Issuer:   issuer,
		Identify: func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
		Route:    searchtoken.Route{Params: given},
	})
	for _, change := range []func(*searchtoken.Route){
		func(r *searchtoken.Route) { spoil(&r.Params) },
		func(r *searchtoken.Route) {
			r.Prepare = func(_ *http.Request, p *searchtoken.TokenParams) error { spoil(p); return nil }
		},
	} {
		child, err := m.With(change)
		if err != nil {
			t.Fatal(err)
		}
		get(child, request(""))
	}
	if diff := cmp.Diff(fresh(), given); diff != "" {
		t.Errorf("the caller's own values (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(searchtoken.Email("ann"), ann); diff != "" {
		t.Errorf("the identity (-want +got):\n%s", diff)
	}
	spoil(&given) // after New
	get(m, request(""))
	want := fresh()
	want.UserIDs = ann.UserIDs
	if calls := issuer.params(); !cmp.Equal(want, calls[len(calls)-1]) {
		t.Errorf("the parent (-want +got):\n%s", cmp.Diff(want, calls[len(calls)-1]))
	}
}

func TestWith(t *testing.T) {
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{
		Params: searchtoken.TokenParams{SearchHub: "parent"}, RenewURL: "/renew", Optional: true,
	}})
	child, err := m.With(func(r *searchtoken.Route) {
		if diff := cmp.Diff(searchtoken.Route{Params: searchtoken.TokenParams{SearchHub: "parent"}, Optional: true}, *r); diff != "" {
			t.Errorf("route to change (-want +got):\n%s", diff)
		}
		r.Params.SearchHub = "child"
	})
	if err != nil {
		t.Fatal(err)
	}
	hub := func(m *searchtoken.Middleware) (got string) {
		m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			page, _ := searchtoken.FromContext(r.Context())
			got = page.SearchHub + " " + page.RenewURL
		})).ServeHTTP(httptest.NewRecorder(), request("ann"))
		return got
	}
	if diff := cmp.Diff([]string{"parent /renew", "child "}, []string{hub(m), hub(child)}); diff != "" {
		t.Errorf("hubs and renewal URLs (-want +got):\n%s", diff)
	}
	// One cache for both: a Forget on one holds for the other.
	if err := child.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
		t.Fatal(err)
	}
	hub(m)
	if got := issuer.count(); got != 3 {
		t.Errorf("%d calls, want 3: the parent's, the child's, and the parent's after Forget", got)
	}
	if _, err := m.With(func(r *searchtoken.Route) { r.RenewURL = "//evil"; r.Params.ValidFor = 1 }); err == nil ||
		!strings.Contains(err.Error(), "RenewURL") || !strings.Contains(err.Error(), "Params.ValidFor") {
		t.Errorf("With: %v, want an error that names both fields", err)
	}
}

func TestForgetNeedsAUser(t *testing.T) {
	if err := newMiddleware(t, searchtoken.Config{}).Forget(t.Context(), searchtoken.Identity{}); err == nil {
		t.Error("Forget of nobody succeeds")
	}
}

// TestContextHidesThePage prints what a handler may print.
func TestContextHidesThePage(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
		return searchtoken.Email("jsmith@example.com"), nil
	}})
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		child, cancel := context.WithCancel(r.Context())
		defer cancel()
		for _, ctx := range []context.Context{r.Context(), child} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				got := fmt.Sprintf(verb, ctx)
				if strings.Contains(got, page.Token.Value) || strings.Contains(got, "jsmith") {
					t.Errorf("%s shows the page: %s", verb, got)
				}
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), request(""))
}

// TestIssuerErrorIsRedacted has an Issuer that names the user, by a name that
// only the request tells to be one.
func TestIssuerErrorIsRedacted(t *testing.T) {
	var log bytes.Buffer
	m := newMiddleware(t, searchtoken.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Identify: func(*http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("Ann Lee")
			id.DisplayName = "Ann"
			return id, nil
		},
		Issuer: &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			return searchtoken.Token{}, errors.New("no user Ann Lee here")
		}},
	})
	get(m, request(""))
	if got := log.String(); !strings.Contains(got, "no user [redacted] here") {
		t.Errorf("log: %s", got)
	}
}

// TestLongErrorsCostLittle has a visitor whose header an error repeats. That
// what is kept of it is short says that it was cut; that the test ends, that it
// was cut before it was searched.
func TestLongErrorsCostLittle(t *testing.T) {
	var log bytes.Buffer
	m := newMiddleware(t, searchtoken.Config{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Identify: func(r *http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, errors.New("unknown " + r.Header.Get("User"))
		},
	})
	get(m, request(strings.Repeat("xx00000000-a!", 1<<20/13)))
	if log.Len() > 1000 || !strings.Contains(log.String(), "unknown") {
		t.Errorf("a log line of %d bytes: %.300s", log.Len(), log.String())
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for i, status := range []int{200, 400, 401, 429, 500, 0, -1} { // 0: no answer, -1: a panic
		m, err := searchtoken.New(searchtoken.Config{
			OrganizationID: "acme", APIKey: apiKey, Logger: logger,
			Identify: func(r *http.Request) (searchtoken.Identity, error) {
				if r.URL.Path == "/fail" {
					return searchtoken.Identity{}, errors.New("no jsmith@example.com with " + secret)
				}
				return byHeader(r)
			},
			Cache: &cache{Cache: searchtoken.NewMemoryCache(0), get: func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
				return searchtoken.Token{}, 0, errors.New("cache down for jsmith@example.com")
			}},
			HTTPClient: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				switch status {
				case 0:
					return nil, fmt.Errorf("network down: %v", r.Header)
				case -1:
					panic(apiKey)
				}
				body, err := io.ReadAll(r.Body) // an upstream that echoes all that it gets
				if err != nil {
					return nil, err
				}
				return respond(status, fmt.Sprintf(`{"token":%q,"message":%q,"type":%q}`, secret, string(body)+secret, r.Header.Get("Authorization")), nil), nil
			})},
			Observe: func(_ context.Context, e searchtoken.Event) { fmt.Fprintln(&log, e, e.Err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		user := fmt.Sprintf("jsmith%d@example.com", i)
		get(m, request(user))
		renew(m, renewal(user, secret))
		get(m, httptest.NewRequest("GET", "/fail", nil))
		if err := m.Forget(t.Context(), searchtoken.Email(user)); err != nil {
			t.Error(err)
		}
		m.Shutdown(context.Background())
	}
	for _, want := range []string{"answered 400", "answered 401", "answered 429", "answered 500", "network down", "cache down", "panic=string", "no [redacted]"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	for _, leak := range []string{apiKey, secret, "jsmith", "c2VjcmV0"} {
		if strings.Contains(log.String(), leak) {
			t.Errorf("the log shows %s:\n%s", leak, log.String())
		}
	}
}

// nopWriter is a ResponseWriter that costs nothing.
type nopWriter struct{ header http.Header }

func (w nopWriter) Header() http.Header         { return w.header }
func (w nopWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w nopWriter) WriteHeader(int)             {}

func TestHitAllocatesLittle(t *testing.T) {
	ann := searchtoken.Email("ann")
	m := newMiddleware(t, searchtoken.Config{
		Identify: func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
		Route:    searchtoken.Route{Params: searchtoken.TokenParams{SearchHub: "hub"}},
	})
	handler := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w, r := nopWriter{http.Header{}}, request("")
	handler.ServeHTTP(w, r)
	got := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		handler.ServeHTTP(w, r)
	})
	if got > 2 {
		t.Errorf("a hit allocates %v times, want 2 at most: the page and the request", got)
	}
}
