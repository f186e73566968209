package interop_test

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/gorilla/mux"
	"github.com/julienschmidt/httprouter"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// searchSite are the answers of a site with a search page, its renewal and a
// login page that needs no token.
var searchSite = []exchange{
	{"GET /search as alice@example.com", "200 alice@example.com"},
	{"GET /search as bob@example.com", "200 bob@example.com"},
	{"GET /search", "401"},
	{"GET /coveo/token as alice@example.com", "200 alice@example.com"},
	{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
	{"POST /coveo/token", "401"},
	{"GET /login", "200"},
	{"GET /nothing", "404"},
}

// recipe: page-headers

// setPageHeaders sets what coveo.Handler sets: for a page, or for the error
// that coveo.Page has returned. set is a function of the router.
func setPageHeaders(set func(name, value string), err error) {
	set("Cache-Control", "private, no-store")
	if after := searchtoken.RetryAfter(err); after > 0 {
		set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
}

// end recipe

// expectErrorHeaders checks the headers of the answer that ask gets from a
// router while Coveo asks for fewer calls.
func expectErrorHeaders(t *testing.T, ask func(*searchtoken.Middleware) answer) {
	t.Helper()
	cfg, platform := newConfig()
	platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Status: 429, RetryAfter: "30"})
	got := ask(newCoveo(t, cfg))
	check(t, "answer", "503", got.String())
	check(t, "Retry-After", "30", got.Header.Get("Retry-After"))
	got.expectPrivate(t)
}

func TestServeMux(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: servemux
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler()) // GET and POST
	mux.HandleFunc("GET /login", login)
	// end recipe

	visit(t, mux).expect(searchSite...)
}

func TestServeMuxWithCatchAll(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: servemux-catch-all
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", home)
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("GET /coveo/token", coveo.RenewHandler())
	mux.Handle("POST /coveo/token", coveo.RenewHandler())
	// end recipe

	visit(t, mux).expect(append(searchSite[:6:6], exchange{"GET /anything", "200"})...)

	// Without methods, neither pattern is more specific than the other.
	defer func() {
		if message := fmt.Sprint(recover()); !strings.Contains(message, "conflicts with pattern") {
			t.Errorf("the panic is %q", message)
		}
	}()
	mux = http.NewServeMux()
	mux.HandleFunc("GET /", home)
	mux.Handle("/coveo/token", coveo.RenewHandler())
}

func TestServeMuxGroup(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: servemux-group
	pages := http.NewServeMux()
	pages.Handle("GET /app/search", searchPage)
	pages.Handle("GET /app/people", searchPage)

	mux := http.NewServeMux()
	mux.Handle("GET /app/", coveo.Handler(pages))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.HandleFunc("GET /login", login)
	// end recipe

	visit(t, mux).expect(
		exchange{"GET /app/search as alice@example.com", "200 alice@example.com"},
		exchange{"GET /app/people as alice@example.com", "200 alice@example.com"},
		exchange{"GET /app/people", "401"},
		exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"GET /login", "200"},
	)
}

func TestChi(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	t.Run("group", func(t *testing.T) {
		// recipe: chi
		r := chi.NewRouter()
		r.Group(func(r chi.Router) {
			r.Use(coveo.Handler)
			r.Get("/search", search)
		})
		r.Handle("/coveo/token", coveo.RenewHandler())
		r.Get("/login", login)
		// end recipe

		visit(t, r).expect(searchSite...)
	})
	t.Run("route", func(t *testing.T) {
		r := chi.NewRouter()
		r.With(coveo.Handler).Get("/search", search)
		r.Handle("/coveo/token", coveo.RenewHandler())
		r.Get("/login", login)
		visit(t, r).expect(searchSite...)
	})
	t.Run("subrouter", func(t *testing.T) {
		r := chi.NewRouter()
		r.Route("/search", func(r chi.Router) {
			r.Use(coveo.Handler)
			r.Get("/", search)
		})
		r.Handle("/coveo/token", coveo.RenewHandler())
		r.Get("/login", login)
		visit(t, r).expect(searchSite...)
	})
}

