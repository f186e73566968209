package site_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/sessions"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// sharedSessions are the EndedSessions of several sites. If err is set, both
// methods fail with it.
type sharedSessions struct {
	sync.Map
	err error
}

func (s *sharedSessions) End(ctx context.Context, id string, life time.Duration) error {
	if life < 12*time.Hour {
		return fmt.Errorf("the life is %v, shorter than a session's", life)
	}
	s.Store(id, true)
	return errors.Join(s.err, ctx.Err())
}

func (s *sharedSessions) Ended(ctx context.Context, id string) (bool, error) {
	_, ok := s.Load(id)
	err := errors.Join(s.err, ctx.Err())
	return ok && err == nil, err
}

func TestCopiedCookieIsAnonymousAfterTheSessionEnds(t *testing.T) {
	sites := map[string]func(t *testing.T) (here, there string){
		"one site": func(t *testing.T) (string, string) {
			base, _ := start(t, nil)
			return base, base
		},
		"two sites": func(t *testing.T) (string, string) {
			ended := new(sharedSessions)
			share := func(cfg *site.Config) { cfg.EndedSessions = ended }
			here, _ := start(t, share)
			there, _ := start(t, share)
			return here, there
		},
	}
	ends := map[string]func(*visitor){
		"logout":            (*visitor).logOut,
		"login as another":  func(v *visitor) { v.logIn(bob) },
		"login as the same": func(v *visitor) { v.logIn(alice) },
		"logout and login":  func(v *visitor) { v.logOut(); v.logIn(alice) },
	}
	for where, startSites := range sites {
		for how, end := range ends {
			t.Run(where+", "+how, func(t *testing.T) {
				here, there := startSites(t)
				v := newVisitor(t, here)
				v.logIn(alice)
				copied := v.clone(there)
				other := newVisitor(t, there)
				other.logIn(alice)
				if !strings.Contains(copied.get("/plain").text, "<strong>"+alice+"</strong>") {
					t.Fatal("a copy of the cookie is not alice's while her session lasts")
				}
				end(v)
				if !strings.Contains(copied.get("/plain").text, "<strong>anonymous</strong>") {
					t.Error("a copy of the cookie is still alice's")
				}
				if user := tokenUser(t, copied.get(site.RenewURL).text); user != "anonymous" {
					t.Errorf("a copy of the cookie gets a token of %s, want anonymous", user)
				}
				if !strings.Contains(other.get("/plain").text, "<strong>"+alice+"</strong>") {
					t.Error("another session of alice has ended as well")
				}
			})
		}
	}
}

func TestEndedSessionsMayFail(t *testing.T) {
	var log strings.Builder
	base, platform := start(t, func(cfg *site.Config) {
		cfg.EndedSessions = &sharedSessions{err: errors.New("out of reach")}
		cfg.Coveo.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	v := newVisitor(t, base)
	v.logIn(alice)
	for range 3 {
		if diff := cmp.Diff([]string{"Alice's performance review"}, found(v.get("/plain?q=review").text)); diff != "" {
			t.Errorf("documents (-want +got):\n%s", diff)
		}
	}
	v.logOut()
	if !strings.Contains(v.get("/plain").text, "<strong>anonymous</strong>") {
		t.Error("alice is still logged in after logout")
	}
	v.logIn(alice)
	v.get("/plain")
	if got := platform.Count(searchtokentest.KindToken); got != 3 {
		t.Errorf("%d tokens, want 3: alice's, anonymous's, and alice's after logout", got)
	}
	want := map[string]int{
		"cannot look up ended sessions": 1, "cannot end a session": 1, "out of reach": 2, "level=": 2,
	}
	got := make(map[string]int)
	for text := range want {
		got[text] = strings.Count(log.String(), text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("number of log lines (-want +got):\n%s\n%s", diff, log.String())
	}
}

func TestVisitorWhoLeavesCancelsNothing(t *testing.T) {
	tests := map[string]struct {
		method, path string
		want         []string
	}{
		// EndedSessions may share a lookup among requests.
		"lookup": {http.MethodGet, "/plain", nil},
		"logout": {http.MethodPost, "/logout", []string{"end the session", "forget the tokens"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			var done steps
			platform := searchtokentest.NewServer(searchtokentest.Config{})
			defer platform.Close()
			cfg := config(platform)
			cfg.EndedSessions = &recordingSessions{steps: &done}
			cfg.Coveo.Cache = recordingCache{searchtoken.NewMemoryCache(0), &done}
			cfg.Coveo.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s, err := site.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Shutdown(context.Background())
			login := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("user="+alice))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			s.ServeHTTP(login, r)

			ctx, leave := context.WithCancel(t.Context())
			request := func(method, path string) {
				r := httptest.NewRequestWithContext(ctx, method, path, nil)
				r.AddCookie(login.Result().Cookies()[0])
				s.ServeHTTP(httptest.NewRecorder(), r)
			}
			request(http.MethodGet, "/plain") // caches the token
			leave()
			request(test.method, test.path)
			if log.Len() > 0 {
				t.Errorf("a step failed:\n%s", log.String())
			}
			if diff := cmp.Diff(test.want, done.list); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

// Logout could not end a session without an ID.
func TestSessionWithoutIDIsAnonymous(t *testing.T) {
	base, _ := start(t, nil)
	store := sessions.NewCookieStore([]byte("a key that is 32 bytes or longer"))
	v := newVisitor(t, base)
	r := v.request(http.MethodGet, "/plain", "", "")
	session := sessions.NewSession(store, "example_session")
	session.Values["email"] = alice
	w := httptest.NewRecorder()
	if err := store.Save(r, w, session); err != nil {
		t.Fatal(err)
	}
	r.AddCookie(w.Result().Cookies()[0])
	if !strings.Contains(v.do(r).text, "<strong>anonymous</strong>") {
		t.Error("the visitor is logged in")
	}
}

func TestTamperedCookieIsAnonymous(t *testing.T) {
	base, _ := start(t, nil)
	v := newVisitor(t, base)
	r := v.request(http.MethodGet, "/plain", "", "")
	r.AddCookie(&http.Cookie{Name: "example_session", Value: "tampered"})
	a := v.do(r)
	if a.StatusCode != http.StatusOK || !strings.Contains(a.text, "<strong>anonymous</strong>") {
		t.Errorf("status %d, want the page of an anonymous visitor", a.StatusCode)
	}
}

func TestSessionCookieAttributes(t *testing.T) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			base, _ := start(t, func(cfg *site.Config) { cfg.Secure = secure })
			a := newVisitor(t, base).post("/login", url.Values{"user": {alice}})
			cookies := a.Cookies()
			if len(cookies) != 1 {
				t.Fatalf("%d cookies, want 1", len(cookies))
			}
			type attributes struct {
				Path             string
				MaxAge           int
				HttpOnly, Secure bool
				SameSite         http.SameSite
			}
			c := cookies[0]
			want := attributes{"/", 12 * 60 * 60, true, secure, http.SameSiteLaxMode}
			if diff := cmp.Diff(want, attributes{c.Path, c.MaxAge, c.HttpOnly, c.Secure, c.SameSite}); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}
