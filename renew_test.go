package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// renewal is a POST of rejected by user; an empty rejected is a GET.
func renewal(user, rejected string) *http.Request {
	r := request(user)
	if rejected != "" {
		r = httptest.NewRequest("POST", "/", strings.NewReader(fmt.Sprintf(`{"rejected":%q}`, rejected)))
		r.Header.Set("User", user)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "text/plain")
	return r
}

// renew serves r by m's RenewHandler.
func renew(m *searchtoken.Middleware, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.RenewHandler().ServeHTTP(w, r)
	return w
}

func TestRenewHandlerAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, accept string
		wantText     bool
	}{
		{name: "nothing", accept: ""},
		{name: "JSON", accept: "application/json"},
		{name: "text", accept: "text/plain", wantText: true},
		{name: "text before JSON", accept: "application/json;q=0.8, text/plain", wantText: true},
		{name: "JSON before text", accept: "text/plain;q=0.8, application/json"},
		{name: "both alike", accept: "application/json, text/plain, */*"},
		{name: "text by name", accept: "text/plain, */*", wantText: true},
		{name: "text of any kind", accept: "text/*, */*;q=0.1", wantText: true},
		{name: "anything", accept: "*/*"},
		{name: "no text", accept: "text/plain;q=0, */*"},
		{name: "garbage", accept: ";;,text/;q=x"},
		{name: "quality above 1", accept: "text/plain;q=1.5, application/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMiddleware(t, searchtoken.Config{})
				token := get(m, request("ann")).Body.String()
				r := renewal("ann", "")
				r.Header.Set("Accept", tt.accept)
				w := renew(m, r)
				type response struct {
					Status int
					Body   string
					Header http.Header
				}
				want := response{200, `{"token":"` + token + `"}` + "\n", http.Header{
					"Cache-Control": {"private, no-store"}, "Vary": {"Cookie", "Accept"}, "X-Content-Type-Options": {"nosniff"},
					"Content-Type": {"application/json"},
				}}
				if tt.wantText {
					want.Body = token
					want.Header.Set("Content-Type", "text/plain; charset=utf-8")
				}
				if diff := cmp.Diff(want, response{w.Code, w.Body.String(), w.Header()}); diff != "" {
					t.Errorf("response (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestRenewHandlerRefuses(t *testing.T) {
	post := func(body string, header ...string) *http.Request {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("User", "ann")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	getWith := func(header ...string) *http.Request {
		r := post("", header...)
		r.Method = "GET"
		return r
	}
	method := func(method string) *http.Request {
		r := post(`{"rejected":"x"}`)
		r.Method = method
		return r
	}
	nobody := post(`{"rejected":"x"}`)
	nobody.Header.Del("User")
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
	}{
		{"GET without browser", getWith(), 200},
		{"GET of the same origin", getWith("Sec-Fetch-Site", "same-origin"), 200},
		{"GET of the user", getWith("Sec-Fetch-Site", "none"), 200},
		{"GET of the same site", getWith("Sec-Fetch-Site", "same-site"), 403},
		{"GET of another site", getWith("Sec-Fetch-Site", "cross-site"), 403},
		{"GET of another origin", getWith("Origin", "https://evil.example.com"), 403},
		{"GET of its own origin", getWith("Origin", "http://example.com"), 200},
		{"POST of the same origin", post(`{"rejected":"x"}`, "Sec-Fetch-Site", "same-origin"), 200},
		{"POST of another site", post(`{"rejected":"x"}`, "Sec-Fetch-Site", "cross-site"), 403},
		{"POST of another origin", post(`{"rejected":"x"}`, "Origin", "https://evil.example.com"), 403},
		{"POST of no token", post(`{"rejected":""}`), 200},
		{"PUT", method("PUT"), 405},
		{"HEAD", method("HEAD"), 405},
		{"OPTIONS", method("OPTIONS"), 405},
		{"empty body", post(""), 400},
		{"half a body", post(`{"rejected":"x"`), 400},
		{"two bodies", post(`{"rejected":"x"}{}`), 400},
		{"null", post(`null`), 400},
		{"array", post(`["x"]`), 400},
		{"no such property", post(`{"token":"x"}`), 400},
		{"of another type", post(`{"rejected":17}`), 400},
		{"form", post(`rejected=x`), 400},
		{"16 KiB", post(`{"rejected":"` + strings.Repeat("a", 16<<10-15) + `"}`), 200},
		{"over 16 KiB", post(`{"rejected":"` + strings.Repeat("a", 16<<10-14) + `"}`), 413},
		{"nobody", nobody, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMiddleware(t, searchtoken.Config{Route: searchtoken.Route{
				Optional: true,
				ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
					http.Redirect(w, r, "/login", http.StatusSeeOther)
				},
			}})
			w := renew(m, tt.r)
			if w.Code != tt.want {
				t.Errorf("status %d, want %d", w.Code, tt.want)
			}
			if tt.want != 200 && w.Body.String() != http.StatusText(tt.want)+"\n" {
				t.Errorf("body %q, want the status alone", w.Body)
			}
			if got := w.Header().Get("Allow"); (got == "GET, POST") != (tt.want == 405) {
				t.Errorf("Allow: %q", got)
			}
			for name, want := range map[string]string{"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff", "Access-Control-Allow-Origin": ""} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestRenewalReplacesTheRejectedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: slowly(time.Second)}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		first := get(m, request("ann")).Body.String()
		time.Sleep(time.Minute)

		// Tabs and parallel calls share a fetch.
		got := make([]string, 5)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i] = renew(m, renewal("ann", first)).Body.String() })
		}
		wg.Wait()
		second := get(m, request("ann")).Body.String()
		if diff := cmp.Diff([]string{second, second, second, second, second}, got); diff != "" {
			t.Errorf("tokens of parallel renewals (-want +got):\n%s", diff)
		}
		if second == first || issuer.count() != 2 {
			t.Errorf("the rejected token was kept (%d calls)", issuer.count())
		}

		// Another tab that still has the first one gets the second.
		time.Sleep(time.Hour)
		if got := renew(m, renewal("ann", first)).Body.String(); got != second || issuer.count() != 2 {
			t.Errorf("a late tab does not get the cached token (%d calls)", issuer.count())
		}
		// A request that names none gets it, too.
		if got := renew(m, renewal("ann", "")).Body.String(); got != second {
			t.Errorf("a GET does not get the cached token")
		}
	})
}

