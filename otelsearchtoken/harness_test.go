package otelsearchtoken_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/otelsearchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// harness is a site with an Observer, in front of a stand-in for Coveo.
type harness struct {
	*testing.T
	coveo    *searchtokentest.Platform
	observer *otelsearchtoken.Observer
	reader   *metric.ManualReader
	spans    *tracetest.SpanRecorder
	tracers  *sdktrace.TracerProvider
	scraped  http.Handler // what a Prometheus gets

	middleware *searchtoken.Middleware
}

// bubble runs a test with a harness, and with the clock of a synctest bubble.
func bubble(t *testing.T, test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newHarness(t)) })
}

func newHarness(t *testing.T, options ...otelsearchtoken.Option) *harness {
	t.Helper()
	registry := prometheus.NewRegistry()
	scraped, err := exporter.New(exporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{
		T: t, coveo: searchtokentest.New(searchtokentest.Config{}),
		reader: metric.NewManualReader(), spans: tracetest.NewSpanRecorder(),
		scraped: promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}),
	}
	meters := metric.NewMeterProvider(metric.WithReader(h.reader), metric.WithReader(scraped))
	h.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(h.spans))
	h.observer, err = otelsearchtoken.NewObserver(append([]otelsearchtoken.Option{
		otelsearchtoken.WithMeterProvider(meters), otelsearchtoken.WithTracerProvider(h.tracers),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	h.configure(searchtoken.Config{Route: searchtoken.Route{Name: "search"}})
	return h
}

// configure replaces the Middleware by one with cfg, for the users that the
// header User names.
func (h *harness) configure(cfg searchtoken.Config) {
	h.Helper()
	cfg.OrganizationID, cfg.APIKey = searchtokentest.DefaultOrganizationID, searchtokentest.DefaultAPIKey
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{Transport: h.coveo}
	}
	cfg.Identify = func(r *http.Request) (searchtoken.Identity, error) {
		if name := r.Header.Get("User"); name != "" {
			return searchtoken.Email(name + "@example.com"), nil
		}
		return searchtoken.Identity{}, searchtoken.ErrNoIdentity
	}
	cfg.Observe, cfg.Logger = h.observer.Observe, slog.New(slog.DiscardHandler)
	m, err := searchtoken.New(cfg)
	if err != nil {
		h.Fatal(err)
	}
	h.middleware = m
}

// register registers the Middleware.
func (h *harness) register() {
	h.Helper()
	if _, err := h.observer.Register(h.middleware); err != nil {
		h.Fatal(err)
	}
}

// brokenCache is a Cache of which every method fails.
type brokenCache struct{}

var errBroken = errors.New("the cache is broken")

func (brokenCache) Get(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
	return searchtoken.Token{}, 0, errBroken
}

func (brokenCache) Set(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
	return false, errBroken
}

func (brokenCache) Forget(context.Context, searchtoken.UserKey) error { return errBroken }

func request(method, path, user, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("User", user)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return r
}

// visit has a user open a page.
func (h *harness) visit(ctx context.Context, user string) {
	h.Helper()
	serve(h.middleware.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})),
		request("GET", "/search", user, "").WithContext(ctx))
}

// renew has a page of the site or of another site ask for another token than
// the user's own. fetchSite is the value of Sec-Fetch-Site.
func (h *harness) renew(user, fetchSite string) {
	h.Helper()
	token, err := h.middleware.Token(h.Context(), searchtoken.Email(user+"@example.com"))
	if err != nil {
		h.Fatal(err)
	}
	r := request("POST", "/renew", user, `{"rejected":"`+token.Value+`"}`)
	r.Header.Set("Sec-Fetch-Site", fetchSite)
	serve(h.middleware.RenewHandler(), r)
}

// search has a user's page search through the ProxyHandler.
func (h *harness) search(user string) {
	h.Helper()
	serve(h.middleware.ProxyHandler(), request("POST", "/coveo/rest/search/v2", user, `{"q":"review"}`))
}

func serve(handler http.Handler, r *http.Request) { handler.ServeHTTP(httptest.NewRecorder(), r) }

// metrics returns what the Observer has measured, by name.
func (h *harness) metrics() map[string]metricdata.Metrics {
	h.Helper()
	var data metricdata.ResourceMetrics
	if err := h.reader.Collect(context.Background(), &data); err != nil {
		h.Fatal(err)
	}
	byName := map[string]metricdata.Metrics{}
	for _, scope := range data.ScopeMetrics {
		if scope.Scope.Name != otelsearchtoken.ScopeName {
			h.Errorf("metrics of the scope %q", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// scrape returns what a Prometheus gets.
func (h *harness) scrape() string {
	h.Helper()
	w := httptest.NewRecorder()
	h.scraped.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		h.Fatalf("a scrape got %d:\n%s", w.Code, w.Body)
	}
	return w.Body.String()
}

// point is one series of a metric. value is its number of events if the metric
// is a histogram.
type point struct {
	attributes attribute.Set
	value      float64
}

// pointsOf returns the series of m, and the name of its type.
func pointsOf(t testing.TB, m metricdata.Metrics) (points []point, kind string) {
	t.Helper()
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			points = append(points, point{p.Attributes, float64(p.Value)})
		}
		if data.IsMonotonic {
			return points, "counter"
		}
		return points, "up-down counter"
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			points = append(points, point{p.Attributes, float64(p.Value)})
		}
		return points, "gauge"
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			points = append(points, point{p.Attributes, float64(p.Count)})
		}
		return points, "histogram"
	}
	t.Fatalf("%s is a %T", m.Name, m.Data)
	return nil, ""
}

// samples returns the value of each series of the metrics whose names start
// with prefix. A series prints as "requests{hit ok search}", with the values of
// its attributes in the order of their names: kind, outcome, route.
func (h *harness) samples(prefix string) map[string]float64 {
	h.Helper()
	samples := map[string]float64{}
	for name, m := range h.metrics() {
		short := strings.TrimPrefix(name, "searchtoken.")
		if !strings.HasPrefix(short, prefix) {
			continue
		}
		points, _ := pointsOf(h, m)
		for _, p := range points {
			var values []string
			for _, kv := range p.attributes.ToSlice() {
				values = append(values, kv.Value.String())
			}
			samples[short+"{"+strings.Join(values, " ")+"}"] = p.value
		}
	}
	return samples
}

// constants returns the values of the root package's constants of a type.
func constants(t testing.TB, typeName string) (values []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../events.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name, isName := spec.Type.(*ast.Ident)
		literal, isLiteral := spec.Values[0].(*ast.BasicLit)
		if isName && isLiteral && name.Name == typeName {
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	if len(values) == 0 {
		t.Fatalf("found no constant of the type %s", typeName)
	}
	return values
}

// check fails the test if got is not want.
func check(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

const second = time.Second
