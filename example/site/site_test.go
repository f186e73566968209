package site_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
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

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
)

// config is that of a site on the stand-in.
func config(platform *searchtokentest.Server) site.Config {
	return site.Config{
		Coveo: searchtoken.Config{
			OrganizationID: searchtokentest.DefaultOrganizationID,
			APIKey:         searchtokentest.DefaultAPIKey,
			PlatformURL:    platform.URL,
			AnalyticsURL:   platform.URL,
			Logger:         slog.New(slog.DiscardHandler),
		},
		SessionKey: []byte("a key that is 32 bytes or longer"),
		Users:      []string{alice, bob},
		IPXPageID:  "page",
	}
}

// start serves a site on a stand-in until the test is over.
func start(t *testing.T, change func(*site.Config)) (baseURL string, platform *searchtokentest.Server) {
	t.Helper()
	platform = searchtokentest.NewServer(searchtokentest.Config{})
	t.Cleanup(platform.Close)
	cfg := config(platform)
	if change != nil {
		change(&cfg)
	}
	s, err := site.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		server.Close()
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return server.URL, platform
}

// visitor is a browser without JavaScript, which stays where it is redirected.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

func newVisitor(t *testing.T, baseURL string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, baseURL, &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is what came, with the body as text.
type answer struct {
	*http.Response
	text string
}

func (v *visitor) do(r *http.Request) answer {
	v.t.Helper()
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

func (v *visitor) request(method, path, contentType, body string) *http.Request {
	v.t.Helper()
	r, err := http.NewRequest(method, v.base+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func (v *visitor) get(path string) answer {
	v.t.Helper()
	return v.do(v.request(http.MethodGet, path, "", ""))
}

func (v *visitor) post(path string, form url.Values) answer {
	v.t.Helper()
	return v.do(v.request(http.MethodPost, path, "application/x-www-form-urlencoded", form.Encode()))
}

func (v *visitor) logIn(user string) {
	v.t.Helper()
	if a := v.post("/login", url.Values{"user": {user}}); a.StatusCode != http.StatusSeeOther {
		v.t.Fatalf("log-in as %s: %s", user, a.Status)
	}
}

func (v *visitor) logOut() {
	v.t.Helper()
	if a := v.post("/logout", nil); a.StatusCode != http.StatusSeeOther {
		v.t.Fatalf("log-out: %s", a.Status)
	}
}

// clone is a visitor with a copy of v's cookies, on the site with that URL.
func (v *visitor) clone(baseURL string) *visitor {
	v.t.Helper()
	c := newVisitor(v.t, baseURL)
	from, to := v.request(http.MethodGet, "/", "", "").URL, c.request(http.MethodGet, "/", "", "").URL
	c.client.Jar.SetCookies(to, v.client.Jar.Cookies(from))
	return c
}

// capture returns the first group of each match in text, unescaped.
func capture(pattern, text string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, html.UnescapeString(match[1]))
	}
	return found
}

// found is what the plain page lists.
func found(text string) []string { return capture(`<h2><a href="[^"]*">([^<]*)</a></h2>`, text) }

func TestPlainPage(t *testing.T) {
	base, _ := start(t, nil)
	tests := []struct {
		name, user, path string
		want             []string
	}{
		{"anonymous, reviews", "", "/plain?q=review", nil},
		{"alice, reviews", alice, "/plain?q=review", []string{"Alice's performance review"}},
		{"bob, reviews", bob, "/plain?q=review", []string{"Bob's performance review"}},
		{"anonymous, printers", "", "/plain?q=printer", []string{"Connect to the office network from home"}},
		{"alice, printers", alice, "/plain?q=printer", []string{
			"Case 1042: the printer prints in green only", "Connect to the office network from home",
		}},
		{"anonymous, everything", "", "/plain", []string{
			"Welcome to the intranet", "Reset your password", "Connect to the office network from home", "Holiday calendar",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVisitor(t, base)
			if test.user != "" {
				v.logIn(test.user)
			}
			a := v.get(test.path)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("status %d", a.StatusCode)
			}
			if diff := cmp.Diff(test.want, found(a.text)); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlainPageRepeatsTheQuery(t *testing.T) {
	base, _ := start(t, nil)
	a := newVisitor(t, base).get("/plain?q=" + url.QueryEscape(`"><script>alert(1)</script>`))
	if !strings.Contains(a.text, `value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`) || strings.Contains(a.text, "<script") {
		t.Errorf("the query is not there, or not escaped:\n%s", a.text)
	}
}

func TestPages(t *testing.T) {
	const (
		common  = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
		scripts = "; script-src 'nonce-NONCE'"
		queries = "; connect-src PLATFORM ANALYTICS 'self'"
		cdn     = "https://static.cloud.coveo.com"
	)
	tests := []struct {
		path      string
		hasToken  bool
		tokenLife time.Duration
		policy    string
	}{
		{"/", false, time.Hour, common + "style-src 'self'; img-src 'self'"},
		{"/plain", false, time.Hour, common + "style-src 'self'; img-src 'self'"},
		{"/jsui", true, time.Hour, common + "style-src 'self' 'nonce-NONCE'; img-src 'self' " + cdn + scripts +
			"; style-src-attr 'unsafe-inline'; font-src " + cdn + " https://staticdev.cloud.coveo.com" + queries},
		{"/atomic", true, time.Hour, common + "style-src 'self' 'nonce-NONCE'; img-src 'self'" + scripts +
			"; style-src-attr 'unsafe-inline'" + queries + " " + cdn},
		{"/headless", true, time.Hour, common + "style-src 'self'; img-src 'self'" + scripts + queries},
		{"/ipx", true, 24 * time.Hour, common + "style-src 'self' 'unsafe-inline'; img-src 'self'" + scripts +
			"; connect-src PLATFORM; frame-src PLATFORM"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			base, platform := start(t, func(cfg *site.Config) { cfg.Coveo.AnalyticsURL = "https://analytics.example.com/path" })
			v := newVisitor(t, base)
			v.logIn(alice)
			a := v.get(test.path)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("status %d", a.StatusCode)
			}

			// The nonce of the tags is the policy's, and another each time.
			nonces := capture(`nonce="([^"]*)"`, a.text)
			if got := len(nonces) > 0; got != test.hasToken {
				t.Fatalf("a nonce on the page: %v, want %v", got, test.hasToken)
			}
			for _, n := range nonces {
				if n != nonces[0] {
					t.Errorf("two nonces, %q and %q", nonces[0], n)
				}
			}
			for _, tag := range capture(`(<script[^>]*>)`, a.text) {
				if !strings.Contains(tag, "nonce=") && !strings.Contains(tag, `type="text/html"`) {
					t.Errorf("%s has no nonce", tag)
				}
			}
			policy := a.Header.Get("Content-Security-Policy")
			if test.hasToken {
				if again := capture(`nonce="([^"]*)"`, v.get(test.path).text); again[0] == nonces[0] {
					t.Errorf("two requests have the nonce %q", nonces[0])
				}
				policy = strings.NewReplacer(nonces[0], "NONCE", platform.URL, "PLATFORM", "https://analytics.example.com", "ANALYTICS").Replace(policy)
			}
			if diff := cmp.Diff(strings.Split(test.policy, "; "), strings.Split(policy, "; ")); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"nosniff", "same-origin", "private, no-store"}, []string{
				a.Header.Get("X-Content-Type-Options"), a.Header.Get("Referrer-Policy"), a.Header.Get("Cache-Control"),
			}); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}

			if strings.Contains(a.text, searchtokentest.DefaultAPIKey) {
				t.Error("the API key is on the page")
			}
			if got := strings.Contains(a.text, "eyJ"); got != test.hasToken {
				t.Errorf("a token on the page: %v, want %v", got, test.hasToken)
			}
			if !strings.Contains(a.text, "<strong>"+alice+"</strong>") {
				t.Error("the page does not say who searches")
			}
			tokens := platform.Requests(searchtokentest.KindToken)
			claims := tokens[len(tokens)-1].Claims
			expiry := time.Unix(claims.ExpiresAt, 0).UTC()
			if life := expiry.Sub(time.Unix(claims.IssuedAt, 0)); life != test.tokenLife {
				t.Errorf("the token lives for %v, want %v", life, test.tokenLife)
			}
			shown, err := time.Parse(time.RFC3339, capture(`<time datetime="([^"]*)"`, a.text)[0])
			if err != nil || shown.Sub(expiry).Abs() > 2*time.Second {
				t.Errorf("the page says that the token is good until %v, not %v (error %v)", shown, expiry, err)
			}
		})
	}
}

