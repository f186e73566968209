package site_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestFormsRedirectWithinThisSite(t *testing.T) {
	base, platform := start(t, nil)
	const asAlice = "user=" + alice
	from := func(site string) http.Header { return http.Header{"Sec-Fetch-Site": {site}} }
	tests := []struct {
		name, path, form string
		header           http.Header
		status           int
		location         string
	}{
		{"login", "/login", asAlice, nil, 303, "/"},
		{"login, back to the page", "/login", asAlice + "&page=/jsui", nil, 303, "/jsui"},
		{"login, back to the query", "/login", asAlice + "&page=%2Fplain%3Fq%3Da%2526b", nil, 303, "/plain?q=a%26b"},
		{"login, to another site", "/login", asAlice + "&page=https://evil.example/jsui", nil, 303, "/jsui"},
		{"login, to a URL without a scheme", "/login", asAlice + "&page=//evil.example", nil, 303, "/"},
		{"login, to a URL with a backslash", "/login", asAlice + `&page=/\evil.example`, nil, 303, "/"},
		{"login as a user not on the list", "/login", "user=mallory@example.com", nil, 400, ""},
		{"login as nobody", "/login", "", nil, 400, ""},
		{"login with too long a form", "/login", asAlice + "&page=" + strings.Repeat("x", 9<<10), nil, 400, ""},
		{"login from another origin", "/login", asAlice, http.Header{"Origin": {"https://evil.example"}}, 403, ""},
		{"login from another site", "/login", asAlice, from("cross-site"), 403, ""},
		{"logout with too long a form", "/logout", "page=/jsui&x=" + strings.Repeat("x", 9<<10), nil, 303, "/"},
		{"logout from another site", "/logout", "", from("cross-site"), 403, ""},
		{"logout from this site", "/logout", "page=/atomic", from("same-origin"), 303, "/atomic"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVisitor(t, base)
			r := v.request(http.MethodPost, test.path, "application/x-www-form-urlencoded", test.form)
			for name, values := range test.header {
				r.Header[name] = values
			}
			a := v.do(r)
			if a.StatusCode != test.status || a.Header.Get("Location") != test.location {
				t.Errorf("got %d to %q, want %d to %q", a.StatusCode, a.Header.Get("Location"), test.status,
					test.location)
			}
			if test.status >= 400 && len(a.Cookies()) > 0 {
				t.Error("a refused form sets a cookie")
			}
		})
	}
	if n := platform.Count(); n != 0 {
		t.Errorf("forms made %d calls to the platform", n)
	}
}

func TestLogoutRemovesTheCookie(t *testing.T) {
	base, _ := start(t, nil)
	v := newVisitor(t, base)
	v.logIn(alice)
	v.logOut()
	if cookies := v.client.Jar.Cookies(v.request(http.MethodGet, "/", "", "").URL); len(cookies) > 0 {
		t.Errorf("the browser still has %d cookies", len(cookies))
	}
}

func TestLogoutNeedsPOST(t *testing.T) {
	base, _ := start(t, nil)
	v := newVisitor(t, base)
	v.logIn(alice)
	if a := v.get("/logout"); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /logout: %s", a.Status)
	}
	if !strings.Contains(v.get("/").text, "<strong>"+alice+"</strong>") {
		t.Error("GET /logout has logged alice out")
	}
}

func TestLoginForgetsThePreviousUser(t *testing.T) {
	base, platform := start(t, nil)
	v := newVisitor(t, base)
	v.logIn(alice)
	v.get("/plain")
	v.logIn(bob)
	if diff := cmp.Diff([]string{"Bob's performance review"}, found(v.get("/plain?q=review").text)); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	v.logIn(alice)
	v.get("/plain")
	if got := platform.Count(searchtokentest.KindToken); got != 3 {
		t.Errorf("%d tokens, want 3: each login forgets those of the previous user", got)
	}
}

func TestLogoutForgetsThatUserOnly(t *testing.T) {
	base, platform := start(t, nil)
	mints := func() int { return platform.Count(searchtokentest.KindToken) }

	a, b := newVisitor(t, base), newVisitor(t, base)
	a.logIn(alice)
	a.get("/plain")
	a.get("/plain")
	b.logIn(bob)
	b.get("/plain")
	if got := mints(); got != 2 {
		t.Fatalf("two users: %d tokens, want 2", got)
	}

	a.logOut()
	if got := found(a.get("/plain?q=review").text); len(got) > 0 {
		t.Errorf("after logout alice finds %q", got)
	}
	if diff := cmp.Diff([]string{"Bob's performance review"}, found(b.get("/plain?q=review").text)); diff != "" {
		t.Errorf("bob, who is still logged in (-want +got):\n%s", diff)
	}
	if got := mints(); got != 3 { // the third is of anonymous
		t.Errorf("after logout: %d tokens, want 3", got)
	}

	a.logIn(alice)
	a.get("/plain")
	if got := mints(); got != 4 {
		t.Errorf("after another login: %d tokens, want 4", got)
	}
}

// steps records the order of calls.
type steps struct {
	mu   sync.Mutex
	list []string
}

func (s *steps) add(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, step)
}

// recordingSessions are EndedSessions that record each End.
type recordingSessions struct {
	sharedSessions
	*steps
}

func (s *recordingSessions) End(ctx context.Context, id string, life time.Duration) error {
	s.add("end the session")
	return s.sharedSessions.End(ctx, id, life)
}

// recordingCache is a Cache that records each Forget.
type recordingCache struct {
	searchtoken.Cache
	*steps
}

func (c recordingCache) Forget(ctx context.Context, user searchtoken.UserKey) error {
	c.add("forget the tokens")
	return errors.Join(ctx.Err(), c.Cache.Forget(ctx, user))
}

// In the other order, a request between the two steps could fetch a token
// again.
func TestSessionEndsBeforeItsTokensAreForgotten(t *testing.T) {
	tests := map[string]struct {
		leave func(*visitor)
		want  []string
	}{
		"logout": {(*visitor).logOut, []string{"end the session", "forget the tokens"}},
		"login as another": {
			leave: func(v *visitor) { v.logIn(bob) },
			want:  []string{"end the session", "forget the tokens"},
		},
		"logout without a session": {func(v *visitor) { v.client.Jar = nil; v.logOut() }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var done steps
			base, _ := start(t, func(cfg *site.Config) {
				cfg.EndedSessions = &recordingSessions{steps: &done}
				cfg.Coveo.Cache = recordingCache{searchtoken.NewMemoryCache(0), &done}
			})
			v := newVisitor(t, base)
			v.logIn(alice)
			v.get("/plain")
			test.leave(v)
			if diff := cmp.Diff(test.want, done.list); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}