func TestRenewalByTimeOfIssue(t *testing.T) {
	claim := func(iat int64, id string) string {
		return jwt(map[string]any{"iat": iat, "exp": iat + 86400, "id": id})
	}
	for _, tt := range []struct {
		name     string
		cached   string
		age      time.Duration
		rejected string
		forced   bool
	}{
		{"earlier", claim(1000, "c"), time.Hour, claim(999, "r"), false},
		{"later", claim(1000, "c"), 0, claim(1001, "r"), true},
		{"of the same second, cached just then", claim(1000, "c"), 9 * time.Second, claim(1000, "r"), false},
		{"of the same second, cached long since", claim(1000, "c"), 10 * time.Second, claim(1000, "r"), true},
		{"the cached one", claim(1000, "c"), 0, claim(1000, "c"), true},
		{"no JWT", claim(1000, "c"), time.Hour, "garbage", false},
		{"neither is a JWT, cached just then", "opaque", 0, "garbage", false},
		{"neither is a JWT, cached long since", "opaque", time.Hour, "garbage", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					if n == 1 {
						return searchtoken.Token{Value: tt.cached}, nil
					}
					return tokenFor(n, p), nil
				}}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
				get(m, request("ann"))
				time.Sleep(tt.age)
				got := renew(m, renewal("ann", tt.rejected)).Body.String()
				if got == tt.rejected {
					t.Error("the rejected token is handed out again")
				}
				if forced := issuer.count() == 2; forced != tt.forced || forced == (got == tt.cached) {
					t.Errorf("forced: %v, want %v; got the cached one: %v", forced, tt.forced, got == tt.cached)
				}
			})
		})
	}
}

func TestRenewalIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer,
			Identify: searchtoken.FirstIdentity(byHeader, searchtoken.AnonymousIdentity)})
		hammer := func(user string, n int) (statuses []int) {
			for range n {
				current := get(m, request(user)).Body.String()
				w := renew(m, renewal(user, current))
				statuses = append(statuses, w.Code)
				if w.Code == 429 {
					if diff := cmp.Diff(answer{429, "Too Many Requests\n", "20"}, seen(w)); diff != "" {
						t.Errorf("refusal (-want +got):\n%s", diff)
					}
					if after := get(m, request(user)).Body.String(); after != current {
						t.Error("a refused renewal changed the cached token")
					}
				}
			}
			return statuses
		}
		want := []int{200, 200, 200, 429, 429}
		for _, user := range []string{"ann", "bob", ""} { // each has a limit of their own
			if diff := cmp.Diff(want, hammer(user, 5)); diff != "" {
				t.Errorf("statuses of %q (-want +got):\n%s", user, diff)
			}
		}
		time.Sleep(20 * time.Second)
		if diff := cmp.Diff([]int{200, 429}, hammer("ann", 2)); diff != "" {
			t.Errorf("statuses 20 s later (-want +got):\n%s", diff)
		}
	})
}

func TestRenewalThatFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(first searchtoken.Token) (searchtoken.Token, error)
		want   int
	}{
		{"Coveo fails", func(searchtoken.Token) (searchtoken.Token, error) {
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 500, Message: "upstream text"}
		}, 503},
		{"Coveo refuses", func(searchtoken.Token) (searchtoken.Token, error) {
			return searchtoken.Token{}, &searchtoken.APIError{StatusCode: 403, Message: "upstream text"}
		}, 502},
		{"unreachable", func(searchtoken.Token) (searchtoken.Token, error) {
			return searchtoken.Token{}, errors.New("upstream text")
		}, 503},
		{"the rejected token again", func(first searchtoken.Token) (searchtoken.Token, error) { return first, nil }, 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var first searchtoken.Token
				issuer := &issuer{answer: func(_ context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
					if n == 1 {
						first = tokenFor(n, p)
						return first, nil
					}
					return tt.answer(first)
				}}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
				get(m, request("ann"))
				w := renew(m, renewal("ann", first.Value))
				if w.Code != tt.want || w.Body.String() != http.StatusText(tt.want)+"\n" || w.Header().Get("Retry-After") == "" {
					t.Errorf("renewal: %v, want %d with Retry-After", seen(w), tt.want)
				}
				if got := get(m, request("ann")); got.Body.String() != first.Value {
					t.Errorf("the cached token is gone: %v", seen(got))
				}
			})
		})
	}
}

// TestRenewalClaims has a visitor claim that some token was rejected.
func TestRenewalClaims(t *testing.T) {
	down := errors.New("down")
	future := jwt(map[string]any{"iat": time.Now().Add(100 * 365 * 24 * time.Hour).Unix()})
	for _, tt := range []struct {
		name     string
		cache    searchtoken.Cache
		rejected string
		claims   int
		want     int // calls, with the page's before
	}{
		{"a token of the future costs one fetch", searchtoken.NewMemoryCache(0), future, 1, 2},
		{"so do no more than the limit", searchtoken.NewMemoryCache(0), future, 10, 4},
		{"the limit holds without a cache", &cache{
			get: func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
				return searchtoken.Token{}, 0, down
			},
			set: func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
				return false, down
			},
		}, future, 100, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				issuer := &issuer{}
				m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Cache: tt.cache})
				get(m, request("ann"))
				for i := range tt.claims {
					if w := renew(m, renewal("ann", tt.rejected)); i < 3 && (w.Code != 200 || w.Body.String() == tt.rejected) {
						t.Errorf("claim %d: %v", i, seen(w))
					}
				}
				if got := issuer.count(); got != tt.want {
					t.Errorf("%d calls, want %d", got, tt.want)
				}
			})
		})
	}
}

// TestRenewalOfAColdCache is none of the forced ones.
func TestRenewalOfAColdCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMiddleware(t, searchtoken.Config{})
		for range 10 {
			old := get(m, request("ann")).Body.String()
			if err := m.Forget(t.Context(), searchtoken.Email("ann")); err != nil {
				t.Fatal(err)
			}
			if w := renew(m, renewal("ann", old)); w.Code != 200 || w.Body.String() == old {
				t.Errorf("renewal: %v", seen(w))
			}
		}
	})
}

// TestClaimDoesNotFailOthers has an issuer with only one token to give, and a
// visitor who claims that it was rejected.
func TestClaimDoesNotFailOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{answer: func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
			time.Sleep(time.Second)
			return searchtoken.Token{Value: "only"}, nil
		}}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		var wg sync.WaitGroup
		wg.Go(func() {
			if w := renew(m, renewal("ann", "only")); w.Code != 503 {
				t.Errorf("renewal: %v", seen(w))
			}
		})
		synctest.Wait()
		for range 2 { // the first joins the renewal's fetch
			if w := get(m, request("ann")); w.Code != 200 || w.Body.String() != "only" {
				t.Errorf("page: %v", seen(w))
			}
		}
		wg.Wait()
		if got := issuer.count(); got != 1 {
			t.Errorf("%d calls, want 1", got)
		}
	})
}

// TestRenewalHasThePagesGrant compares what is asked for.
func TestRenewalHasThePagesGrant(t *testing.T) {
	issuer := &issuer{}
	m := newMiddleware(t, searchtoken.Config{Issuer: issuer, Route: searchtoken.Route{
		Params:  searchtoken.TokenParams{SearchHub: "hub"},
		Prepare: func(r *http.Request, p *searchtoken.TokenParams) error { p.Filter = "@tenant==" + r.Host; return nil },
	}})
	page := get(m, request("ann")).Body.String()
	renew(m, renewal("ann", page))
	calls := issuer.params()
	if len(calls) != 2 {
		t.Fatalf("%d calls, want 2", len(calls))
	}
	if diff := cmp.Diff(calls[0], calls[1]); diff != "" {
		t.Errorf("grants of page and renewal (-page +renewal):\n%s", diff)
	}
}

func TestRenewalOfAnotherUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := &issuer{}
		m := newMiddleware(t, searchtoken.Config{Issuer: issuer})
		ann := get(m, request("ann")).Body.String()
		bob := get(m, request("bob")).Body.String()
		if got := renew(m, renewal("bob", ann)).Body.String(); got != bob {
			t.Errorf("bob, who names ann's token, does not get his own")
		}
		if got := get(m, request("ann")).Body.String(); got != ann {
			t.Errorf("ann's token is gone")
		}
	})
}
