package interop_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/csrf"
	"github.com/justinas/nosurf"
	"github.com/rs/cors"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// csrfSite is a site with a page that renews its token, and another one that
// queries through the site.
func csrfSite(t testing.TB, change func(*searchtoken.Config)) *http.ServeMux {
	t.Helper()
	cfg, _ := newConfig()
	if change != nil {
		change(&cfg)
	}
	coveo := newCoveo(t, cfg)
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	mux.Handle("/coveo/", proxied(t, coveo).ProxyHandler())
	mux.HandleFunc("POST /form", page)
	return mux
}

// visitTLS is visit over https.
func visitTLS(t testing.TB, site http.Handler) *browser {
	t.Helper()
	server := httptest.NewTLSServer(site)
	t.Cleanup(server.Close)
	return newBrowser(t, server.Client(), server.URL)
}

func TestGorillaCSRF(t *testing.T) {
	mux := csrfSite(t, nil)
	key := []byte("a key for CSRF tokens, 32 bytes.")

	// recipe: gorilla-csrf
	protected := csrf.Protect(key, csrf.Path("/"))(mux)
	site := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/coveo/") { // the RenewURL or the ProxyURL
			r = csrf.UnsafeSkipCheck(r) // their handlers check the origin themselves
		}
		protected.ServeHTTP(w, r)
	})
	// end recipe

	visitTLS(t, site).expect(
		exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"POST /coveo/rest/search/v2 as alice@example.com", "200"},
		exchange{"POST /form as alice@example.com", "403"},
	)

	visitor := visitTLS(t, protected)
	visitor.expect(
		exchange{"GET /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"POST /coveo/token as alice@example.com", "403"},
		exchange{"POST /coveo/rest/search/v2 as alice@example.com", "403"},
	)
	check(t, "body", "Forbidden - CSRF token not found in request\n",
		visitor.do("POST /coveo/token as alice@example.com").body)
}

func TestNosurf(t *testing.T) {
	mux := csrfSite(t, nil)

	// recipe: nosurf
	site := nosurf.New(mux)
	site.ExemptPath("/coveo/token") // the RenewURL
	site.ExemptRegexp("^/coveo/")   // or everything under the ProxyURL
	// end recipe

	// nosurf takes the server for one with TLS.
	visitTLS(t, site).expect(
		exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"POST /coveo/rest/search/v2 as alice@example.com", "200"},
		exchange{"POST /form as alice@example.com", "400"},
	)
	visitTLS(t, nosurf.New(mux)).expect(
		exchange{"GET /coveo/token as alice@example.com", "200 alice@example.com"},
		exchange{"POST /coveo/token as alice@example.com", "400"},
		exchange{"POST /coveo/rest/search/v2 as alice@example.com", "400"},
	)
}

// requestsOf are the requests that the page of an origin sends.
func requestsOf(origin, site string) []string {
	return []string{"Origin", origin, "Sec-Fetch-Site", site}
}

func TestCrossOriginProtection(t *testing.T) {
	mux := csrfSite(t, func(cfg *searchtoken.Config) {
		cfg.TrustedOrigins = []string{"https://app.example.com"}
	})

	// recipe: cross-origin-protection
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin("https://app.example.com"); err != nil { // as in TrustedOrigins
		t.Fatal(err)
	}
	site := protection.Handler(mux)
	// end recipe

	const renewal = "POST /coveo/token as alice@example.com"
	visitor := visitTLS(t, site)
	visitor.expect(exchange{renewal, "200 alice@example.com"}) // no exemption is needed
	check(t, "trusted origin", "200 alice@example.com",
		visitor.do(renewal, requestsOf("https://app.example.com", "same-site")...).String())
	check(t, "another origin", "403", visitor.do(renewal, requestsOf("https://evil.example", "cross-site")...).String())

	// An origin that only the route trusts does not get to it.
	strict := visitTLS(t, http.NewCrossOriginProtection().Handler(mux))
	got := strict.do(renewal, requestsOf("https://app.example.com", "same-site")...)
	check(t, "origin that the protection does not know", "403", got.String())
	check(t, "body", "cross-origin request detected from Sec-Fetch-Site header\n", got.body)
}

