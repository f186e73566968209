package site_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

const (
	alice = "alice@example.com"
	bob   = "bob@example.com"
)

// config returns the configuration of a site on the stand-in.
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

// start serves a site on a stand-in until the test ends. change may change the
// site's configuration; nil changes nothing.
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

// visitor is a browser without JavaScript. It does not follow redirects.
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

// answer is a response whose body was read into text.
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
		v.t.Fatalf("login as %s: %s", user, a.Status)
	}
}

func (v *visitor) logOut() {
	v.t.Helper()
	if a := v.post("/logout", nil); a.StatusCode != http.StatusSeeOther {
		v.t.Fatalf("logout: %s", a.Status)
	}
}

// clone returns a visitor of the site at baseURL, with a copy of v's cookies.
func (v *visitor) clone(baseURL string) *visitor {
	v.t.Helper()
	c := newVisitor(v.t, baseURL)
	from, to := v.request(http.MethodGet, "/", "", "").URL, c.request(http.MethodGet, "/", "", "").URL
	c.client.Jar.SetCookies(to, v.client.Jar.Cookies(from))
	return c
}

// capture returns the first group of each match in text, with HTML unescaped.
func capture(pattern, text string) []string {
	var found []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, html.UnescapeString(match[1]))
	}
	return found
}

// found returns the titles that the plain page lists.
func found(text string) []string { return capture(`<h2><a href="[^"]*">([^<]*)</a></h2>`, text) }

// tokenUser returns the user of the first token in text.
func tokenUser(t *testing.T, text string) string {
	t.Helper()
	payloads := capture(`eyJ[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+`, text)
	if len(payloads) == 0 {
		t.Fatalf("no token in %s", text)
	}
	var claims searchtokentest.Claims
	payload, err := base64.RawURLEncoding.DecodeString(payloads[0])
	if err := errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
		t.Fatal(err)
	}
	return claims.UserIDs[0].Name
}
