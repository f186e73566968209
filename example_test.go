package searchtoken_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// A whole site: a login, a search page, and the renewal of its token. It
// searches a stand-in for the Coveo platform; without PlatformURL and
// HTTPClient it would search Coveo.
func Example() {
	platform := searchtokentest.New(searchtokentest.Config{})
	store := sessions.NewCookieStore([]byte("32 random bytes, from a secret store"))
	store.Options = &sessions.Options{Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       searchtoken.SessionEmail(store, "session", "email"),
		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
	})
	if err != nil {
		log.Fatal(err)
	}
	page := template.Must(template.New("search").Funcs(searchtoken.FuncMap()).Parse(
		`<head>{{coveoAtomic .}}</head><body><atomic-search-interface></atomic-search-interface></body>`))

	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.Handle("GET /search", coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		coveo, _ := searchtoken.FromContext(r.Context())
		if err := page.Execute(w, coveo); err != nil {
			log.Print(err)
		}
	})))
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		session := sessions.NewSession(store, "session")
		session.Options = store.Options
		session.Values["email"] = "alice@example.com" // a real site finds out who it is
		if err := session.Save(r, w); err != nil {
			log.Print(err)
		}
	})

	// What a visitor does:
	search := func(cookies []*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/search", nil)
		for _, cookie := range cookies {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	fmt.Println("before the login:", search(nil).Code)
	login := httptest.NewRecorder()
	mux.ServeHTTP(login, httptest.NewRequest("POST", "/login", nil))
	cookies := login.Result().Cookies()
	for range 2 {
		w := search(cookies)
		fmt.Println("after it:", w.Code, "with a token:", strings.Contains(w.Body.String(), `"accessToken":"eyJ`))
	}
	fmt.Println("calls for a token:", platform.Count(searchtokentest.KindToken))
	// Output:
	// before the login: 401
	// after it: 200 with a token: true
	// after it: 200 with a token: true
	// calls for a token: 1
}

func ExampleNew() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		APIKey:         "xx00000000-0000-4000-8000-000000000000", // from a secret store, never in code
		Identify:       searchtoken.SessionEmail(store, "session", "email"),
		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())
}

// One error names every field that is missing or wrong.
func ExampleNew_errors() {
	_, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		Route:          searchtoken.Route{RenewURL: "https://example.com/coveo/token"},
	})
	fmt.Println(err)
	// Output:
	// searchtoken: RenewURL: must be a path on this site that browsers ask for, not a pattern and without the segments . and .., for example "/coveo/token"
	// APIKey: is required, unless Credential is set
	// Identify: is required; SessionEmail makes the most common one
}

// Handler works with any mux. The page that it wraps finds its token in the
// request's context.
func ExampleMiddleware_Handler() {
	platform := searchtokentest.New(searchtokentest.Config{})
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       searchtoken.AnonymousIdentity,
	})
	if err != nil {
		log.Fatal(err)
	}
	searchPage := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		fmt.Fprintf(w, "%s searches in %s", page.Identity.UserIDs[0].Name, page.OrganizationID)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/search", nil))
	fmt.Println(w.Body)
	fmt.Println("Cache-Control:", w.Header().Get("Cache-Control"))
	// Output:
	// anonymous searches in acme
	// Cache-Control: private, no-store
}

// The pages of the help desk enforce another search hub, so they renew their
// tokens at another URL.
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
		route.Name = "helpdesk"
		route.Params.SearchHub = "HelpDesk"
		route.RenewURL = "/helpdesk/token"
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.Handle("/helpdesk/token", helpDesk.RenewHandler())
}

