package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/searchtoken/searchtoken"
)

func TestHandlerGivesTheRequestItsPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := searchtoken.Email("ann")
		id.DisplayName = "Ann"
		m := newMiddleware(t, searchtoken.Config{
			Environment: searchtoken.EnvHIPAA,
			Identify:    func(*http.Request) (searchtoken.Identity, error) { return id, nil },
			Route: searchtoken.Route{
				Params:   searchtoken.TokenParams{SearchHub: "hub"},
				RenewURL: "/coveo/token",
				Nonce:    func(r *http.Request) string { return "nonce of " + r.URL.Path },
			},
		})
		got, _ := pageOf(m, request(""))
		want := searchtoken.Page{
			Token:          tokenFor(1, searchtoken.TokenParams{UserIDs: id.UserIDs}),
			Identity:       id,
			OrganizationID: "acme",
			Environment:    "hipaa",
			PlatformURL:    "https://acme.orghipaa.coveo.com",
			AnalyticsURL:   "https://acme.analytics.orghipaa.coveo.com",
			RenewURL:       "/coveo/token",
			SearchHub:      "hub",
			Nonce:          "nonce of /",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
	})
}

func TestPageHasTheHubThatPrepareSets(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{Route: searchtoken.Route{
		Params: searchtoken.TokenParams{SearchHub: "hub"},
		Prepare: func(_ *http.Request, p *searchtoken.TokenParams) error {
			p.SearchHub = "prepared " + p.SearchHub
			return nil
		},
	}})
	if page, _ := pageOf(m, request("ann")); page.SearchHub != "prepared hub" {
		t.Errorf("SearchHub = %q", page.SearchHub)
	}
}

func TestFromContextFindsOnlyAPage(t *testing.T) {
	page := &searchtoken.Page{SearchHub: "hub"}
	background := context.Background()
	nested := searchtoken.NewContext(searchtoken.NewContext(background, &searchtoken.Page{}), page)
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want *searchtoken.Page
	}{
		{"no page", background, nil},
		{"nil page", searchtoken.NewContext(background, nil), nil},
		{"page", searchtoken.NewContext(background, page), page},
		{"page in a child", context.WithValue(searchtoken.NewContext(background, page), page, 1), page},
		{"page of the innermost context", nested, page},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := searchtoken.FromContext(tt.ctx); got != tt.want || ok != (tt.want != nil) {
				t.Errorf("FromContext() = %v, %v, want %v, %v", got, ok, tt.want, tt.want != nil)
			}
		})
	}
}

func TestHandlerKeepsTheValuesOfTheContext(t *testing.T) {
	type outer struct{}
	type inner struct{}
	m := newMiddleware(t, searchtoken.Config{Identify: func(r *http.Request) (searchtoken.Identity, error) {
		// As gorilla's registry does: it replaces the context of the request.
		*r = *r.WithContext(context.WithValue(r.Context(), inner{}, "inner"))
		return searchtoken.Email("ann"), nil
	}})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), outer{}, "outer"))
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := []any{r.Context().Value(outer{}), r.Context().Value(inner{})}; !cmp.Equal(got, []any{"outer", "inner"}) {
			t.Errorf("values %v", got)
		}
		if cancel(); !errors.Is(r.Context().Err(), context.Canceled) {
			t.Errorf("Err() = %v after the request was canceled", r.Context().Err())
		}
	})).ServeHTTP(httptest.NewRecorder(), request("").WithContext(ctx))
}