func TestAssets(t *testing.T) {
	base, _ := start(t, func(cfg *site.Config) { cfg.Assets = "http://127.0.0.1:3000/" })
	for _, path := range []string{"/jsui", "/atomic", "/headless"} {
		t.Run(path, func(t *testing.T) {
			a := newVisitor(t, base).get(path)
			if !strings.Contains(strings.ReplaceAll(a.text, `\/`, "/"), `"http://127.0.0.1:3000/`) {
				t.Error("the library is not from there")
			}
			// All that Headless loads has the nonce.
			if path != "/headless" && !strings.Contains(a.Header.Get("Content-Security-Policy"), "http://127.0.0.1:3000") {
				t.Error("the policy does not allow it")
			}
		})
	}
}

func TestBrowserURL(t *testing.T) {
	const browserURL = "http://127.0.0.1:3000"
	base, platform := start(t, func(cfg *site.Config) { cfg.BrowserURL = browserURL })
	for _, path := range []string{"/jsui", "/atomic", "/headless", "/ipx", "/plain"} {
		t.Run(path, func(t *testing.T) {
			a := newVisitor(t, base).get(path)
			all := strings.ReplaceAll(a.text, `\/`, "/") + a.Header.Get("Content-Security-Policy")
			if got, want := strings.Contains(all, browserURL), path != "/plain"; got != want || strings.Contains(all, platform.URL) {
				t.Errorf("status %d, and the browser's URL is on the page: %v, want %v", a.StatusCode, got, want)
			}
		})
	}
}

