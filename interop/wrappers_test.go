package interop_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestTimeoutHandler(t *testing.T) {
	type result struct {
		answer string
		after  time.Duration
	}
	for _, tt := range []struct {
		name          string
		wrap          func(*searchtoken.Middleware) http.Handler
		first, second result
	}{
		{
			"inside", // the time is the page's own
			func(coveo *searchtoken.Middleware) http.Handler {
				return coveo.Handler(http.TimeoutHandler(searchPage, 5*time.Second, "too slow"))
			},
			result{"200 alice@example.com", 8 * time.Second}, result{"200 alice@example.com", 0},
		},
		{
			"outside", // the time is that of the token and of the page
			func(coveo *searchtoken.Middleware) http.Handler {
				// recipe: timeout-handler
				site := http.TimeoutHandler(coveo.Handler(searchPage), 5*time.Second, "The page took too long.")
				// end recipe
				return site
			},
			// The fetch goes on, and the second page gets its token.
			result{"503", 5 * time.Second}, result{"200 alice@example.com", 3 * time.Second},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg, platform := newConfig()
				platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: 8 * time.Second})
				site := tt.wrap(newCoveo(t, cfg))
				for _, want := range []result{tt.first, tt.second} {
					began := time.Now()
					w := httptest.NewRecorder()
					r := httptest.NewRequest("GET", "/search", nil)
					r.Header.Set("X-User", "alice@example.com")
					site.ServeHTTP(w, r)
					got := answer{w.Result(), w.Body.String()}
					check(t, "answer", want.answer, got.String())
					check(t, "after", want.after, time.Since(began))
					if got.StatusCode == http.StatusOK {
						got.expectPrivate(t)
					}
				}
				check(t, "token calls", 1, platform.Count(searchtokentest.KindToken))
			})
		})
	}
}

func TestStripPrefix(t *testing.T) {
	cfg, _ := newConfig()

	// recipe: strip-prefix
	cfg.RenewURL = "/app/token" // as the browser sees it
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	app := http.NewServeMux()
	app.Handle("GET /search", coveo.Handler(searchPage))
	app.Handle("/token", coveo.RenewHandler())

	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", app))
	// end recipe

	visitor := visit(t, mux)
	visitor.expect(
		exchange{"GET /app/search as alice@example.com", "200 alice@example.com"},
		exchange{"POST /app/token as alice@example.com", "200 alice@example.com"},
	)
	if body := visitor.do("GET /app/search as alice@example.com").body; !strings.Contains(body, `"/app/token"`) {
		t.Errorf("the page does not name its RenewURL:\n%s", body)
	}
}

func TestCompression(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: gzhttp
	compress, err := gzhttp.NewWrapper(gzhttp.RandomJitter(32, 0, false))
	if err != nil {
		t.Fatal(err)
	}
	site := compress(coveo.Handler(searchPage))
	// end recipe

	for name, site := range map[string]http.Handler{
		"gzhttp outside":          site,
		"gzhttp inside":           coveo.Handler(compress(searchPage)),
		"CompressHandler outside": handlers.CompressHandler(coveo.Handler(searchPage)),
		"CompressHandler inside":  coveo.Handler(handlers.CompressHandler(searchPage)),
	} {
		t.Run(name, func(t *testing.T) {
			visitor := visit(t, site)
			got := visitor.do("GET /search as alice@example.com", "Accept-Encoding", "gzip")
			check(t, "Content-Encoding", "gzip", got.Header.Get("Content-Encoding"))
			check(t, "answer", "200 alice@example.com", answer{got.Response, gunzip(t, got.body)}.String())
			got.expectPrivate(t)
			if vary := strings.Join(got.Header.Values("Vary"), ", "); !strings.Contains(vary, "Accept-Encoding") {
				t.Errorf("Vary is %q, want it to contain Accept-Encoding", vary)
			}
			check(t, "answer without a user", "401", visitor.do("GET /search", "Accept-Encoding", "gzip").String())
		})
	}
}

