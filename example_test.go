package searchtoken_test

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func ExampleNew() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: os.Getenv("COVEO_ORGANIZATION_ID"),
		APIKey:         os.Getenv("COVEO_API_KEY"),
		Identify:       searchtoken.SessionEmail(store, "session", "email"),
		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer coveo.Shutdown(context.Background())

	page := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(
		`<head>{{coveoJSUI .Coveo}}</head><body class="CoveoSearchInterface"></body>`))
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.Handle("GET /search", coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		coveo, _ := searchtoken.FromContext(r.Context())
		if err := page.Execute(w, map[string]any{"Coveo": coveo}); err != nil {
			log.Print(err)
		}
	})))
	log.Fatal(http.ListenAndServe("localhost:3000", mux))
	// Output:
	// searchtoken: OrganizationID: is required
	// APIKey: is required, unless Credential is set
}

// A handler that queries Coveo itself authenticates with the token.
func ExampleToken_SetAuthHeader() {
	platform := searchtokentest.NewServer(searchtokentest.Config{})
	defer platform.Close()
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		PlatformURL:    platform.URL,
		Identify:       searchtoken.AnonymousIdentity,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer coveo.Shutdown(context.Background())

	handler := coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		query, err := http.NewRequestWithContext(r.Context(), http.MethodGet, page.PlatformURL+"/rest/search/v2?q=handbook", nil)
		if err != nil {
			log.Fatal(err)
		}
		page.Token.SetAuthHeader(query)
		results, err := http.DefaultClient.Do(query)
		if err != nil {
			log.Fatal(err)
		}
		defer results.Body.Close()
		fmt.Println(results.Status)
	}))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	// Output: 200 OK
}

// The visitors of each tenant see that tenant's documents alone.
func ExampleRoute_prepare() {
	tenants := map[string]string{"blue.example.com": "blue"}
	_ = searchtoken.Route{
		Prepare: func(r *http.Request, params *searchtoken.TokenParams) error {
			tenant, ok := tenants[r.Host]
			if !ok {
				return errors.New("no tenant has this host")
			}
			params.Filter = "@tenant==" + tenant
			return nil
		},
	}
}

// The pages of the help desk enforce another search hub, and have a renewal of
// their own.
func ExampleMiddleware_With() {
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		APIKey:         "xx00000000-0000-4000-8000-000000000000",
		Identify:       searchtoken.AnonymousIdentity,
		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
	})
	if err != nil {
		log.Fatal(err)
	}
	helpDesk, err := coveo.With(func(route *searchtoken.Route) {
		route.Params.SearchHub = "HelpDesk"
		route.RenewURL = "/helpdesk/coveo/token"
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.Handle("/helpdesk/coveo/token", helpDesk.RenewHandler())
}

// Log-out forgets the user's tokens before it ends the session.
func ExampleMiddleware_Forget() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	identify := searchtoken.SessionEmail(store, "session", "email")
	var coveo *searchtoken.Middleware // made by New, with Identify: identify
	_ = func(w http.ResponseWriter, r *http.Request) {
		if id, err := identify(r); err == nil {
			if err := coveo.Forget(r.Context(), id); err != nil {
				log.Print(err)
			}
		}
		session, _ := store.Get(r, "session")
		session.Options.MaxAge = -1
		if err := session.Save(r, w); err != nil {
			log.Print(err)
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

// Visitors who are not logged in search as anonymous.
func ExampleFirstIdentity() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	identify := searchtoken.FirstIdentity(
		searchtoken.SessionEmail(store, "session", "email"),
		searchtoken.AnonymousIdentity,
	)
	id, err := identify(httptest.NewRequest("GET", "/", nil))
	fmt.Println(id.UserIDs[0].Name, err)
	// Output: anonymous <nil>
}

// A session that knows more than an e-mail address.
func ExampleSessionIdentity() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	_ = searchtoken.SessionIdentity(store, "session", func(session *sessions.Session) (searchtoken.Identity, error) {
		email, ok := session.Values["email"].(string)
		if !ok {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		id := searchtoken.Email(email)
		id.DisplayName, _ = session.Values["name"].(string)
		if ends, ok := session.Values["ends"].(int64); ok {
			id.Expires = time.Unix(ends, 0)
		}
		return id, nil
	})
}

// A test of your own handler needs neither Coveo nor a Middleware.
func ExampleNewContext() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		io.WriteString(w, "searching in "+page.OrganizationID)
	})
	r := httptest.NewRequest("GET", "/", nil)
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(searchtoken.NewContext(r.Context(), page)))
	fmt.Println(w.Body)
	// Output: searching in acme
}

func ExampleFuncMap() {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, Nonce: "bm9uY2U"}
	tmpl := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(`{{coveoIPX .Coveo "page-id"}}`))
	var b strings.Builder
	if err := tmpl.Execute(&b, map[string]any{"Coveo": page}); err != nil {
		log.Fatal(err)
	}
	fmt.Print(b.String())
	// Output: <script defer src="https://platform.cloud.coveo.com/rest/organizations/acme/pages/page-id/inappwidget/loader?access_token=a.b.c" nonce="bm9uY2U"></script>
}

// A handler sets the policy of its site, with what the page needs.
func ExamplePage_CSP() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		csp, err := page.CSP("default-src 'self'", searchtoken.Headless)
		if err != nil {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", csp)
	})
	r := httptest.NewRequest("GET", "/", nil)
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, Nonce: "bm9uY2U"}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(searchtoken.NewContext(r.Context(), page)))
	for directive := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
		fmt.Println(directive)
	}
	// Output:
	// default-src 'self'
	// script-src 'self' 'nonce-bm9uY2U'
	// connect-src 'self' https://acme.org.coveo.com https://acme.analytics.org.coveo.com
}
