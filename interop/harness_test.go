package interop_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// newConfig returns the configuration of a site that searches a stand-in for
// the platform. Its users name themselves in the header X-User.
func newConfig() (searchtoken.Config, *searchtokentest.Platform) {
	platform := searchtokentest.New(searchtokentest.Config{})
	return searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Logger:         slog.New(slog.DiscardHandler),
		Identify:       identifyByHeader,
		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
	}, platform
}

func identifyByHeader(r *http.Request) (searchtoken.Identity, error) {
	user := r.Header.Get("X-User")
	if user == "" {
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	return searchtoken.Email(user), nil
}

// newCoveo returns the Middleware of cfg.
func newCoveo(t testing.TB, cfg searchtoken.Config) *searchtoken.Middleware {
	t.Helper()
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := coveo.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return coveo
}

// searchTemplate is the template of a search page.
var searchTemplate = template.Must(template.New("search").Funcs(searchtoken.FuncMap()).Parse(
	"<head>{{coveoHeadless .}}</head>\n"))

// searchPage is the handler of a search page.
var searchPage http.Handler = http.HandlerFunc(search)

func search(w http.ResponseWriter, r *http.Request) {
	page, _ := searchtoken.FromContext(r.Context())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := searchTemplate.Execute(w, page); err != nil {
		panic(err)
	}
}

// page is the handler of a page that needs no token.
func page(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "a page without a token") }

// browser is a visitor's browser, with cookies.
type browser struct {
	t      testing.TB
	client *http.Client
	url    string
}

// visit starts a server of site, and returns a browser that visits it.
func visit(t testing.TB, site http.Handler) *browser {
	t.Helper()
	server := httptest.NewServer(site)
	t.Cleanup(server.Close)
	return newBrowser(t, server.Client(), server.URL)
}

func newBrowser(t testing.TB, client *http.Client, url string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{t, client, url}
}

// answer is a response with its whole body.
type answer struct {
	*http.Response
	body string
}

// do sends a request of a page of the site itself: a line such as "GET
// /search", or "GET /search as alice@example.com" for the site of newConfig. A
// POST has the body of a renewal. headers are pairs of a name and a value; the
// name Host sets the host, and the value "" removes a header.
func (b *browser) do(line string, headers ...string) answer {
	b.t.Helper()
	line, user, _ := strings.Cut(line, " as ")
	method, path, _ := strings.Cut(line, " ")
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", b.url)
	}
	if user != "" {
		r.Header.Set("X-User", user)
	}
	for i := 0; i < len(headers); i += 2 {
		switch name, value := headers[i], headers[i+1]; {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		default:
			r.Header.Set(name, value)
		}
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatalf("%s: %v", line, err)
	}
	return answer{response, string(text)}
}

var searchToken = regexp.MustCompile(`eyJ[\w-]+\.eyJ([\w-]+)\.[\w-]+`)

// String returns the status, the target of a redirect, and the user of the
// search token in the answer.
func (a answer) String() string {
	words := []string{fmt.Sprint(a.StatusCode)}
	if location := a.Header.Get("Location"); location != "" {
		words = append(words, location)
	}
	if user := tokenClaims(a.body).User; user != "" {
		words = append(words, user)
	}
	return strings.Join(words, " ")
}

// claims are the claims of a search token.
type claims struct {
	User    string
	Filter  string
	Expires int64 `json:"exp"`
	UserIDs []struct{ Name string }
}

// tokenClaims returns the claims of the first search token in text, if any.
func tokenClaims(text string) (c claims) {
	match := searchToken.FindStringSubmatch(text)
	if match == nil {
		return c
	}
	payload, err := base64.RawURLEncoding.DecodeString("eyJ" + match[1])
	if err != nil || json.NewDecoder(bytes.NewReader(payload)).Decode(&c) != nil || len(c.UserIDs) == 0 {
		return claims{}
	}
	c.User = c.UserIDs[0].Name
	return c
}

// exchange is a request, as browser.do takes it, and the answer, as
// answer.String describes it.
type exchange struct{ request, answer string }

// expect sends the requests in order, and compares the answers.
func (b *browser) expect(want ...exchange) {
	b.t.Helper()
	var got []exchange
	for _, e := range want {
		got = append(got, exchange{e.request, b.do(e.request).String()})
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(exchange{})); diff != "" {
		b.t.Errorf("the answers (-want +got):\n%s", diff)
	}
}

// expectPrivate checks that no shared cache may store a.
func (a answer) expectPrivate(t testing.TB) {
	t.Helper()
	check(t, "Cache-Control", []string{"private, no-store"}, a.Header.Values("Cache-Control"))
	if vary := strings.Join(a.Header.Values("Vary"), ", "); !strings.Contains(vary, "Cookie") {
		t.Errorf("Vary is %q, want it to contain Cookie", vary)
	}
}

func check[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