func TestIPXPageWithoutIDs(t *testing.T) {
	base, _ := start(t, func(cfg *site.Config) { cfg.IPXPageID = "" })
	a := newVisitor(t, base).get("/ipx")
	if !strings.Contains(a.text, "COVEO_IPX_PAGE_ID") || strings.Contains(a.text, "<script") {
		t.Errorf("the page does not say what is missing, or has a script:\n%s", a.text)
	}
}

func TestLogOut(t *testing.T) {
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
		t.Errorf("after the log-out alice finds %q", got)
	}
	if diff := cmp.Diff([]string{"Bob's performance review"}, found(b.get("/plain?q=review").text)); diff != "" {
		t.Errorf("bob, who is still logged in (-want +got):\n%s", diff)
	}
	if got := mints(); got != 3 { // that of anonymous
		t.Errorf("after the log-out: %d tokens, want 3", got)
	}

	a.logIn(alice)
	a.get("/plain")
	if got := mints(); got != 4 {
		t.Errorf("after another log-in: %d tokens, want 4", got)
	}
}

// sharedSessions are the EndedSessions of several sites, or fail.
type sharedSessions struct {
	sync.Map
	err error
}

func (s *sharedSessions) End(_ context.Context, id string, life time.Duration) error {
	if life < 12*time.Hour {
		return fmt.Errorf("the life %v is shorter than a session's", life)
	}
	s.Store(id, true)
	return s.err
}

func (s *sharedSessions) Ended(ctx context.Context, id string) (bool, error) {
	_, ok := s.Load(id)
	err := errors.Join(s.err, ctx.Err())
	return ok && err == nil, err
}

// TestCopiedCookie: a copy of a session's cookie is nobody's when the session has
// ended.
func TestCopiedCookie(t *testing.T) {
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
		"log-out":               (*visitor).logOut,
		"log-in as another":     func(v *visitor) { v.logIn(bob) },
		"log-in as the same":    func(v *visitor) { v.logIn(alice) },
		"log-out, and again in": func(v *visitor) { v.logOut(); v.logIn(alice) },
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
					t.Fatal("a copy is not alice's while her session lasts")
				}
				end(v)
				if !strings.Contains(copied.get("/plain").text, "<strong>anonymous</strong>") {
					t.Error("a copy is alice's still")
				}
				if user := tokenUser(t, copied.get(site.RenewURL).text); user != "anonymous" {
					t.Errorf("a copy gets a token of %s", user)
				}
				if !strings.Contains(other.get("/plain").text, "<strong>"+alice+"</strong>") {
					t.Error("another session of hers has ended, too")
				}
			})
		}
	}
}

