package otelsearchtoken_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/otelsearchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestEventsAreCounted(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		cfg  searchtoken.Config
		do   func(h *harness)
		want map[string]float64 // the values of an attribute are kind, outcome, route
	}{
		{"a miss and a hit", searchtoken.Config{}, func(h *harness) {
			h.visit(h.Context(), "ann")
			h.visit(h.Context(), "ann")
		}, map[string]float64{
			"requests{miss ok search}": 1, "requests{hit ok search}": 1,
			"wait.duration{ok search}": 1, "fetch.duration{fetch ok search}": 1,
		}},
		{"nobody is logged in", searchtoken.Config{}, func(h *harness) {
			h.visit(h.Context(), "")
		}, map[string]float64{"requests{request_refused no_identity search}": 1}},
		{"a visitor who left before", searchtoken.Config{}, func(h *harness) {
			h.visit(canceled, "ann")
		}, map[string]float64{"requests{miss canceled search}": 1, "wait.duration{canceled search}": 1}},
		{"a stale token", searchtoken.Config{}, func(h *harness) {
			h.visit(h.Context(), "ann")
			time.Sleep(23 * time.Hour)
			h.visit(h.Context(), "ann")
			synctest.Wait()
		}, map[string]float64{
			"requests{miss ok search}": 1, "requests{hit ok search}": 1, "wait.duration{ok search}": 1,
			"fetch.duration{fetch ok search}": 1, "fetch.duration{refresh ok search}": 1,
		}},
		{"renewals", searchtoken.Config{}, func(h *harness) {
			h.renew("ann", "same-origin")
			h.renew("ann", "cross-site")
		}, map[string]float64{
			"requests{miss ok search}": 1, "requests{hit ok search}": 1, "wait.duration{ok search}": 1,
			"fetch.duration{fetch ok search}": 1, "fetch.duration{renew ok search}": 1,
			"renewal.refusals{refused search}": 1,
		}},
		{"proxied calls", searchtoken.Config{}, func(h *harness) {
			h.search("ann")
			h.coveo.Inject(searchtokentest.Fault{Kind: searchtokentest.KindSearch, Status: 500})
			h.search("ann")
			h.search("")
		}, map[string]float64{
			"fetch.duration{fetch ok search}": 1, "proxy.duration{ok search}": 1,
			"proxy.duration{unavailable search}": 1, "proxy.duration{no_identity search}": 1,
			"requests{request_refused no_identity search}": 1,
		}},
		{"a Forget", searchtoken.Config{}, func(h *harness) {
			if err := h.middleware.Forget(h.Context(), searchtoken.Email("ann@example.com")); err != nil {
				h.Error(err)
			}
		}, map[string]float64{"forgets{ok}": 1}},
		{"a cache that fails", searchtoken.Config{Cache: brokenCache{}}, func(h *harness) {
			h.visit(h.Context(), "ann")
			if err := h.middleware.Forget(h.Context(), searchtoken.Email("ann@example.com")); err == nil {
				h.Error("Forget succeeded")
			}
		}, map[string]float64{
			"requests{miss ok search}": 1, "wait.duration{ok search}": 1, "fetch.duration{fetch ok search}": 1,
			"cache.errors{}": 3, "forgets{error}": 1, // Get twice, and Forget
		}},
		{"Coveo throttles, and recovers", searchtoken.Config{}, func(h *harness) {
			h.coveo.Inject(searchtokentest.Fault{Status: 429, RetryAfter: "30", Times: 1})
			h.visit(h.Context(), "ann")
			h.visit(h.Context(), "bob")
			time.Sleep(40 * second)
			h.visit(h.Context(), "bob")
		}, map[string]float64{
			"requests{miss unavailable search}": 1, "requests{miss held_back search}": 1, "requests{miss ok search}": 1,
			"wait.duration{unavailable search}": 1, "wait.duration{held_back search}": 1, "wait.duration{ok search}": 1,
			"fetch.duration{fetch unavailable search}": 1, "fetch.duration{fetch ok search}": 1,
			"outages{unavailable}": 1, "outage.duration{}": 1,
		}},
		{"Coveo refuses the key", searchtoken.Config{}, func(h *harness) {
			h.coveo.Inject(searchtokentest.Fault{Status: 401})
			h.visit(h.Context(), "ann")
		}, map[string]float64{
			"requests{miss refused search}": 1, "wait.duration{refused search}": 1,
			"fetch.duration{fetch refused search}": 1, "outages{refused}": 1,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				tt.cfg.Route = searchtoken.Route{Name: "search", ProxyURL: "/coveo", RenewURL: "/renew"}
				h.configure(tt.cfg)
				tt.do(h)
				check(h, "metrics", tt.want, h.samples(""))
			})
		})
	}
}

// TestEveryKindIsMeasured fails if searchtoken has a kind that Observe ignores.
func TestEveryKindIsMeasured(t *testing.T) {
	for _, kind := range constants(t, "EventKind") {
		t.Run(kind, func(t *testing.T) {
			h := newHarness(t)
			h.observer.Observe(t.Context(), searchtoken.Event{
				Kind: searchtoken.EventKind(kind), Route: "search", Outcome: searchtoken.OutcomeOK,
			})
			if len(h.samples("")) == 0 {
				t.Error("Observe changes no metric")
			}
		})
	}
}

