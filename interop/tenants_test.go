package interop_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestOrganizationPerHost is a server with two organizations.
func TestOrganizationPerHost(t *testing.T) {
	platforms := map[string]*searchtokentest.Platform{}
	configs := map[string]searchtoken.Config{}
	for _, name := range []string{"blue", "green"} {
		cfg, _ := newConfig()
		platform := searchtokentest.New(searchtokentest.Config{OrganizationID: name, APIKey: testKey(name)})
		cfg.OrganizationID, cfg.APIKey = name, testKey(name)
		cfg.HTTPClient = &http.Client{Transport: platform}
		platforms[name], configs[name+".example.com"] = platform, cfg
	}
	var middlewares []*searchtoken.Middleware
	cache := searchtoken.NewMemoryCache(0)

	// recipe: organization-per-host
	sites := map[string]http.Handler{} // by host
	for host, cfg := range configs {
		cfg.Cache = cache // one for all, or one for each
		coveo, err := searchtoken.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		middlewares = append(middlewares, coveo)
		mux := http.NewServeMux()
		mux.Handle("GET /search", coveo.Handler(searchPage))
		mux.Handle("/coveo/token", coveo.RenewHandler())
		sites[host] = mux
	}
	site := byHost(sites)
	// end recipe

	visitor := visit(t, site)
	for _, tt := range []struct{ host, want string }{
		{"blue.example.com", "200 alice@example.com"},
		{"GREEN.example.com", "200 alice@example.com"},
		{"red.example.com", "421"},
	} {
		check(t, tt.host, tt.want, visitor.do("GET /search as alice@example.com", "Host", tt.host).String())
		check(t, "renewal", tt.want, visitor.do("POST /coveo/token as alice@example.com", "Host", tt.host).String())
	}
	for name, platform := range platforms {
		check(t, "token calls of "+name, 1, platform.Count(searchtokentest.KindToken))
	}

	check(t, "cached tokens", 2, cache.Len())
	check(t, "Forget", nil, middlewares[0].Forget(t.Context(), searchtoken.Email("alice@example.com")))
	check(t, "cached tokens after a Forget of one organization", 1, cache.Len())
	check(t, "forgetEverywhere", nil,
		forgetEverywhere(t.Context(), middlewares, searchtoken.Email("alice@example.com")))
	check(t, "cached tokens after a Forget of both", 0, cache.Len())
}

// recipe: forget-everywhere

// forgetEverywhere forgets a user in all organizations.
func forgetEverywhere(
	ctx context.Context, middlewares []*searchtoken.Middleware, id searchtoken.Identity,
) (err error) {
	for _, coveo := range middlewares {
		err = errors.Join(err, coveo.Forget(ctx, id))
	}
	return err
}

// end recipe

// recipe: by-host

// byHost calls the handler of the request's host.
func byHost(sites map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if site, ok := sites[strings.ToLower(r.Host)]; ok {
			site.ServeHTTP(w, r)
			return
		}
		http.Error(w, "There is no such site.", http.StatusMisdirectedRequest)
	})
}

// end recipe

// testKey returns an API key with the form of Coveo's.
func testKey(tenant string) string {
	return "xx" + fmt.Sprintf("%08x", []byte(tenant)[:4]) + "-0000-4000-8000-000000000000"
}

// recipe: not-member

// errNotMember is the error of a user in a tenant of other users. It is a 401,
// because it wraps ErrNoIdentity.
var errNotMember = fmt.Errorf("not a member of the tenant: %w", searchtoken.ErrNoIdentity)

// answerError answers a page of a logged-in user with 403.
func answerError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errNotMember): // before ErrNoIdentity, which it is, too
		http.Error(w, "Forbidden", http.StatusForbidden)
	case errors.Is(err, searchtoken.ErrNoIdentity):
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	default:
		http.Error(w, "The search is not available.", searchtoken.HTTPStatus(err))
	}
}

// end recipe

// recipe: filter-per-host

// filters has the filter of each tenant's host.
var filters = map[string]string{
	"blue.example.com":  `@tenant=="blue"`,
	"green.example.com": `@tenant=="green"`,
}

func filterByHost(r *http.Request, params *searchtoken.TokenParams) error {
	filter, known := filters[strings.ToLower(r.Host)]
	if !known {
		return errNotMember
	}
	params.Filter = filter
	return nil
}

// end recipe