// A page that was open for a day asks for its next token.
func ExampleMiddleware_RenewHandler() {
	platform := searchtokentest.New(searchtokentest.Config{})
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       searchtoken.AnonymousIdentity,
		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", coveo.RenewHandler())

	// The snippets of FuncMap contain a script that sends this request.
	r := httptest.NewRequest("POST", "/coveo/token", strings.NewReader(`{"rejected": "a.b.c"}`))
	r.Header.Set("Origin", "http://example.com") // of the page; it is the host of the request
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	var answer struct{ Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(w.Code, strings.HasPrefix(answer.Token, "eyJ"))
	// Output: 200 true
}

// A logout ends the session first: otherwise a request that arrives in between
// would fetch another token. Forget gets exactly what Identify returned.
// A page without a token in the browser: the front ends call the site, which
// adds the token.
func ExampleMiddleware_ProxyHandler() {
	platform := searchtokentest.New(searchtokentest.Config{})
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       func(*http.Request) (searchtoken.Identity, error) { return searchtoken.Email("alice@example.com"), nil },
		Route:          searchtoken.Route{ProxyURL: "/coveo"},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/", coveo.ProxyHandler())

	// What a front end sends:
	r := httptest.NewRequest("POST", "/coveo/rest/search/v2?organizationId="+searchtokentest.DefaultOrganizationID,
		strings.NewReader(`{"q":"office"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	fmt.Println("queried as", platform.Requests(searchtokentest.KindSearch)[0].Claims.UserIDs[0].Name)
	// Output:
	// 200 application/json
	// queried as alice@example.com
}

// A handler that queries Coveo itself. The client adds the token of the
// request's user, and gives it to no other host.
func ExampleMiddleware_Transport() {
	var coveo *searchtoken.Middleware // from New
	client := &http.Client{Transport: coveo.Transport(nil), Timeout: 10 * time.Second}
	http.Handle("GET /fields", coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		query, err := http.NewRequestWithContext(r.Context(), "GET", page.PlatformURL+"/rest/search/v2/fields", nil)
		if err != nil {
			log.Print(err)
			return
		}
		answer, err := client.Do(query)
		if err != nil {
			http.Error(w, "Bad Gateway", http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		_, _ = io.Copy(w, answer.Body)
	})))
}

// A worker has no request. It asks for the token of a user, and makes the
// context that Transport needs.
func ExampleMiddleware_Token() {
	platform := searchtokentest.New(searchtokentest.Config{})
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       searchtoken.AnonymousIdentity,
	})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: coveo.Transport(platform)}
	alice := searchtoken.Email("alice@example.com")

	token, err := coveo.Token(context.Background(), alice)
	if err != nil {
		log.Fatal(err)
	}
	ctx := searchtoken.NewContext(context.Background(), &searchtoken.Page{Token: token, Identity: alice})
	query, err := http.NewRequestWithContext(ctx, "GET",
		"https://"+searchtokentest.DefaultOrganizationID+".org.coveo.com/rest/search/v2?q=office", nil)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := client.Do(query)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
	// Output:
	// 200 OK
}

// A handler that runs long gets the user's token whenever it needs one.
func ExampleMiddleware_Page() {
	var coveo *searchtoken.Middleware // from New
	http.HandleFunc("GET /alerts", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range time.Tick(time.Minute) {
			page, err := coveo.Page(r)
			if err != nil { // the session has ended, for example
				return
			}
			fmt.Fprintf(w, "data: the token is good until %v\n\n", page.Token.Expiry)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
}

// A program that says at start what is wrong, and starts nevertheless: Coveo may
// only be down.
func ExampleMiddleware_Check() {
	var coveo *searchtoken.Middleware // from New
	if err := coveo.Check(context.Background()); err != nil {
		slog.Error("the search will not work", "error", err)
	}
}

func ExampleMiddleware_Forget() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	user := searchtoken.SessionEmail(store, "session", "email")
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		APIKey:         "xx00000000-0000-4000-8000-000000000000",
		Identify:       searchtoken.FirstIdentity(user, searchtoken.AnonymousIdentity),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		id, noUser := user(r)
		session, err := store.Get(r, "session")
		if err == nil {
			session.Options.MaxAge = -1
			err = session.Save(r, w)
		}
		if err != nil {
			http.Error(w, "The logout failed.", http.StatusInternalServerError)
			return
		}
		if noUser == nil {
			// A visitor who leaves must not cancel it.
			if err := coveo.Forget(context.WithoutCancel(r.Context()), id); err != nil {
				slog.Error("the tokens of a user were not forgotten", "error", err)
			}
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
}

// The server stops first, then the Middleware.
func ExampleMiddleware_Shutdown() {
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: os.Getenv("COVEO_ORGANIZATION_ID"),
		APIKey:         os.Getenv("COVEO_API_KEY"),
		Identify:       searchtoken.AnonymousIdentity,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(http.NotFoundHandler())) // the search page
	server := &http.Server{Addr: "localhost:3000", Handler: mux}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("the server failed", "error", err)
			stop()
		}
	}()
	<-ctx.Done()

	grace, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := errors.Join(server.Shutdown(grace), coveo.Shutdown(grace)); err != nil {
		slog.Error("the shutdown was not clean", "error", err)
	}
}

// Prepare gives the visitors of each tenant a filter. The tenant comes from a list
// of known hosts, since a visitor can send any Host header.
func ExampleRoute_prepare() {
	tenants := map[string]string{"blue.example.com": "Blue Inc.", "green.example.com": "Green Ltd."}
	platform := searchtokentest.New(searchtokentest.Config{})
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       searchtoken.AnonymousIdentity,
		Logger:         slog.New(slog.DiscardHandler),
		Route: searchtoken.Route{
			Prepare: func(r *http.Request, params *searchtoken.TokenParams) error {
				tenant, ok := tenants[strings.ToLower(r.Host)]
				if !ok {
					return errors.New("no tenant has this host")
				}
				// They could end the quotation, and widen the filter.
				if strings.ContainsAny(tenant, `"\`) {
					return errors.New("the name of the tenant contains a quotation mark or a backslash")
				}
				params.Filter = `@tenant=="` + tenant + `"`
				return nil
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	searchPage := coveo.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, host := range []string{"blue.example.com", "red.example.com"} {
		w := httptest.NewRecorder()
		searchPage.ServeHTTP(w, httptest.NewRequest("GET", "http://"+host+"/search", nil))
		fmt.Println(host, w.Code)
	}
	fmt.Println(platform.Requests(searchtokentest.KindToken)[0].Claims.Filter)
	// Output:
	// blue.example.com 200
	// red.example.com 500
	// @tenant=="Blue Inc."
}

// Events become counters: here in a map, in a real site those of a metrics
// library.
func ExampleConfig_observe() {
	var (
		mu       sync.Mutex
		counters = map[string]int{}
	)
	platform := searchtokentest.New(searchtokentest.Config{})
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
		Identify:       searchtoken.AnonymousIdentity,
		Observe: func(_ context.Context, e searchtoken.Event) {
			mu.Lock()
			defer mu.Unlock()
			counters[fmt.Sprintf("%s %s %s", e.Route, e.Kind, e.Outcome)]++
		},
		Route: searchtoken.Route{Name: "search"},
	})
	if err != nil {
		log.Fatal(err)
	}
	searchPage := coveo.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for range 3 {
		searchPage.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/search", nil))
	}
	mu.Lock()
	defer mu.Unlock()
	fmt.Println(counters)
	// Output: map[search fetch ok:1 search hit ok:2 search miss ok:1]
}