func TestHandlerAnswersEveryFailure(t *testing.T) {
	for _, f := range failures() {
		t.Run(f.name, func(t *testing.T) {
			check := func(w *httptest.ResponseRecorder, want answer) {
				t.Helper()
				got := seen(w)
				if got.RetryAfter == "1" || got.RetryAfter == "2" {
					got.RetryAfter = firstRetry
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("answer (-want +got):\n%s", diff)
				}
				headers := []string{w.Header().Get("Cache-Control"), w.Header().Get("Vary")}
				if diff := cmp.Diff([]string{"private, no-store", "Cookie"}, headers); diff != "" {
					t.Errorf("Cache-Control and Vary (-want +got):\n%s", diff)
				}
			}
			serve := func(cfg searchtoken.Config, next http.HandlerFunc) *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				newMiddleware(t, cfg).Handler(next).ServeHTTP(w, request(f.user))
				return w
			}
			t.Run("by default", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := get(newMiddleware(t, f.config()), request(f.user))
					check(w, answer{f.status, http.StatusText(f.status) + "\n", f.retryAfter})
				})
			})
			t.Run("by ErrorHandler", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls, cfg := 0, f.config()
					cfg.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
						calls++
						w.WriteHeader(http.StatusTeapot)
						fmt.Fprint(w, searchtoken.HTTPStatus(err), " ", f.is == nil || errors.Is(err, f.is))
					}
					w := serve(cfg, func(http.ResponseWriter, *http.Request) { t.Error("the page is served as well") })
					check(w, answer{http.StatusTeapot, fmt.Sprint(f.status, " true"), f.retryAfter})
					if calls != 1 {
						t.Errorf("ErrorHandler was called %d times, want once", calls)
					}
				})
			})
			t.Run("by a page without a token", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cfg := f.config()
					cfg.Optional = true
					cfg.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { t.Error("ErrorHandler is called") }
					w := serve(cfg, func(w http.ResponseWriter, r *http.Request) {
						page, _ := searchtoken.FromContext(r.Context())
						fmt.Fprint(w, page.OrganizationID, " ", page.Token, " ", searchtoken.HTTPStatus(page.Err))
					})
					check(w, answer{200, fmt.Sprint("acme search token (none) ", f.status), ""})
				})
			})
		})
	}
}

func TestHandlerKeepsThePageOutOfSharedCaches(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before []string // Vary
		want   []string
	}{
		{"nothing", nil, []string{"Cookie"}},
		{"other fields", []string{"Accept-Encoding", "Origin"}, []string{"Accept-Encoding", "Origin", "Cookie"}},
		{"Cookie", []string{"Accept, cookie"}, []string{"Accept, cookie"}},
		{"everything", []string{"*"}, []string{"*"}},
		{"everything, in a list", []string{"Accept", "Origin, *"}, []string{"Accept", "Origin, *"}},
		{"field whose name contains Cookie", []string{"X-Cookie"}, []string{"X-Cookie", "Cookie"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{})
			for range 2 { // the second response must not have what the first one appended
				w := httptest.NewRecorder()
				if tt.before != nil {
					w.Header()["Vary"] = tt.before
				}
				w.Header().Set("Cache-Control", "public")
				m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					want := http.Header{"Vary": tt.want, "Cache-Control": {"private, no-store"}}
					if diff := cmp.Diff(want, w.Header()); diff != "" {
						t.Errorf("headers before the wrapped handler (-want +got):\n%s", diff)
					}
					w.Header().Add("Vary", "Accept")
					w.Header().Add("Cache-Control", "no-transform")
					w.Header()["Cache-Control"][0] = "public"
				})).ServeHTTP(w, request("ann"))
			}
		})
	}
}

