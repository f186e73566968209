package otelsearchtoken_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/otelsearchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestStateIsReportedUntilUnregister(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{MaxInFlight: 1})
		registration, err := h.observer.Register(h.middleware)
		if err != nil {
			h.Fatal(err)
		}
		state := func(active, queued, tokens, heldBack float64) map[string]float64 {
			return map[string]float64{
				"fetch.active{}": active, "fetch.queued{}": queued, "cache.tokens{}": tokens, "held_back{}": heldBack,
			}
		}
		got := func() map[string]float64 {
			samples := map[string]float64{}
			for _, name := range []string{"fetch.active", "fetch.queued", "cache.tokens", "held_back"} {
				maps.Copy(samples, h.samples(name))
			}
			return samples
		}
		check(h, "at the start", state(0, 0, 0, 0), got())

		h.coveo.Inject(searchtokentest.Fault{Delay: second, Times: 2})
		for _, user := range []string{"ann", "bob"} {
			go h.visit(h.Context(), user)
		}
		synctest.Wait()
		check(h, "during two fetches", state(1, 1, 0, 0), got())
		time.Sleep(3 * second)
		check(h, "after them", state(0, 0, 2, 0), got())

		h.coveo.Inject(searchtokentest.Fault{Status: 429, Times: 1})
		h.visit(h.Context(), "cyd")
		check(h, "while calls are held back", state(0, 0, 2, 1), got())
		time.Sleep(time.Minute)
		h.visit(h.Context(), "cyd")
		check(h, "when Coveo answers again", state(0, 0, 3, 0), got())

		if err := registration.Unregister(); err != nil {
			h.Error(err)
		}
		check(h, "after Unregister", map[string]float64{}, got())
	})
}

func TestACacheThatCannotTellHasNoNumberOfTokens(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{Cache: brokenCache{}})
		h.register()
		check(h, "metrics", map[string]float64{}, h.samples("cache.tokens"))
	})
}

func TestAttributesAreOnAllMetricsAndSpans(t *testing.T) {
	h := newHarness(t, otelsearchtoken.WithAttributes(attribute.String("tenant", "acme")),
		otelsearchtoken.WithAttributes(attribute.String("zone", "north")))
	h.register()
	h.visit(t.Context(), "ann")
	check(t, "metrics", map[string]float64{
		"requests{miss ok search acme north}": 1, "wait.duration{ok search acme north}": 1,
		"fetch.duration{fetch ok search acme north}": 1, "fetch.active{acme north}": 0, "fetch.queued{acme north}": 0,
		"cache.tokens{acme north}": 1, "held_back{acme north}": 0,
	}, h.samples(""))
	for _, span := range h.spans.Ended() {
		if !slices.Contains(span.Attributes(), attribute.String("tenant", "acme")) {
			t.Errorf("the span has the attributes %v", span.Attributes())
		}
	}
}

func TestTheGlobalProvidersAreTheDefault(t *testing.T) {
	meters, tracers := otel.GetMeterProvider(), otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetMeterProvider(meters); otel.SetTracerProvider(tracers) })
	for name, options := range map[string][]otelsearchtoken.Option{
		"no option":     nil,
		"nil providers": {otelsearchtoken.WithMeterProvider(nil), otelsearchtoken.WithTracerProvider(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			reader, spans := sdkmetric.NewManualReader(), tracetest.NewSpanRecorder()
			otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
			otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
			observer, err := otelsearchtoken.NewObserver(options...)
			if err != nil {
				t.Fatal(err)
			}
			observer.Observe(t.Context(), searchtoken.Event{Kind: searchtoken.EventFetch, Outcome: searchtoken.OutcomeOK})
			var data metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &data); err != nil {
				t.Fatal(err)
			}
			if len(data.ScopeMetrics) != 1 || len(spans.Ended()) != 1 {
				t.Errorf("got %d scopes of metrics and %d spans, want 1 of each", len(data.ScopeMetrics), len(spans.Ended()))
			}
		})
	}
}

// TestNothingIsReportedAboutUsers has failures whose errors repeat the user,
// the token and the key.
func TestNothingIsReportedAboutUsers(t *testing.T) {
	bubble(t, func(h *harness) {
		h.register()
		h.visit(h.Context(), "ann")
		token, err := h.middleware.Token(h.Context(), searchtoken.Email("ann@example.com"))
		if err != nil {
			h.Fatal(err)
		}
		h.coveo.Inject(searchtokentest.Fault{
			Status: 400, Body: `{"message":"ann@example.com ` + token.Value + ` ` + searchtokentest.DefaultAPIKey + `"}`,
		})
		h.visit(h.Context(), "bob")
		reported := h.scrape()
		for _, span := range tracetest.SpanStubsFromReadOnlySpans(h.spans.Ended()) {
			reported += span.Name + span.Status.Description
			for _, kv := range span.Attributes {
				reported += kv.Value.String()
			}
			if len(span.Events) > 0 {
				h.Errorf("the span has the events %v", span.Events)
			}
		}
		for _, secret := range []string{"ann", "bob", "example.com", token.Value, searchtokentest.DefaultAPIKey} {
			if strings.Contains(reported, secret) {
				h.Errorf("%q is reported", secret)
			}
		}
	})
}