func TestAnUnknownKindIsIgnored(t *testing.T) {
	h := newHarness(t)
	h.observer.Observe(t.Context(), searchtoken.Event{Kind: "unknown", Route: "search", Outcome: searchtoken.OutcomeOK})
	check(t, "metrics", map[string]float64{}, h.samples(""))
}

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (w discard) Header() http.Header         { return w.header }
func (w discard) Write(b []byte) (int, error) { return len(b), nil }
func (w discard) WriteHeader(int)             {}

// hit returns a function that serves one hit, for a request with ctx.
func hit(ctx context.Context, t testing.TB, observe func(context.Context, searchtoken.Event)) func() {
	t.Helper()
	ann := searchtoken.Email("ann@example.com")
	m, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID, APIKey: searchtokentest.DefaultAPIKey,
		HTTPClient: &http.Client{Transport: searchtokentest.New(searchtokentest.Config{})},
		Identify:   func(*http.Request) (searchtoken.Identity, error) { return ann, nil },
		Observe:    observe,
		Route:      searchtoken.Route{Name: "search"},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := m.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w, r := discard{http.Header{}}, request("GET", "/search", "ann", "").WithContext(ctx)
	serve := func() {
		clear(w.header)
		handler.ServeHTTP(w, r)
	}
	serve()
	serve() // the first hit of a route makes its series
	return serve
}

func newMeasuringObserver(t testing.TB) *otelsearchtoken.Observer {
	t.Helper()
	observer, err := otelsearchtoken.NewObserver(
		otelsearchtoken.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))),
		otelsearchtoken.WithTracerProvider(sdktrace.NewTracerProvider()))
	if err != nil {
		t.Fatal(err)
	}
	return observer
}

func TestAHitAllocatesNothingMore(t *testing.T) {
	sampled := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled,
	}))
	for name, ctx := range map[string]context.Context{"no trace": t.Context(), "sampled trace": sampled} {
		t.Run(name, func(t *testing.T) {
			without := testing.AllocsPerRun(1000, hit(ctx, t, nil))
			with := testing.AllocsPerRun(1000, hit(ctx, t, newMeasuringObserver(t).Observe))
			if with > without {
				t.Errorf("a hit allocates %v times with an Observer, and %v times without", with, without)
			}
		})
	}
}

func BenchmarkObserve(b *testing.B) {
	for _, bb := range []struct {
		name    string
		observe func(context.Context, searchtoken.Event)
	}{{"without", nil}, {"with", newMeasuringObserver(b).Observe}} {
		b.Run(bb.name, func(b *testing.B) {
			serve := hit(b.Context(), b, bb.observe)
			b.ReportAllocs()
			for b.Loop() {
				serve()
			}
		})
	}
}

// TestConcurrentEventsAreAllCounted has goroutines that meet each route at the
// same time.
func TestConcurrentEventsAreAllCounted(t *testing.T) {
	const goroutines, routes = 8, 50
	h := newHarness(t)
	var running sync.WaitGroup
	for range goroutines {
		running.Go(func() {
			for i := range routes {
				h.observer.Observe(t.Context(), searchtoken.Event{
					Kind: searchtoken.EventHit, Route: strconv.Itoa(i), Outcome: searchtoken.OutcomeOK,
				})
			}
		})
	}
	running.Wait()
	want := map[string]float64{}
	for i := range routes {
		want["requests{hit ok "+strconv.Itoa(i)+"}"] = goroutines
	}
	check(t, "metrics", want, h.samples(""))
}

// TestManyRoutes has more routes than an Observer remembers.
func TestManyRoutes(t *testing.T) {
	const routes = 3000
	reader := sdkmetric.NewManualReader()
	observer, err := otelsearchtoken.NewObserver(otelsearchtoken.WithMeterProvider(
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithCardinalityLimit(0))))
	if err != nil {
		t.Fatal(err)
	}
	events := make([]searchtoken.Event, routes)
	for i := range events {
		events[i] = searchtoken.Event{
			Kind: searchtoken.EventHit, Route: strconv.Itoa(i), Outcome: searchtoken.OutcomeOK,
		}
	}
	for range 2 {
		for _, e := range events {
			observer.Observe(t.Context(), e)
		}
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	points := data.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64]).DataPoints
	if len(points) != routes {
		t.Errorf("got %d series, want %d", len(points), routes)
	}
	for _, p := range points {
		if p.Value != 2 {
			t.Errorf("%v: %d hits, want 2", p.Attributes.Encoded(attribute.DefaultEncoder()), p.Value)
		}
	}
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() { observer.Observe(ctx, events[0]) }); got > 0 {
		t.Errorf("the hit of a known route allocates %v times", got)
	}
	if got := testing.AllocsPerRun(100, func() { observer.Observe(ctx, events[routes-1]) }); got == 0 {
		t.Error("the last route is remembered, so the memory is not bounded")
	}
}
