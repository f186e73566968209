package searchtoken_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// The tests in this file run the whole package over real sockets, against the
// stand-in for Coveo, as a site does. They share no fake with the other tests.

// newSite starts a site and returns its URL. It logs in every visitor who asks
// for it, and answers a search with the titles of the documents, one per line.
func newSite(t *testing.T, platform *searchtokentest.Server, cfg searchtoken.Config) string {
	t.Helper()
	store := sessions.NewCookieStore(sessionKey)
	store.Options = &sessions.Options{Path: "/", HttpOnly: true} // not Secure: the site has no TLS
	cfg.OrganizationID = searchtokentest.DefaultOrganizationID
	cfg.APIKey = searchtokentest.DefaultAPIKey
	cfg.PlatformURL = platform.URL
	cfg.Identify = searchtoken.FirstIdentity(
		searchtoken.SessionEmail(store, "session", "email"), searchtoken.AnonymousIdentity)
	m := newMiddleware(t, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, "session")
		session.Values["email"] = r.FormValue("email")
		if err := session.Save(r, w); err != nil {
			t.Error(err)
		}
	})
	mux.Handle("/renew", m.RenewHandler())
	mux.Handle("GET /search", m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		query, err := http.NewRequestWithContext(r.Context(), "GET", page.PlatformURL+"/rest/search/v2?"+r.URL.RawQuery,
			nil)
		if err != nil {
			t.Error(err)
			return
		}
		page.Token.SetAuthHeader(query)
		resp, err := http.DefaultClient.Do(query)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		var results struct{ Results []struct{ Title string } }
		if err := json.NewDecoder(resp.Body).Decode(&results); err != nil {
			t.Error(err)
		}
		for _, result := range results.Results {
			fmt.Fprintln(w, result.Title)
		}
	})))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// browser returns a client that is logged in as user, unless user is empty.
func browser(t *testing.T, site, user string) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	if user != "" {
		resp, err := client.PostForm(site+"/login", map[string][]string{"email": {user}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	return client
}

// load returns the body of a page.
func load(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Errorf("%s: %s, %v", url, resp.Status, err)
	}
	return string(body)
}

func TestEachUserSeesTheirOwnDocuments(t *testing.T) {
	documents := []searchtokentest.Document{
		{Title: "Salaries", URI: "https://example.com/1", Allowed: []string{"ann@example.com"}},
		{Title: "Plans", URI: "https://example.com/2", Allowed: []string{"bob@example.com"}},
		{Title: "Rota", URI: "https://example.com/3", Allowed: []string{"ann@example.com", "bob@example.com"}},
	}
	platform := searchtokentest.NewServer(searchtokentest.Config{Documents: documents})
	defer platform.Close()
	site := newSite(t, platform, searchtoken.Config{})

	want := map[string][]string{
		"ann@example.com": {"Rota", "Salaries"},
		"bob@example.com": {"Plans", "Rota"},
		"":                nil,
	}
	var wg sync.WaitGroup
	for user, want := range want {
		for range 3 {
			client := browser(t, site, user)
			wg.Go(func() {
				for range 20 {
					got := strings.Fields(load(t, client, site+"/search"))
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("%q sees %q, want %q", user, got, want)
					}
				}
			})
		}
	}
	wg.Wait()
	if got := platform.Count(searchtokentest.KindToken); got != len(want) {
		t.Errorf("%d token calls for %d users", got, len(want))
	}
}