// tokenUser is whose token there is in text.
func tokenUser(t *testing.T, text string) string {
	t.Helper()
	payloads := capture(`eyJ[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+`, text)
	if len(payloads) == 0 {
		t.Fatalf("there is no token in %s", text)
	}
	var claims searchtokentest.Claims
	payload, err := base64.RawURLEncoding.DecodeString(payloads[0])
	if err := errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
		t.Fatal(err)
	}
	return claims.UserIDs[0].Name
}

func TestEndedSessionsFail(t *testing.T) {
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
		t.Error("alice is logged in after she has logged out")
	}
	v.logIn(alice)
	v.get("/plain")
	if got := platform.Count(searchtokentest.KindToken); got != 3 {
		t.Errorf("%d tokens, want 3: alice's, anonymous's, and alice's after the log-out", got)
	}
	want := map[string]int{"not known which sessions were ended": 1, "a session was not ended": 1, "out of reach": 2, "level=": 2}
	got := make(map[string]int)
	for text := range want {
		got[text] = strings.Count(log.String(), text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("how often the log says it (-want +got):\n%s\n%s", diff, log.String())
	}
}

// TestLookUpOutlivesItsRequest: a visitor who leaves does not make the look-up fail,
// which others may share.
func TestLookUpOutlivesItsRequest(t *testing.T) {
	var log strings.Builder
	platform := searchtokentest.NewServer(searchtokentest.Config{})
	defer platform.Close()
	cfg := config(platform)
	cfg.EndedSessions = new(sharedSessions)
	cfg.Coveo.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s, err := site.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown(context.Background())
	logIn := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader("user="+alice))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.ServeHTTP(logIn, r)

	ctx, leave := context.WithCancel(t.Context())
	leave()
	r = httptest.NewRequestWithContext(ctx, http.MethodGet, "/plain", nil)
	r.AddCookie(logIn.Result().Cookies()[0])
	s.ServeHTTP(httptest.NewRecorder(), r)
	if log.Len() > 0 {
		t.Errorf("the log says:\n%s", log.String())
	}
}

// TestSessionWithoutID: what log-out could not end is nobody's session.
func TestSessionWithoutID(t *testing.T) {
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

func TestLogInAsAnotherUser(t *testing.T) {
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
		t.Errorf("%d tokens, want 3: each log-in forgets those of the user before", got)
	}
}

func TestSessionCookie(t *testing.T) {
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

func TestForms(t *testing.T) {
	base, platform := start(t, nil)
	tests := []struct {
		name, path, form string
		header           http.Header
		status           int
		location         string
	}{
		{"log-in", "/login", "user=" + alice, nil, http.StatusSeeOther, "/"},
		{"log-in, and back to the page", "/login", "user=" + alice + "&page=/jsui", nil, http.StatusSeeOther, "/jsui"},
		{"log-in, and back to the query", "/login", "user=" + alice + "&page=%2Fplain%3Fq%3Da%2526b", nil, http.StatusSeeOther, "/plain?q=a%26b"},
		{"log-in, and off to another site", "/login", "user=" + alice + "&page=https://evil.example/jsui", nil, http.StatusSeeOther, "/jsui"},
		{"log-in, and off without a scheme", "/login", "user=" + alice + "&page=//evil.example", nil, http.StatusSeeOther, "/"},
		{"log-in, and off with a backslash", "/login", `user=` + alice + `&page=/\evil.example`, nil, http.StatusSeeOther, "/"},
		{"log-in of a stranger", "/login", "user=mallory@example.com", nil, http.StatusBadRequest, ""},
		{"log-in of nobody", "/login", "", nil, http.StatusBadRequest, ""},
		{"log-in that is too long", "/login", "user=" + alice + "&page=" + strings.Repeat("x", 9<<10), nil, http.StatusBadRequest, ""},
		{"log-in from another origin", "/login", "user=" + alice, http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden, ""},
		{"log-in from another site", "/login", "user=" + alice, http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden, ""},
		{"log-out from another site", "/logout", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden, ""},
		{"log-out from this site", "/logout", "page=/atomic", http.Header{"Sec-Fetch-Site": {"same-origin"}}, http.StatusSeeOther, "/atomic"},
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
				t.Errorf("got %d to %q, want %d to %q", a.StatusCode, a.Header.Get("Location"), test.status, test.location)
			}
			if test.status >= 400 && len(a.Cookies()) > 0 {
				t.Error("a refused form sets a cookie")
			}
		})
	}
	if n := platform.Count(); n != 0 {
		t.Errorf("forms made %d calls of the platform", n)
	}
}