// An ErrorHandler answers with the site's own error page.
func ExampleHTTPStatus() {
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		APIKey:         "xx00000000-0000-4000-8000-000000000000",
		Identify: func(*http.Request) (searchtoken.Identity, error) {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		},
		Route: searchtoken.Route{
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				if errors.Is(err, searchtoken.ErrNoIdentity) {
					http.Redirect(w, r, "/login", http.StatusSeeOther)
					return
				}
				// The text of err is for operators; the Middleware has logged it.
				http.Error(w, "The search is not available.", searchtoken.HTTPStatus(err))
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	searchPage := coveo.Handler(http.NotFoundHandler())
	searchPage.ServeHTTP(w, httptest.NewRequest("GET", "/search", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output: 303 /login
}

// The session's email address says who searches.
func ExampleSessionEmail() {
	store := sessions.NewCookieStore([]byte("32 random bytes, from a secret store"))
	identify := searchtoken.SessionEmail(store, "session", "email")

	login := httptest.NewRecorder()
	session := sessions.NewSession(store, "session")
	session.Options = &sessions.Options{Path: "/", HttpOnly: true}
	session.Values["email"] = "alice@example.com"
	if err := session.Save(httptest.NewRequest("POST", "/login", nil), login); err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/search", nil)
	r.AddCookie(login.Result().Cookies()[0])
	id, err := identify(r)
	fmt.Println(id.UserIDs[0].Name, err)
	// Output: alice@example.com <nil>
}

// A session that has more in it than an email address.
func ExampleSessionIdentity() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	identify := searchtoken.SessionIdentity(store, "session", func(s *sessions.Session) (searchtoken.Identity, error) {
		email, ok := s.Values["email"].(string)
		if !ok {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		id := searchtoken.Email(email)
		id.DisplayName, _ = s.Values["name"].(string)
		if end, ok := s.Values["end"].(int64); ok {
			id.Expires = time.Unix(end, 0)
		}
		return id, nil
	})
	_, err := identify(httptest.NewRequest("GET", "/search", nil))
	fmt.Println(errors.Is(err, searchtoken.ErrNoIdentity))
	// Output: true
}

// Visitors who are not logged in search as anonymous.
func ExampleFirstIdentity() {
	store := sessions.NewCookieStore([]byte(os.Getenv("SESSION_KEY")))
	identify := searchtoken.FirstIdentity(
		searchtoken.SessionEmail(store, "session", "email"),
		searchtoken.AnonymousIdentity,
	)
	id, err := identify(httptest.NewRequest("GET", "/search", nil))
	fmt.Println(id.UserIDs[0].Name, err)
	// Output: anonymous <nil>
}

// An IdentityFunc for a site whose own middleware authenticates users, and puts
// them into the request's context.
func ExampleIdentityFunc() {
	type user struct {
		email, name string
		groups      []string
		sessionEnd  time.Time
	}
	type userKey struct{}
	var identify searchtoken.IdentityFunc = func(r *http.Request) (searchtoken.Identity, error) {
		user, ok := r.Context().Value(userKey{}).(user)
		if !ok {
			return searchtoken.Identity{}, searchtoken.ErrNoIdentity
		}
		id := searchtoken.Email(user.email)
		id.DisplayName = user.name // in analytics
		id.Groups = user.groups    // in analytics and query pipelines; they grant no rights
		id.Expires = user.sessionEnd
		return id, nil
	}

	r := httptest.NewRequest("GET", "/search", nil)
	alice := user{email: "alice@example.com", name: "Alice", groups: []string{"sales"}}
	id, err := identify(r.WithContext(context.WithValue(r.Context(), userKey{}, alice)))
	fmt.Println(id.UserIDs[0].Name, id.DisplayName, id.Groups, err)
	// Output: alice@example.com Alice [sales] <nil>
}

// A test of a handler needs neither Coveo nor a Middleware.
func ExampleNewContext() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		io.WriteString(w, "searching in "+page.OrganizationID)
	})
	r := httptest.NewRequest("GET", "/search", nil)
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(searchtoken.NewContext(r.Context(), page)))
	fmt.Println(w.Body)
	// Output: searching in acme
}