func TestTokenEnforcesHubAndFilter(t *testing.T) {
	documents := []searchtokentest.Document{
		{Title: "Here", URI: "https://example.com/1", Source: "kb", Allowed: []string{"anonymous"}},
		{Title: "Elsewhere", URI: "https://example.com/2", Source: "web", Allowed: []string{"anonymous"}},
		{Title: "Desk", URI: "https://example.com/3", Source: "kb", SearchHubs: []string{"desk"},
			Allowed: []string{"anonymous"}},
	}
	platform := searchtokentest.NewServer(searchtokentest.Config{Documents: documents})
	defer platform.Close()
	for _, tt := range []struct {
		name   string
		params searchtoken.TokenParams
		query  string
		want   []string
	}{
		{"nothing", searchtoken.TokenParams{}, "", []string{"Elsewhere", "Here"}},
		{"filter", searchtoken.TokenParams{Filter: "@source==kb"}, "", []string{"Here"}},
		{"hub of the query", searchtoken.TokenParams{}, "searchHub=desk", []string{"Desk", "Elsewhere", "Here"}},
		{"hub", searchtoken.TokenParams{SearchHub: "desk"}, "", []string{"Desk", "Elsewhere", "Here"}},
		{"another hub", searchtoken.TokenParams{SearchHub: "other"}, "searchHub=desk", []string{"Elsewhere", "Here"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := newSite(t, platform, searchtoken.Config{Route: searchtoken.Route{Params: tt.params}})
			got := strings.Fields(load(t, http.DefaultClient, site+"/search?"+tt.query))
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("titles (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFaultOfOneTokenCallFailsOneUser has the platform fail in every way during
// one token call. That visitor gets a status, and another one a page.
func TestFaultOfOneTokenCallFailsOneUser(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault searchtokentest.Fault
		want  int
	}{
		{"status", searchtokentest.Fault{Status: 500}, 503},
		{"refusal", searchtokentest.Fault{Status: 403}, 502},
		{"too many requests", searchtokentest.Fault{Status: 429, RetryAfter: "7"}, 503},
		{"no answer, twice", searchtokentest.Fault{Drop: true, Times: 2}, 503},
		{"redirect", searchtokentest.Fault{Location: "https://elsewhere.example.com/"}, 502},
		{"endless", searchtokentest.Fault{Endless: true}, 502},
		{"cut off", searchtokentest.Fault{CutOff: true}, 502},
		{"firewall", searchtokentest.Fault{Status: 403, ContentType: "text/html", Body: "<html>blocked</html>"}, 502},
		{"malformed", searchtokentest.Fault{ContentType: "application/json", Body: `{"token":`}, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			platform := searchtokentest.NewServer(searchtokentest.Config{})
			defer platform.Close()
			site := newSite(t, platform, searchtoken.Config{})
			tt.fault.Kind, tt.fault.Times = searchtokentest.KindToken, max(tt.fault.Times, 1)
			platform.Inject(tt.fault)
			resp, err := browser(t, site, "ann@example.com").Get(site + "/search")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
			if tt.fault.RetryAfter == "" {
				load(t, browser(t, site, "bob@example.com"), site+"/search")
			} else if got := resp.Header.Get("Retry-After"); got != tt.fault.RetryAfter { // which holds back everybody
				t.Errorf("Retry-After: %q, want %q", got, tt.fault.RetryAfter)
			}
		})
	}
}

// TestPageRenewsATokenThatThePlatformRejects makes the requests of such a page.
func TestPageRenewsATokenThatThePlatformRejects(t *testing.T) {
	platform := searchtokentest.NewServer(searchtokentest.Config{})
	defer platform.Close()
	site := newSite(t, platform, searchtoken.Config{})
	client := browser(t, site, "alice@example.com")
	var first struct{ Token string }
	if err := json.Unmarshal([]byte(load(t, client, site+"/renew")), &first); err != nil {
		t.Fatal(err)
	}
	platform.Reject(first.Token)
	query := func(token string) int {
		r, err := http.NewRequestWithContext(t.Context(), "GET", platform.URL+"/rest/search/v2", nil)
		if err != nil {
			t.Fatal(err)
		}
		searchtoken.Token{Value: token}.SetAuthHeader(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	body, err := json.Marshal(map[string]string{"rejected": first.Token})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Post(site+"/renew", "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var second struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&second); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{419, 200}, []int{query(first.Token), query(second.Token)}); diff != "" {
		t.Errorf("statuses of queries with the first and the second token (-want +got):\n%s", diff)
	}
}