// TestHandlerRemovesTheCacheHeadersOfOuterLayers has an outer layer that wants
// all answers cached.
func TestHandlerRemovesTheCacheHeadersOfOuterLayers(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{})
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, handler := range []struct {
		name string
		http.Handler
		user string
		want http.Header // besides that of all answers
	}{
		{"page", m.Handler(next), "ann", http.Header{}},
		{"error", m.Handler(next), "", http.Header{"Content-Type": {"text/plain; charset=utf-8"}}},
		{"renewal", m.RenewHandler(), "ann", http.Header{"Content-Type": {"application/json"}}},
	} {
		t.Run(handler.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			outer := http.Header{}
			for _, name := range []string{
				"CDN-Cache-Control", "Surrogate-Control", "Expires", "Cloudflare-CDN-Cache-Control",
				"Netlify-CDN-Cache-Control", "Vercel-CDN-Cache-Control", "Edge-Control", "X-Accel-Expires", "Cache-Control",
			} {
				outer.Set(name, "public, max-age=600")
			}
			outer["CDN-Cache-Control"] = []string{"public"} // not in its canonical form
			outer["cache-control"] = []string{"public"}
			outer.Set("Last-Modified", "yesterday")
			outer.Set("X-Cache-Key", "a")
			maps.Copy(w.Header(), outer)
			handler.ServeHTTP(w, request(handler.user))
			want := handler.want
			want.Set("Cache-Control", "private, no-store")
			want.Set("Last-Modified", "yesterday")
			want.Set("X-Cache-Key", "a")
			got := w.Header()
			got.Del("Vary")
			got.Del("X-Content-Type-Options")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHandlerDoesNotWrapTheResponseWriter(t *testing.T) {
	w, called := httptest.NewRecorder(), false
	newMiddleware(t, searchtoken.Config{}).Handler(http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
		called = true
		if got != http.ResponseWriter(w) {
			t.Errorf("the wrapped handler got a %T", got)
		}
	})).ServeHTTP(w, request("ann"))
	if !called {
		t.Error("the wrapped handler is not called")
	}
}

func TestIssuerGetsTheIdentityAndTheRoute(t *testing.T) {
	ann := searchtoken.Email("ann")
	ann.DisplayName, ann.Groups = "Ann", []string{"staff"}
	params := searchtoken.TokenParams{
		SearchHub: "hub", UserDisplayName: "Somebody", UserGroups: []string{"all"}, ValidFor: time.Hour,
	}
	withFilter := func(r *http.Request, p *searchtoken.TokenParams) error {
		p.Filter = "@host==" + r.Host
		return nil
	}
	type tokenParams = searchtoken.TokenParams
	for _, tt := range []struct {
		name  string
		id    searchtoken.Identity
		route searchtoken.Route
		want  tokenParams // UserIDs are ann's
	}{
		{"neither", searchtoken.Email("ann"), searchtoken.Route{}, tokenParams{}},
		{"route", searchtoken.Email("ann"), searchtoken.Route{Params: params}, params},
		{
			"identity", ann, searchtoken.Route{Params: params},
			tokenParams{SearchHub: "hub", UserDisplayName: "Ann", UserGroups: []string{"staff"}, ValidFor: time.Hour},
		},
		{
			"name of the identity", searchtoken.Identity{UserIDs: ann.UserIDs, DisplayName: "Ann"},
			searchtoken.Route{Params: params},
			tokenParams{SearchHub: "hub", UserDisplayName: "Ann", UserGroups: []string{"all"}, ValidFor: time.Hour},
		},
		{
			"groups of the identity", searchtoken.Identity{UserIDs: ann.UserIDs, Groups: ann.Groups},
			searchtoken.Route{Params: params},
			tokenParams{SearchHub: "hub", UserDisplayName: "Somebody", UserGroups: []string{"staff"}, ValidFor: time.Hour},
		},
		{
			"Prepare", ann, searchtoken.Route{Params: tokenParams{SearchHub: "hub"}, Prepare: withFilter},
			tokenParams{SearchHub: "hub", UserDisplayName: "Ann", UserGroups: []string{"staff"}, Filter: "@host==example.com"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer := &issuer{}
			get(newMiddleware(t, searchtoken.Config{
				Issuer: issuer, Route: tt.route,
				Identify: func(*http.Request) (searchtoken.Identity, error) { return tt.id, nil },
			}), request(""))
			tt.want.UserIDs = ann.UserIDs
			if diff := cmp.Diff([]searchtoken.TokenParams{tt.want}, issuer.params()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithSharesEverythingExceptTheRoute(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Route: searchtoken.Route{
			Params: searchtoken.TokenParams{SearchHub: "parent"}, RenewURL: "/renew", Optional: true,
		}})
		want := searchtoken.Route{Params: searchtoken.TokenParams{SearchHub: "parent"}, Optional: true}
		child, err := h.middleware.With(func(r *searchtoken.Route) {
			if diff := cmp.Diff(want, *r); diff != "" {
				t.Errorf("route to change (-want +got):\n%s", diff)
			}
			r.Params.SearchHub = "child"
		})
		if err != nil {
			t.Fatal(err)
		}
		copied, err := h.middleware.With(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		look := func(m *searchtoken.Middleware) {
			page, _ := pageOf(m, request("ann"))
			got = append(got, strings.Join([]string{nameOf(page.Token.Value), page.SearchHub, page.RenewURL}, ", "))
		}
		look(h.middleware)
		look(child)
		look(copied)
		if err := child.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
			t.Fatal(err)
		}
		look(h.middleware)
		wantPages := []string{"ann 1, parent, /renew", "ann 2, child, ", "ann 1, parent, ", "ann 3, parent, /renew"}
		if diff := cmp.Diff(wantPages, got); diff != "" {
			t.Errorf("tokens, hubs and renewal URLs (-want +got):\n%s", diff)
		}
	})
}

func TestForgetNeedsAUser(t *testing.T) {
	forgets := 0
	m := newMiddleware(t, searchtoken.Config{Cache: &cache{forget: func(context.Context, searchtoken.UserKey) error {
		forgets++
		return nil
	}}})
	if err := m.Forget(t.Context(), searchtoken.Identity{}); err == nil || forgets != 0 {
		t.Errorf("Forget() = %v for nobody, with %d calls of the Cache", err, forgets)
	}
}

func TestForgetUsesOnlyTheUserIDs(t *testing.T) {
	bubble(t, func(h *harness) {
		first := h.get("ann")
		id := searchtoken.Email("ann")
		id.DisplayName, id.Groups, id.Expires = "Ann", []string{"staff"}, time.Now().Add(-time.Hour)
		if err := h.middleware.Forget(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]answer{{200, "ann 1", ""}, {200, "ann 2", ""}}, []answer{first, h.get("ann")}); diff != "" {
			t.Errorf("pages before and after Forget (-want +got):\n%s", diff)
		}
	})
}