func TestFilterPerHost(t *testing.T) {
	cfg, platform := newConfig()
	cfg.Prepare, cfg.ErrorHandler = filterByHost, answerError
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	visitor := visit(t, mux)
	for _, tt := range []struct{ host, page, renewal, filter string }{
		{"blue.example.com", "200 alice@example.com", "200 alice@example.com", `@tenant=="blue"`},
		{"Blue.Example.Com", "200 alice@example.com", "200 alice@example.com", `@tenant=="blue"`},
		{"green.example.com", "200 alice@example.com", "200 alice@example.com", `@tenant=="green"`},
		{"red.example.com", "403", "401", ""},
		{"blue.example.com:8080", "403", "401", ""}, // a port is a part of the Host
		{"", "403", "401", ""}, // the address of the test's server
	} {
		var headers []string
		if tt.host != "" {
			headers = []string{"Host", tt.host}
		}
		for request, want := range map[string]string{"GET /search": tt.page, "POST /coveo/token": tt.renewal} {
			got := visitor.do(request+" as alice@example.com", headers...)
			check(t, request+" of "+tt.host, want, got.String())
			check(t, "filter", tt.filter, tokenClaims(got.body).Filter)
		}
	}
	check(t, "nobody", "303 /login", visitor.do("GET /search", "Host", "blue.example.com").String())
	check(t, "token calls", 2, platform.Count(searchtokentest.KindToken))
}

// recipe: filter-per-path

// filterByPath needs the same {tenant} in the paths of pages and of renewals.
func filterByPath(r *http.Request, params *searchtoken.TokenParams) error {
	tenant := r.PathValue("tenant")
	if !isMember(params.UserIDs[0].Name, tenant) {
		return errNotMember
	}
	params.Filter = `@tenant=="` + tenant + `"` // isMember knows only safe names
	return nil
}

func tenantPage(w http.ResponseWriter, r *http.Request) {
	page, _ := searchtoken.FromContext(r.Context())
	page.RenewURL = "/" + r.PathValue("tenant") + "/token" // of this tenant
	search(w, r)
}

// end recipe

// isMember reports whether user belongs to tenant, which may be any string.
func isMember(user, tenant string) bool {
	return tenant == "blue" || tenant == "green" && user == "alice@example.com"
}

func TestFilterPerPath(t *testing.T) {
	cfg, _ := newConfig()
	cfg.RenewURL, cfg.Prepare = "", filterByPath
	coveo := newCoveo(t, cfg)

	// recipe: filter-per-path-routes
	mux := http.NewServeMux()
	mux.Handle("GET /{tenant}/search", coveo.Handler(http.HandlerFunc(tenantPage)))
	mux.Handle("/{tenant}/token", coveo.RenewHandler())
	// end recipe

	visitor := visit(t, mux)
	for _, tt := range []struct{ user, tenant, want, filter string }{
		{"alice@example.com", "blue", "200 alice@example.com", `@tenant=="blue"`},
		{"alice@example.com", "green", "200 alice@example.com", `@tenant=="green"`},
		{"bob@example.com", "blue", "200 bob@example.com", `@tenant=="blue"`},
		{"bob@example.com", "green", "401", ""},
		{"alice@example.com", `x%22%20OR%20@tenant==%22red`, "401", ""},
	} {
		for _, request := range []string{"GET /" + tt.tenant + "/search", "POST /" + tt.tenant + "/token"} {
			got := visitor.do(request + " as " + tt.user)
			check(t, request+" as "+tt.user, tt.want, got.String())
			check(t, "filter", tt.filter, tokenClaims(got.body).Filter)
		}
	}
	page := visitor.do("GET /green/search as alice@example.com").body
	check(t, "the page renews for its tenant", true, strings.Contains(page, `"/green/token"`))
}

// recipe: reload

// reloadable is a site that is replaced while requests run.
type reloadable struct {
	site  atomic.Pointer[site]
	cache searchtoken.MemoryCache // tokens outlive a reload
}

type site struct {
	http.Handler
	coveo *searchtoken.Middleware
}

func (s *reloadable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.site.Load().ServeHTTP(w, r)
}

// end recipe

// recipe: reload-load

// load serves later requests with cfg. If cfg is wrong, the old one stays.
func (s *reloadable) load(ctx context.Context, cfg searchtoken.Config) error {
	cfg.Cache = &s.cache
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		return err
	}
	if old := s.site.Swap(&site{routes(coveo), coveo}); old != nil {
		if err := old.coveo.Shutdown(ctx); err != nil { // cfg is in use nevertheless
			log.Print("the old Middleware still waits for Coveo: ", err)
		}
	}
	return nil
}

// end recipe

func routes(coveo *searchtoken.Middleware) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	return mux
}

