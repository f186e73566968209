package otelsearchtoken_test

import (
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/searchtoken/searchtoken/otelsearchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestMetricsHaveUnitsAndBounds checks one metric of each type completely.
func TestMetricsHaveUnitsAndBounds(t *testing.T) {
	bubble(t, func(h *harness) {
		h.coveo.Inject(searchtokentest.Fault{Delay: 3 * second, Times: 1})
		h.register()
		h.visit(h.Context(), "ann")
		set := func(kind string) attribute.Set {
			return attribute.NewSet(attribute.String("searchtoken.kind", kind),
				attribute.String("searchtoken.route", "search"), attribute.String("searchtoken.outcome", "ok"))
		}
		got := h.metrics()
		checkMetric := func(want, got metricdata.Metrics) {
			metricdatatest.AssertEqual(h.T, want, got, metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
		}
		checkMetric(metricdata.Metrics{
			Name: "searchtoken.requests", Unit: "{request}",
			Description: "Requests for a token: hits and misses of pages, and refused requests.",
			Data: metricdata.Sum[int64]{
				Temporality: metricdata.CumulativeTemporality, IsMonotonic: true,
				DataPoints: []metricdata.DataPoint[int64]{{Attributes: set("miss"), Value: 1}},
			},
		}, got["searchtoken.requests"])
		checkMetric(metricdata.Metrics{
			Name: "searchtoken.fetch.duration", Unit: "s",
			Description: "Duration of the calls of Coveo for a token.",
			Data: metricdata.Histogram[float64]{
				Temporality: metricdata.CumulativeTemporality,
				DataPoints: []metricdata.HistogramDataPoint[float64]{{
					Attributes: set("fetch"), Count: 1, Sum: 3,
					Min: metricdata.NewExtrema(3.0), Max: metricdata.NewExtrema(3.0),
					Bounds:       []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10},
					BucketCounts: []uint64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0},
				}},
			},
		}, got["searchtoken.fetch.duration"])
		checkMetric(metricdata.Metrics{
			Name: "searchtoken.cache.tokens", Unit: "{token}", Description: "Tokens in the cache, if it can tell.",
			Data: metricdata.Sum[int64]{
				Temporality: metricdata.CumulativeTemporality, DataPoints: []metricdata.DataPoint[int64]{{Value: 1}},
			},
		}, got["searchtoken.cache.tokens"])
		checkMetric(metricdata.Metrics{
			Name: "searchtoken.held_back", Description: "1 while calls for all users are held back, otherwise 0.",
			Data: metricdata.Gauge[int64]{DataPoints: []metricdata.DataPoint[int64]{{}}},
		}, got["searchtoken.held_back"])
	})
}

// refusing is a MeterProvider that refuses counters and callbacks.
type refusing struct{ noop.MeterProvider }

type refusingMeter struct {
	noop.Meter
	counters bool // are accepted
}

var errRefused = errors.New("refused")

func (refusing) Meter(string, ...metric.MeterOption) metric.Meter { return refusingMeter{} }

func (m refusingMeter) Int64Counter(name string, o ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	if m.counters {
		return m.Meter.Int64Counter(name, o...)
	}
	return nil, errRefused
}

func (refusingMeter) RegisterCallback(metric.Callback, ...metric.Observable) (metric.Registration, error) {
	return nil, errRefused
}

// callbacksRefused is a MeterProvider that refuses callbacks.
type callbacksRefused struct{ noop.MeterProvider }

func (callbacksRefused) Meter(string, ...metric.MeterOption) metric.Meter {
	return refusingMeter{counters: true}
}

func TestErrorsOfTheMeterProviderAreReturned(t *testing.T) {
	const instruments, callback = "otelsearchtoken: cannot create the instruments: ",
		"otelsearchtoken: cannot register the Middleware: "
	_, err := otelsearchtoken.NewObserver(otelsearchtoken.WithMeterProvider(refusing{}))
	if !errors.Is(err, errRefused) || !strings.HasPrefix(err.Error(), instruments) {
		t.Errorf("NewObserver: %v", err)
	}
	observer, err := otelsearchtoken.NewObserver(otelsearchtoken.WithMeterProvider(callbacksRefused{}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = observer.Register(newHarness(t).middleware)
	if !errors.Is(err, errRefused) || !strings.HasPrefix(err.Error(), callback) {
		t.Errorf("Register: %v", err)
	}
}