func TestContextDoesNotPrintThePage(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{})
	shown := ""
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		child, cancel := context.WithCancel(r.Context())
		defer cancel()
		for _, ctx := range []context.Context{r.Context(), child} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				shown = fmt.Sprintf(verb, ctx)
				checkHidden(t, shown, page.Token.Value, "jsmith")
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), request("jsmith@example.com"))
	if shown == "" {
		t.Error("nothing is shown")
	}
}

// TestNamesOfTheRequestAreRedacted has an Issuer whose error quotes names that
// only the request identifies as names.
func TestNamesOfTheRequestAreRedacted(t *testing.T) {
	bubble(t, func(h *harness) {
		h.issuer.fail(errors.New("no user Ann Lee of Lee & Co here"))
		h.configure(searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
			id := searchtoken.Email("Ann Lee")
			id.DisplayName = "Lee & Co"
			return id, nil
		}})
		h.get("")
		if log := strings.Join(h.log.take(), "\n"); !strings.Contains(log, "no user [redacted] of [redacted] here") {
			t.Errorf("log: %s", log)
		}
	})
}

// TestLongErrorsAreCutBeforeTheyAreRedacted has an error that repeats a header
// of a megabyte. Redacting all of it would take minutes.
func TestLongErrorsAreCutBeforeTheyAreRedacted(t *testing.T) {
	log := &logLines{}
	m := newMiddleware(t, searchtoken.Config{
		Logger: log.logger(),
		Identify: func(r *http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, errors.New("unknown " + r.Header.Get("User"))
		},
	})
	get(m, request(strings.Repeat("xx00000000-a!", 1<<20/13)))
	if got := strings.Join(log.take(), "\n"); len(got) > 1000 || !strings.Contains(got, "unknown") {
		t.Errorf("a log line of %d bytes: %.300s", len(got), got)
	}
}