// A handler that is also served without a Middleware asks whether there is a page.
func ExampleFromContext() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := searchtoken.FromContext(r.Context())
		switch {
		case !ok:
			io.WriteString(w, "This page has no search.")
		case page.Err != nil: // on an Optional route
			io.WriteString(w, "The search is not available.")
		default:
			io.WriteString(w, "Search in "+page.OrganizationID)
		}
	})
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Body)
	// Output: This page has no search.
}

// A handler queries Coveo as the user of the request. The token stays on the
// server.
func ExampleToken_SetAuthHeader() {
	platform := searchtokentest.New(searchtokentest.Config{})
	client := &http.Client{Transport: platform, Timeout: 10 * time.Second}
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     client,
		Identify:       searchtoken.AnonymousIdentity,
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		query, err := http.NewRequestWithContext(r.Context(), http.MethodGet,
			page.PlatformURL+"/rest/search/v2?q=password", nil)
		if err != nil {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		page.Token.SetAuthHeader(query)
		answer, err := client.Do(query)
		if err != nil {
			http.Error(w, "Bad Gateway", http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		var found struct {
			Results []struct{ Title string }
		}
		if err := json.NewDecoder(answer.Body).Decode(&found); err != nil || answer.StatusCode != http.StatusOK {
			http.Error(w, "Bad Gateway", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(found.Results); err != nil {
			log.Print(err)
		}
	}))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/results", nil))
	fmt.Print(w.Body)
	// Output: [{"Title":"Reset your password"}]
}

// A Client gets tokens without a request: for a command or a worker.
func ExampleClient() {
	platform := searchtokentest.New(searchtokentest.Config{})
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         searchtokentest.DefaultAPIKey,
		HTTPClient:     &http.Client{Transport: platform},
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := client.Issue(context.Background(), searchtoken.TokenParams{
		UserIDs:  searchtoken.Email("alice@example.com").UserIDs,
		ValidFor: time.Hour,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lives for", token.Expiry.Sub(token.Issued))
	// Output: lives for 1h0m0s
}

// The error of a Client says what Coveo answered.
func ExampleNewClient() {
	platform := searchtokentest.New(searchtokentest.Config{})
	client, err := searchtoken.NewClient(searchtoken.ClientConfig{
		OrganizationID: searchtokentest.DefaultOrganizationID,
		APIKey:         "xx99999999-0000-4000-8000-000000000000", // not the platform's
		HTTPClient:     &http.Client{Transport: platform},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.Issue(context.Background(), searchtoken.TokenParams{UserIDs: searchtoken.Anonymous().UserIDs})
	var answer *searchtoken.APIError
	if errors.As(err, &answer) {
		fmt.Println(answer.StatusCode, answer.Type)
	}
	// Output: 401 InvalidTokenException
}

// A developer's own access token shows a page without an API key. Every visitor
// then searches as that developer, so the site must not be reachable by others.
func ExampleAccessToken() {
	coveo, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme",
		Issuer:         searchtoken.AccessToken("xx11111111-0000-4000-8000-000000000000", time.Time{}),
		Identify:       searchtoken.AnonymousIdentity,
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		io.WriteString(w, "searching in "+page.OrganizationID)
	}))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("GET", "/search", nil))
	fmt.Println(w.Body)
	// Output: searching in acme
}

// Two organizations share the memory of one cache.
func ExampleNewMemoryCache() {
	cache := searchtoken.NewMemoryCache(20_000)
	for _, organization := range []string{"acme", "globex"} {
		platform := searchtokentest.New(searchtokentest.Config{OrganizationID: organization})
		coveo, err := searchtoken.New(searchtoken.Config{
			OrganizationID: organization,
			APIKey:         searchtokentest.DefaultAPIKey,
			HTTPClient:     &http.Client{Transport: platform},
			Identify:       searchtoken.AnonymousIdentity,
			Cache:          cache,
		})
		if err != nil {
			log.Fatal(err)
		}
		searchPage := coveo.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		searchPage.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/search", nil))
	}
	fmt.Println(cache.Len(), "tokens")
	// Output: 2 tokens
}

// The template of a search page. Its data is the *Page, or has it in a field.
func ExampleFuncMap() {
	tmpl := template.Must(template.New("search").Funcs(searchtoken.FuncMap()).Parse(
		`{{coveoIPX .Coveo "page"}}`))
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, Nonce: "bm9uY2U"}
	var b strings.Builder
	if err := tmpl.Execute(&b, map[string]any{"Coveo": page}); err != nil {
		log.Fatal(err)
	}
	fmt.Print(strings.ReplaceAll(b.String(), " ", "\n"))
	// Output:
	// <script
	// defer
	// src="https://platform.cloud.coveo.com/rest/organizations/acme/pages/page/inappwidget/loader?access_token=a.b.c"
	// nonce="bm9uY2U"></script>
}

// A template engine other than html/template takes the snippet as HTML that it
// must not escape: with templ, templ.Raw(snippet).
func ExamplePage_Snippet() {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	snippet, err := page.Snippet(searchtoken.IPX, "page")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(strings.ReplaceAll(string(snippet), " ", "\n"))
	// Output:
	// <script
	// defer
	// src="https://platform.cloud.coveo.com/rest/organizations/acme/pages/page/inappwidget/loader?access_token=a.b.c"></script>
}

// A handler adds what its page needs to the policy of the site.
func ExamplePage_CSP() {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		policy, err := page.CSP("default-src 'self'; object-src 'none'", searchtoken.Atomic)
		if err != nil {
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
	})
	r := httptest.NewRequest("GET", "/search", nil)
	page := &searchtoken.Page{
		OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, RenewURL: "/coveo/token", Nonce: "bm9uY2U",
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r.WithContext(searchtoken.NewContext(r.Context(), page)))
	for directive := range strings.SplitSeq(w.Header().Get("Content-Security-Policy"), "; ") {
		fmt.Println(directive)
	}
	// Output:
	// default-src 'self'
	// object-src 'none'
	// script-src 'self' 'nonce-bm9uY2U'
	// style-src 'self' 'nonce-bm9uY2U'
	// style-src-attr 'unsafe-inline'
	// connect-src 'self' https://acme.org.coveo.com https://acme.analytics.org.coveo.com https://static.cloud.coveo.com
}