func TestCORS(t *testing.T) {
	cfg, platform := newConfig()

	// recipe: cors
	cfg.TrustedOrigins = []string{"https://app.example.com"}
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	allow := cors.New(cors.Options{
		AllowedOrigins:   []string{"https://app.example.com"},
		AllowedMethods:   []string{"GET", "POST"},
		AllowedHeaders:   []string{"Content-Type"},
		ExposedHeaders:   []string{"Retry-After"},
		AllowCredentials: true, // the session cookie
	})
	mux := http.NewServeMux()
	mux.Handle("/coveo/token", allow.Handler(coveo.RenewHandler())) // without a method: OPTIONS, too
	// end recipe

	const renewal = "POST /coveo/token as alice@example.com"
	visitor := visitTLS(t, mux)
	preflight := visitor.do("OPTIONS /coveo/token", append(requestsOf("https://app.example.com", "same-site"),
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")...)
	check(t, "preflight", "204", preflight.String())
	check(t, "allowed headers", "content-type", preflight.Header.Get("Access-Control-Allow-Headers"))

	trusted := visitor.do(renewal, requestsOf("https://app.example.com", "same-site")...)
	check(t, "trusted origin", "200 alice@example.com", trusted.String())
	check(t, "allowed origin", "https://app.example.com", trusted.Header.Get("Access-Control-Allow-Origin"))
	check(t, "allowed credentials", "true", trusted.Header.Get("Access-Control-Allow-Credentials"))
	check(t, "exposed headers", "Retry-After", trusted.Header.Get("Access-Control-Expose-Headers"))
	trusted.expectPrivate(t)

	other := visitor.do(renewal, requestsOf("https://evil.example", "cross-site")...)
	check(t, "another origin", "403", other.String())
	check(t, "allowed origin", "", other.Header.Get("Access-Control-Allow-Origin"))
	check(t, "token calls", 1, platform.Count("token"))
}

// TestCORSOfProxy is a site whose front end has another origin and no token.
func TestCORSOfProxy(t *testing.T) {
	cfg, platform := newConfig()
	allow := cors.New(cors.Options{
		AllowedOrigins:   []string{"https://app.example.com"},
		AllowedMethods:   []string{"GET", "POST"},
		AllowedHeaders:   []string{"Content-Type"},
		ExposedHeaders:   []string{"Retry-After"},
		AllowCredentials: true,
	})

	// recipe: frontend-proxy
	cfg.RenewURL, cfg.ProxyURL = "", "/coveo" // no page gets a token
	cfg.TrustedOrigins = []string{"https://app.example.com"}
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/coveo/", allow.Handler(coveo.ProxyHandler()))
	// end recipe

	const query = "POST /coveo/rest/search/v2"
	from := requestsOf("https://app.example.com", "same-site")
	visitor := visitTLS(t, mux)
	preflight := visitor.do("OPTIONS /coveo/rest/search/v2", append(from,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")...)
	check(t, "preflight", "204", preflight.String())
	check(t, "allowed headers", "content-type", preflight.Header.Get("Access-Control-Allow-Headers"))

	got := visitor.do(query+" as alice@example.com", from...)
	check(t, "query", "200", got.String())
	check(t, "allowed origin", "https://app.example.com", got.Header.Get("Access-Control-Allow-Origin"))
	check(t, "the user of the query", "alice@example.com", platform.Requests(searchtokentest.KindSearch)[0].User())
	check(t, "query of nobody", "401", visitor.do(query, from...).String())
	check(t, "query of another origin", "403",
		visitor.do(query+" as alice@example.com", requestsOf("https://evil.example", "cross-site")...).String())
}

// TestCORSAlone shows that CORS headers alone open no RenewHandler, not even
// for every origin.
func TestCORSAlone(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	site := cors.New(cors.Options{
		AllowOriginFunc: func(string) bool { return true }, AllowCredentials: true,
	}).Handler(coveo.RenewHandler())
	got := visitTLS(t, site).do("POST /coveo/token as alice@example.com",
		requestsOf("https://app.example.com", "same-site")...)
	check(t, "answer", "403", got.String())
}