// TestNoSecretIsLogged has parts that put all that they know into their errors.
func TestNoSecretIsLogged(t *testing.T) {
	const noAnswer, panics = 0, -1
	log := &logLines{}
	for i, status := range []int{200, 400, 401, 429, 500, noAnswer, panics} {
		upstream := roundTripper(func(r *http.Request) (*http.Response, error) {
			switch status {
			case noAnswer:
				return nil, fmt.Errorf("network down: %v", r.Header)
			case panics:
				panic(apiKey)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			echo := fmt.Sprintf(`{"token":%q,"message":%q,"type":%q}`, secret, string(body)+secret, r.Header.Get("Authorization"))
			return respond(status, echo, nil), nil
		})
		broken := &cache{Cache: searchtoken.NewMemoryCache(0)}
		broken.fail(errors.New("cache down for jsmith@example.com"), "Get")
		m := newMiddleware(t, searchtoken.Config{
			APIKey: apiKey, Logger: log.logger(), Cache: broken, HTTPClient: &http.Client{Transport: upstream},
			Identify: func(r *http.Request) (searchtoken.Identity, error) {
				if r.URL.Path == "/fail" {
					return searchtoken.Identity{}, errors.New("no jsmith@example.com with " + secret)
				}
				return byHeader(r)
			},
			Observe: func(_ context.Context, e searchtoken.Event) { fmt.Fprintln(log, e, e.Err) },
		})
		user := fmt.Sprintf("jsmith%d@example.com", i)
		get(m, request(user))
		renew(m, renewal(user, secret))
		get(m, httptest.NewRequest("GET", "/fail", nil))
		if err := m.Forget(t.Context(), searchtoken.Email(user)); err != nil {
			t.Error(err)
		}
		m.Shutdown(context.Background())
	}
	got := strings.Join(log.take(), "\n")
	for _, want := range []string{
		"answered 400", "answered 401", "answered 429", "answered 500", "network down", "cache down", "panic=string",
		"no [redacted]",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	checkHidden(t, got, apiKey, secret, "jsmith", "c2VjcmV0")
}

// discard is a ResponseWriter without allocations.
type discard struct{ header http.Header }

func (w discard) Header() http.Header         { return w.header }
func (w discard) Write(b []byte) (int, error) { return len(b), nil }
func (w discard) WriteHeader(int)             {}

func TestHitAllocatesOnlyThePageAndTheRequest(t *testing.T) {
	ann := searchtoken.Email("ann")
	for name, observe := range map[string]func(context.Context, searchtoken.Event){
		"no Observe": nil, "Observe": func(context.Context, searchtoken.Event) {},
	} {
		m := newMiddleware(t, searchtoken.Config{
			Identify: func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
			Observe:  observe,
			Route:    searchtoken.Route{Params: searchtoken.TokenParams{SearchHub: "hub"}},
		})
		handler := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		w, r := discard{http.Header{}}, request("")
		handler.ServeHTTP(w, r)
		got := testing.AllocsPerRun(1000, func() {
			clear(w.header)
			handler.ServeHTTP(w, r)
		})
		if got > 2 {
			t.Errorf("%s: a hit allocates %v times, want at most 2", name, got)
		}
	}
}

// TestForgetNeedsExactlyTheIdentityOfIdentify hands other identities to Forget
// than the one that Identify returned.
func TestForgetNeedsExactlyTheIdentityOfIdentify(t *testing.T) {
	const provider = "Active Directory"
	ids := func(names ...string) (id searchtoken.Identity) {
		for _, name := range names {
			id.UserIDs = append(id.UserIDs, searchtoken.UserID{Name: name, Provider: provider})
		}
		return id
	}
	identified := ids("ann", "CORP\\ann")
	described := identified
	described.DisplayName, described.Groups = "Ann", []string{"staff"}
	for _, tt := range []struct {
		name      string
		id        searchtoken.Identity
		forgotten bool
	}{
		{"the same", identified, true},
		{"the same with a display name", described, true},
		{"another spelling", ids("Ann", "CORP\\ann"), false},
		{"a part", ids("ann"), false},
		{"another order", ids("CORP\\ann", "ann"), false},
		{"another provider", searchtoken.Email("ann"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				h.configure(searchtoken.Config{Identify: func(*http.Request) (searchtoken.Identity, error) {
					return identified, nil
				}})
				h.get("")
				if err := h.middleware.Forget(h.Context(), tt.id); err != nil {
					h.Errorf("Forget: %v", err)
				}
				want := "ann 1"
				if tt.forgotten {
					want = "ann 2"
				}
				check(h, "token after Forget", want, h.get("").Body)
			})
		})
	}
}