func TestReload(t *testing.T) {
	cfg, platform := newConfig()
	var site reloadable
	if err := site.load(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	visitor := visit(t, &site)
	visitor.expect(exchange{"GET /search as alice@example.com", "200 alice@example.com"})

	bad := cfg
	bad.OrganizationID = "not_a_label"
	if err := site.load(t.Context(), bad); err == nil {
		t.Error("a bad configuration was loaded")
	}

	done := make(chan struct{})
	var visitors sync.WaitGroup
	for i := range 4 {
		visitors.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				user := fmt.Sprintf("user%d-%d@example.com", i, n%20)
				request := "GET /search as " + user
				if n%2 == 1 {
					request = "POST /coveo/token as " + user
				}
				check(t, request, "200 "+user, visitor.do(request).String())
			}
		})
	}
	for i := range 20 {
		cfg.MaxInFlight = 8 + i
		if err := site.load(t.Context(), cfg); err != nil {
			t.Error(err)
		}
		visitor.expect(exchange{"GET /search as alice@example.com", "200 alice@example.com"})
	}
	close(done)
	visitors.Wait()

	calls := 0
	for _, call := range platform.Requests(searchtokentest.KindToken) {
		if call.User() == "alice@example.com" {
			calls++
		}
	}
	check(t, "token calls for alice, with 20 reloads", 1, calls)
}

// TestReloadWhileCoveoHangs shows that a configuration is in use even if the
// old Middleware still waits for a call.
func TestReloadWhileCoveoHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, platform := newConfig()
		var site reloadable
		if err := site.load(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Times: 1, Delay: 5 * time.Second})
		ask := func() int {
			r := httptest.NewRequest("GET", "/search", nil)
			r.Header.Set("X-User", "alice@example.com")
			w := httptest.NewRecorder()
			site.ServeHTTP(w, r)
			return w.Code
		}
		go ask()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		check(t, "load", nil, site.load(ctx, cfg))
		check(t, "page", http.StatusOK, ask())
		time.Sleep(10 * time.Second) // until the first call has ended
	})
}

func TestReloadOnSignal(t *testing.T) {
	first, _ := newConfig()
	var site reloadable
	if err := site.load(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	loaded := site.site.Load()
	read := make(chan string)
	readConfig := func() (searchtoken.Config, error) {
		cfg := first
		cfg.OrganizationID = <-read
		return cfg, nil
	}

	// recipe: reload-signal
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // kill -HUP
	go func() {
		for range hangups {
			cfg, err := readConfig() // New names what is wrong with it
			if err == nil {
				ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
				err = site.load(ctx, cfg)
				cancel()
			}
			if err != nil {
				log.Print("the old configuration stays: ", err)
			}
		}
	}()
	// end recipe

	defer close(hangups)
	defer signal.Stop(hangups)
	for _, organization := range []string{"not_a_label", "green"} {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		read <- organization
	}
	for site.site.Load() == loaded {
		runtime.Gosched()
	}
	page := visit(t, &site).do("GET /search as alice@example.com")
	check(t, "page of the wrong organization", "502", page.String())
}

// TestCredentialRotates replaces the API key after a call of the platform has
// begun. The platform refuses that call.
func TestCredentialRotates(t *testing.T) {
	cfg, platform := newConfig()
	file := filepath.Join(t.TempDir(), "key")
	writeKey := func(key string) {
		if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
	writeKey(testKey("old key"))
	var reads atomic.Int32
	readFile := func(name string) ([]byte, error) {
		reads.Add(1)
		return os.ReadFile(name)
	}

	// recipe: rotating-key
	cfg.APIKey = ""
	cfg.Credential = func(context.Context) (string, error) {
		key, err := readFile(file) // os.ReadFile, of a file that the secret manager replaces
		return string(key), err
	}
	// end recipe

	var keys []string
	platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Times: 1,
		Handler: func(w http.ResponseWriter, r *http.Request) {
			keys = append(keys, r.Header.Get("Authorization"))
			writeKey(searchtokentest.DefaultAPIKey)
			w.WriteHeader(http.StatusUnauthorized)
		}})
	visit(t, newCoveo(t, cfg).Handler(searchPage)).expect(
		exchange{"GET / as alice@example.com", "200 alice@example.com"},
	)
	for _, call := range platform.Requests(searchtokentest.KindToken)[1:] {
		keys = append(keys, call.Header.Get("Authorization"))
	}
	want := []string{"Bearer " + testKey("old key"), "Bearer " + searchtokentest.DefaultAPIKey}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("the keys of the calls (-want +got):\n%s", diff)
	}
	check(t, "reads of the key", 2, reads.Load())
}

// TestCredentialOfAWrongKey shows that a key that has not changed is not sent
// twice.
func TestCredentialOfAWrongKey(t *testing.T) {
	cfg, platform := newConfig()
	cfg.APIKey = ""
	cfg.Credential = func(context.Context) (string, error) { return testKey("wrong key"), nil }
	var failure error
	cfg.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		failure = err
		w.WriteHeader(searchtoken.HTTPStatus(err))
	}
	visit(t, newCoveo(t, cfg).Handler(searchPage)).expect(exchange{"GET / as alice@example.com", "502"})
	check(t, "token calls", 1, platform.Count(searchtokentest.KindToken))
	if !errors.Is(failure, searchtoken.ErrRefused) {
		t.Errorf("the error is %v, want an ErrRefused", failure)
	}
}