func TestLogOutByGET(t *testing.T) {
	base, _ := start(t, nil)
	v := newVisitor(t, base)
	v.logIn(alice)
	if a := v.get("/logout"); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET /logout: %s", a.Status)
	}
	if !strings.Contains(v.get("/").text, alice) {
		t.Error("alice is no longer logged in")
	}
}

func TestTamperedCookie(t *testing.T) {
	base, _ := start(t, nil)
	v := newVisitor(t, base)
	r := v.request(http.MethodGet, "/plain", "", "")
	r.AddCookie(&http.Cookie{Name: "example_session", Value: "tampered"})
	a := v.do(r)
	if a.StatusCode != http.StatusOK || !strings.Contains(a.text, "<strong>anonymous</strong>") {
		t.Errorf("status %d, want the page of an anonymous visitor", a.StatusCode)
	}
}

func TestRenewal(t *testing.T) {
	base, platform := start(t, nil)
	v := newVisitor(t, base)
	v.logIn(alice)
	token := func(text string) string {
		return capture(`(eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)`, text)[0]
	}
	first := token(v.get("/headless").text)
	platform.RejectAll()

	r := v.request(http.MethodPost, site.RenewURL, "application/json", `{"rejected":"`+first+`"}`)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	a := v.do(r)
	if a.StatusCode != http.StatusOK {
		t.Fatalf("status %d", a.StatusCode)
	}
	second := token(a.text)
	if second == first {
		t.Error("the rejected token came back")
	}
	if diff := cmp.Diff([]string{"Alice's performance review"}, found(v.get("/plain?q=review").text)); diff != "" {
		t.Errorf("with the new token (-want +got):\n%s", diff)
	}

	r = v.request(http.MethodPost, site.RenewURL, "application/json", `{"rejected":"`+second+`"}`)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := v.do(r); a.StatusCode != http.StatusForbidden || strings.Contains(a.text, "eyJ") {
		t.Errorf("from another site: %s", a.Status)
	}
}

func TestCoveoFails(t *testing.T) {
	const details = "details of the platform"
	token := searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: http.StatusInternalServerError, Body: `{"message":"` + details + `"}`}
	refused := token
	refused.Status = http.StatusForbidden
	search := token
	search.Kind = searchtokentest.KindSearch
	malformed := searchtokentest.Fault{Kind: searchtokentest.KindSearch, Body: `{"results": "` + details}
	redirect := searchtokentest.Fault{Kind: searchtokentest.KindSearch, Location: "https://elsewhere.example/"}
	tests := []struct {
		name, path string
		fault      searchtokentest.Fault
		status     int
		text       string
	}{
		{"no token for the home page", "/", token, http.StatusOK, "There is no search token at the moment"},
		{"no token for JSUI", "/jsui", token, http.StatusServiceUnavailable, "Please try again in a minute."},
		{"no token for the plain page", "/plain", token, http.StatusServiceUnavailable, "Please try again in a minute."},
		{"a token is refused", "/atomic", refused, http.StatusBadGateway, "operator"},
		{"the query fails", "/plain?q=x", search, http.StatusBadGateway, "Please try again in a minute."},
		{"the answer is malformed", "/plain?q=x", malformed, http.StatusBadGateway, "Please try again in a minute."},
		{"the answer is a redirect", "/plain?q=x", redirect, http.StatusBadGateway, "Please try again in a minute."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base, platform := start(t, nil)
			platform.Inject(test.fault)
			a := newVisitor(t, base).get(test.path)
			if a.StatusCode != test.status {
				t.Errorf("status %d, want %d", a.StatusCode, test.status)
			}
			if !strings.Contains(a.text, test.text) {
				t.Errorf("the page does not say %q", test.text)
			}
			if strings.Contains(a.text, details) {
				t.Error("the page tells what the platform said")
			}
		})
	}
}