func TestPageIsWhatHandlerPutsIntoTheContext(t *testing.T) {
	route := searchtoken.Route{
		Params: searchtoken.TokenParams{SearchHub: "hub"}, RenewURL: "/renew", ProxyURL: "/coveo",
		Nonce: func(*http.Request) string { return "nonce" },
	}
	for _, tt := range []struct {
		name, user string
		optional   bool
		wantErr    error
	}{
		{name: "user", user: "ann"},
		{name: "nobody", wantErr: searchtoken.ErrNoIdentity},
		{name: "nobody on an optional route", optional: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				route.Optional = tt.optional
				h.configure(searchtoken.Config{Route: route})
				page, err := h.middleware.Page(request(tt.user))
				if !errors.Is(err, tt.wantErr) || (page == nil) != (tt.wantErr != nil) {
					t.Fatalf("Page() = %v, %v, want the error %v", page, err, tt.wantErr)
				}
				if page == nil {
					return
				}
				want, _ := pageOf(h.middleware, request(tt.user))
				if diff := cmp.Diff(want, *page, cmpopts.EquateErrors()); diff != "" {
					t.Errorf("Page (-in the context +returned):\n%s", diff)
				}
				if tt.optional && !errors.Is(page.Err, searchtoken.ErrNoIdentity) {
					t.Errorf("Page.Err = %v, want ErrNoIdentity", page.Err)
				}
			})
		})
	}
}

func TestTokenIsTheTokenOfTheUsersPages(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Route: searchtoken.Route{Params: searchtoken.TokenParams{SearchHub: "hub"}}})
		for _, want := range []string{"ann 1", "ann 1"} {
			token, err := h.middleware.Token(h.Context(), searchtoken.Email("ann"))
			if err != nil || nameOf(token.Value) != want {
				t.Fatalf("Token() = %s, %v, want %s", nameOf(token.Value), err, want)
			}
		}
		check(h, "page", answer{Status: 200, Body: "ann 1"}, h.get("ann"))
	})
}

func TestTokenSaysWhyThereIsNone(t *testing.T) {
	ended := searchtoken.Email("ann")
	ended.Expires = time.Unix(1, 0)
	prepare := func(*http.Request, *searchtoken.TokenParams) error { return nil }
	for _, tt := range []struct {
		name  string
		id    searchtoken.Identity
		route searchtoken.Route
		want  string
	}{
		{"no user", searchtoken.Identity{}, searchtoken.Route{}, "searchtoken: Token: Coveo would refuse the identity: UserIDs: at least one"},
		{"session that has ended", ended, searchtoken.Route{}, "nobody is logged in: the session has ended"},
		{"route with a Prepare", searchtoken.Email("ann"), searchtoken.Route{Prepare: prepare}, "has a Prepare, which needs a request; use Page, or a route from With"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Route: tt.route})
			if _, err := m.Token(t.Context(), tt.id); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Token() error = %v, want one with %q", err, tt.want)
			}
		})
	}
}
