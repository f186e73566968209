//go:build linux

package main

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/sessions"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

const (
	tokenLatency = 20 * time.Millisecond // delay of the platform's token call

	sessionName = "session"
	sessionKey  = "email"
	renewURL    = "/coveo/token"
)

var (
	organization = os.Getenv("ORGANIZATION_ID")
	apiKey       = os.Getenv("API_KEY")
	platformURL  = os.Getenv("PLATFORM_URL")

	store = sessions.NewCookieStore([]byte("a key that is 32 bytes or longer"))

	//go:embed search.html
	searchHTML string
	search     = template.Must(template.New("search.html").Funcs(searchtoken.FuncMap()).Parse(searchHTML))
)

// serveAs runs one of the servers that are written in Go. It returns only if
// the server fails.
func serveAs(server string) error {
	newServer, ok := map[string]func() *http.ServeMux{
		"platform": newPlatform, "searchtoken": newSite, "limit": newLimit, "plain": newPlain,
	}[server]
	if !ok {
		return fmt.Errorf("there is no server %q", server)
	}
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), newServer())
}

// newPlatform returns the stand-in for the platform. /calls is the number of
// token calls so far.
func newPlatform() *http.ServeMux {
	platform := searchtokentest.New(searchtokentest.Config{MaxRequests: 1})
	platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: tokenLatency})
	mux := http.NewServeMux()
	mux.Handle("/", platform)
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, platform.Count(searchtokentest.KindToken))
	})
	return mux
}

// newSite returns a site with searchtoken, like the one in the README.
func newSite() *http.ServeMux {
	getSearchToken := must(searchtoken.New(searchtoken.Config{
		OrganizationID: organization,
		APIKey:         apiKey,
		PlatformURL:    platformURL,
		AnalyticsURL:   platformURL,
		Identify:       searchtoken.SessionEmail(store, sessionName, sessionKey),
		Route:          searchtoken.Route{RenewURL: renewURL},
	}))
	mux := http.NewServeMux()
	mux.Handle(renewURL, getSearchToken.RenewHandler())
	mux.Handle("GET /{$}", getSearchToken.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		_ = search.Execute(w, page) // fails if the visitor has left
	})))
	return mux
}

// newLimit returns the same site without the middleware: one token for all
// users, and no caching headers.
func newLimit() *http.ServeMux { return loggedIn(search, constantPage()) }

// newPlain returns newLimit's site with a page as one would write it by hand: a
// template in which only the token varies.
func newPlain() *http.ServeMux {
	page := constantPage()
	token := page.Token.Value
	page.Token.Value = "the token"
	var b strings.Builder
	if err := search.Execute(&b, page); err != nil {
		log.Fatal(err)
	}
	return loggedIn(template.Must(template.New("plain").Parse(strings.Replace(b.String(), `"the token"`, "{{.}}", 1))), token)
}

// loggedIn renders page with data if the visitor is logged in.
func loggedIn(page *template.Template, data any) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		session, _ := store.Get(r, sessionName)
		if user, _ := session.Values[sessionKey].(string); user == "" {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		_ = page.Execute(w, data)
	})
	return mux
}

// constantPage returns the Page of USER_EMAIL, the one user of the Node.js
// servers.
func constantPage() *searchtoken.Page {
	client := must(searchtoken.NewClient(searchtoken.ClientConfig{
		OrganizationID: organization, APIKey: apiKey, PlatformURL: platformURL,
	}))
	user := searchtoken.Email(os.Getenv("USER_EMAIL"))
	return &searchtoken.Page{
		Token:          must(client.Issue(context.Background(), searchtoken.TokenParams{UserIDs: user.UserIDs})),
		OrganizationID: organization,
		PlatformURL:    platformURL,
		AnalyticsURL:   platformURL,
		RenewURL:       renewURL,
	}
}