// TestCompressFilesOnly compresses no page with a token.
func TestCompressFilesOnly(t *testing.T) {
	cfg, _ := newConfig()
	coveo := newCoveo(t, cfg)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bundle.js"), []byte(strings.Repeat("export {};\n", 500)), 0o600); err != nil {
		t.Fatal(err)
	}

	// recipe: compress-handler
	files := handlers.CompressHandler(http.FileServer(http.Dir(dir)))
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.StripPrefix("/static/", files))
	mux.Handle("GET /search", coveo.Handler(searchPage)) // not compressed
	// end recipe

	visitor := visit(t, mux)
	for request, want := range map[string]string{
		"GET /static/bundle.js":            "gzip",
		"GET /search as alice@example.com": "",
	} {
		got := visitor.do(request, "Accept-Encoding", "gzip")
		check(t, "status of "+request, 200, got.StatusCode)
		check(t, "Content-Encoding of "+request, want, got.Header.Get("Content-Encoding"))
	}
}

func gunzip(t testing.TB, text string) string {
	t.Helper()
	reader, err := gzip.NewReader(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func TestProxyHeaders(t *testing.T) {
	cfg, platform := newConfig()
	coveo := newCoveo(t, cfg)

	// recipe: proxy-headers
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	site := handlers.ProxyHeaders(mux) // only behind a proxy that sets these headers itself
	// end recipe

	// A proxy on the same machine, which passes no Host on, and an old browser.
	headers := []string{
		"Host", "10.0.0.7:3000", "X-Forwarded-Host", "site.example.com", "X-Forwarded-For", "192.0.2.7",
		"Origin", "https://site.example.com", "Sec-Fetch-Site", "",
	}
	check(t, "renewal without ProxyHeaders", "403",
		visit(t, mux).do("POST /coveo/token as alice@example.com", headers...).String())
	visitor := visit(t, site)
	check(t, "renewal", "200 alice@example.com",
		visitor.do("POST /coveo/token as alice@example.com", headers...).String())

	mux.Handle("/coveo/", proxied(t, coveo).ProxyHandler())
	check(t, "query", "200", visitor.do("POST /coveo/rest/search/v2 as alice@example.com", headers...).String())
	query := platform.Requests(searchtokentest.KindSearch)[0]
	check(t, "the visitor's address", "192.0.2.7", query.Header.Get("X-Forwarded-For"))
}

// proxied returns a route whose pages hold no token.
func proxied(t testing.TB, coveo *searchtoken.Middleware) *searchtoken.Middleware {
	t.Helper()
	route, err := coveo.With(func(route *searchtoken.Route) { route.ProxyURL = "/coveo" })
	if err != nil {
		t.Fatal(err)
	}
	return route
}

func TestOpenTelemetry(t *testing.T) {
	const traceID, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	cfg, platform := newConfig()
	var mu sync.Mutex // guards traces
	traces := map[searchtoken.EventKind]string{}
	record := func(kind searchtoken.EventKind, id trace.TraceID) {
		mu.Lock()
		defer mu.Unlock()
		traces[kind] = id.String()
	}
	var base http.RoundTripper = platform

	// recipe: otelhttp
	propagator := otelhttp.WithPropagators(propagation.TraceContext{}) // default: the global one
	cfg.HTTPClient = &http.Client{Transport: otelhttp.NewTransport(base, propagator), Timeout: 10 * time.Second}
	cfg.Observe = func(ctx context.Context, e searchtoken.Event) {
		record(e.Kind, trace.SpanContextFromContext(ctx).TraceID())
	}
	coveo, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /search", coveo.Handler(searchPage))
	mux.Handle("/coveo/token", coveo.RenewHandler())
	site := otelhttp.NewHandler(mux, "site", propagator)
	// end recipe

	visitor := visit(t, site)
	got := visitor.do("GET /search as alice@example.com", "Traceparent", parent)
	check(t, "answer", "200 alice@example.com", got.String())
	got.expectPrivate(t)
	visitor.expect(exchange{"POST /coveo/token as alice@example.com", "200 alice@example.com"})
	mu.Lock()
	defer mu.Unlock()
	check(t, "trace of the miss", traceID, traces[searchtoken.EventMiss])
	check(t, "trace of the fetch", traceID, traces[searchtoken.EventFetch])
	call := platform.Requests(searchtokentest.KindToken)[0]
	if !strings.Contains(call.Header.Get("Traceparent"), traceID) {
		t.Errorf("the token call has the trace %q", call.Header.Get("Traceparent"))
	}
	if bytes.Contains(call.Body, []byte(traceID)) {
		t.Error("the token call's body names the trace")
	}
}