// TestPlainPageTokenRejected: a token that the platform takes no longer costs
// one answer, not all until it expires.
func TestPlainPageTokenRejected(t *testing.T) {
	unauthorized := searchtokentest.Fault{Kind: searchtokentest.KindSearch, Status: http.StatusUnauthorized, Times: 1}
	tests := []struct {
		name, user string
		reject     func(*searchtokentest.Server)
	}{
		{"419 to alice", alice, func(p *searchtokentest.Server) { p.RejectAll() }},
		{"419 to anonymous", "", func(p *searchtokentest.Server) { p.RejectAll() }},
		{"401 to alice", alice, func(p *searchtokentest.Server) { p.Inject(unauthorized) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log strings.Builder
			base, platform := start(t, func(cfg *site.Config) { cfg.Coveo.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			v := newVisitor(t, base)
			if test.user != "" {
				v.logIn(test.user)
			}
			v.get("/plain")
			test.reject(platform)
			a := v.get("/plain?q=welcome")
			if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.text, "Please try again.") {
				t.Errorf("with the rejected token: status %d, and the page:\n%s", a.StatusCode, a.text)
			}
			if !strings.Contains(log.String(), "level=WARN") || strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("the log says:\n%s", log.String())
			}
			a = v.get("/plain?q=welcome")
			if a.StatusCode != http.StatusOK {
				t.Errorf("status %d, want 200", a.StatusCode)
			}
			if diff := cmp.Diff([]string{"Welcome to the intranet"}, found(a.text)); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
			if got := platform.Count(searchtokentest.KindToken); got != 2 {
				t.Errorf("%d tokens, want 2", got)
			}
		})
	}
}

func TestRoutes(t *testing.T) {
	base, _ := start(t, nil)
	tests := []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodHead, "/jsui", http.StatusOK, ""},
		{http.MethodPost, "/jsui", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodPost, "/", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/login", http.StatusMethodNotAllowed, "POST"},
		{http.MethodDelete, "/logout", http.StatusMethodNotAllowed, "POST"},
		{http.MethodGet, "/nowhere", http.StatusNotFound, ""},
		{http.MethodPost, "/nowhere", http.StatusNotFound, ""},
		{http.MethodGet, "/static/style.css", http.StatusOK, ""},
		{http.MethodPost, "/static/style.css", http.StatusMethodNotAllowed, "GET, HEAD"},
		{http.MethodGet, "/static/nothing", http.StatusNotFound, ""},
		{http.MethodGet, "/static", http.StatusNotFound, ""},
		{http.MethodGet, "/static/", http.StatusNotFound, ""},
		{http.MethodGet, "/static/%2f", http.StatusNotFound, ""},
		{http.MethodGet, "/static/%2e%2f", http.StatusNotFound, ""},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			v := newVisitor(t, base)
			a := v.do(v.request(test.method, test.path, "", ""))
			if got := a.Header.Get("Allow"); a.StatusCode != test.status || got != test.allow {
				t.Errorf("status %d, Allow %q, want %d, %q", a.StatusCode, got, test.status, test.allow)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*site.Config)
		want   string
	}{
		{"a short session key", func(cfg *site.Config) { cfg.SessionKey = []byte("short") }, "SessionKey"},
		{"no API key", func(cfg *site.Config) { cfg.Coveo.APIKey = "" }, "APIKey"},
		{"assets that are no origin", func(cfg *site.Config) { cfg.Assets = "https://cdn.example.com/path" }, `option "assets"`},
		{"assets over plain http", func(cfg *site.Config) { cfg.Assets = "http://cdn.example.com" }, `option "assets"`},
		{"a malformed id", func(cfg *site.Config) { cfg.IPXPageID = "../page" }, "coveoIPX"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			platform := searchtokentest.NewServer(searchtokentest.Config{})
			defer platform.Close()
			cfg := config(platform)
			test.change(&cfg)
			if _, err := site.New(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one about %s", err, test.want)
			}
		})
	}
}