func TestGorillaMux(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	t.Run("group", func(t *testing.T) {
		// recipe: gorilla-mux
		r := mux.NewRouter()
		r.Handle("/coveo/token", coveo.RenewHandler())
		r.HandleFunc("/login", login)

		pages := r.NewRoute().Subrouter() // or r.PathPrefix("/app").Subrouter()
		pages.Use(coveo.Handler)
		pages.HandleFunc("/search", search)
		// end recipe

		visit(t, r).expect(searchSite...)
	})
	t.Run("route", func(t *testing.T) {
		r := mux.NewRouter()
		r.Handle("/search", coveo.Handler(searchPage)).Methods("GET")
		r.Handle("/coveo/token", coveo.RenewHandler()).Methods("GET", "POST")
		r.HandleFunc("/login", login).Methods("GET")
		visit(t, r).expect(searchSite...)
	})
}

func TestHTTPRouter(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: httprouter
	router := httprouter.New()
	router.Handler("GET", "/search", coveo.Handler(searchPage))
	router.Handler("GET", "/coveo/token", coveo.RenewHandler())
	router.Handler("POST", "/coveo/token", coveo.RenewHandler())
	router.HandlerFunc("GET", "/login", login)
	// end recipe

	visit(t, router).expect(searchSite...)
}

// TestHTTPRouterParams uses a handler with httprouter's own signature.
func TestHTTPRouterParams(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	router := httprouter.New()
	router.Handler("GET", "/hubs/:hub", coveo.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, httprouter.ParamsFromContext(r.Context()).ByName("hub"))
		search(w, r)
	})))

	got := visit(t, router).do("GET /hubs/help as alice@example.com")
	check(t, "answer", "200 alice@example.com", got.String())
	check(t, "parameter", true, strings.HasPrefix(got.body, "help\n"))
}

// TestGlobal wraps a whole router.
func TestGlobal(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", login)
	mux.Handle("GET /search", searchPage)
	mux.Handle("/coveo/token", coveo.RenewHandler())
	router := chi.NewRouter()
	router.Use(coveo.Handler)
	router.Get("/login", login)
	router.Get("/search", search)
	router.Handle("/coveo/token", coveo.RenewHandler())

	t.Run("required", func(t *testing.T) {
		for name, site := range map[string]http.Handler{"ServeMux": coveo.Handler(mux), "chi": router} {
			t.Run(name, func(t *testing.T) {
				visitor := visit(t, site)
				visitor.expect(
					exchange{"GET /search as alice@example.com", "200 alice@example.com"},
					exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
					exchange{"GET /login", "401"}, // nobody can log in
					exchange{"GET /nothing", "401"},
				)
				visitor.do("GET /login as alice@example.com").expectPrivate(t) // nor cache anything
			})
		}
	})
	t.Run("optional", func(t *testing.T) {
		// recipe: global
		optional, err := coveo.With(func(route *searchtoken.Route) {
			route.Optional = true
			route.RenewURL = "/coveo/token"
		})
		if err != nil {
			t.Fatal(err)
		}
		site := optional.Handler(mux)
		// end recipe

		visit(t, site).expect(
			exchange{"GET /search as alice@example.com", "200 alice@example.com"},
			exchange{"GET /search", "200"}, // without a token
			exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
			exchange{"POST /coveo/token", "401"},
			exchange{"GET /login", "200"},
			exchange{"GET /nothing", "404"},
		)
	})
}

// TestGlobalInsideGorillaMux shows that gorilla/mux calls its middlewares only
// for routes that match.
func TestGlobalInsideGorillaMux(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	r := mux.NewRouter()
	r.Use(coveo.Handler)
	r.HandleFunc("/search", search)

	visit(t, r).expect(
		exchange{"GET /search as alice@example.com", "200 alice@example.com"},
		exchange{"GET /search", "401"},
		exchange{"GET /nothing", "404"},
	)
}

func login(w http.ResponseWriter, r *http.Request) { page(w, r) }
func home(w http.ResponseWriter, r *http.Request)  { page(w, r) }
