// Package otelsearchtoken reports what a [searchtoken.Middleware] does as
// OpenTelemetry metrics and traces.
//
//	observer, err := otelsearchtoken.NewObserver()
//	…
//	coveo, err := searchtoken.New(searchtoken.Config{Observe: observer.Observe, …})
//	…
//	registration, err := observer.Register(coveo)
//
// # Metrics
//
// [Observer.Observe] counts and times events, [Observer.Register] adds gauges
// of [searchtoken.Middleware.Stats]. All names start with "searchtoken.". The
// section "Metrics" of docs/operations.md lists them, and prometheus/alerts.yml
// has alerting rules for them.
//
// # Traces
//
// Each call of Coveo for a token is a span named "searchtoken fetch",
// "searchtoken refresh" or "searchtoken renew". Such a call outlives the
// request that started it, and other requests wait for it, too. So its span is
// the root of a trace, with a link to the span of that request. If Coveo
// answered with an error, the span has the status of the answer.
//
// The span covers one call of the Issuer, which may be several HTTP requests.
// For a span per HTTP request, set Config.HTTPClient to a client with the
// transport of the package otelhttp. These spans are children of the span of
// the request that started the call.
//
// # What is reported about users
//
// Nothing. The attributes are the kind and the outcome of an event, the name of
// the route, the status of an answer, and those of [WithAttributes].
package otelsearchtoken

import (
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/searchtoken/searchtoken"
)

// ScopeName is the name of the instrumentation scope of all metrics and spans.
const ScopeName = "github.com/searchtoken/searchtoken/otelsearchtoken"

// Option changes what [NewObserver] uses.
type Option func(*config)

type config struct {
	meters     metric.MeterProvider
	tracers    trace.TracerProvider
	attributes []attribute.KeyValue
}

// WithMeterProvider sets where the metrics go. Default, also for nil:
// [otel.GetMeterProvider].
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(c *config) {
		if p != nil {
			c.meters = p
		}
	}
}

// WithTracerProvider sets where the spans go. Default, also for nil:
// [otel.GetTracerProvider].
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(c *config) {
		if p != nil {
			c.tracers = p
		}
	}
}

// WithAttributes adds attributes to all metrics and spans. A process with
// several Middlewares that [searchtoken.New] returned, for several
// organizations for example, needs an Observer with other attributes for each.
// Default: none.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(c *config) { c.attributes = append(c.attributes, attributes...) }
}

// Observer reports the events and the state of one Middleware, and of its
// copies that [searchtoken.Middleware.With] made. Use [NewObserver] to make
// one: the zero Observer does not work. An Observer is safe for concurrent use.
type Observer struct {
	meter      metric.Meter
	tracer     trace.Tracer
	attributes []attribute.KeyValue // of all metrics and spans
	instruments
	series series
}

// NewObserver returns an Observer. It returns an error if the MeterProvider
// refuses an instrument.
func NewObserver(options ...Option) (*Observer, error) {
	c := config{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider()}
	for _, option := range options {
		option(&c)
	}
	o := &Observer{
		meter: c.meters.Meter(ScopeName), tracer: c.tracers.Tracer(ScopeName), attributes: slices.Clip(c.attributes),
	}
	var err error
	if o.instruments, err = newInstruments(o.meter); err != nil {
		return nil, fmt.Errorf("otelsearchtoken: cannot create the instruments: %w", err)
	}
	return o, nil
}

// Observe counts and times e. Set it as Config.Observe. After the first hit of
// a route, a hit takes no lock here and allocates nothing. Beyond about 100
// routes, an event allocates its attributes.
func (o *Observer) Observe(ctx context.Context, e searchtoken.Event) {
	key := seriesKey{e.Kind, e.Route, e.Outcome}
	m := o.series.find(key)
	if m == nil {
		m = o.newMeasurement(e)
		o.series.add(key, m)
	}
	m.record(ctx, e.Elapsed)
	if m.isCall {
		o.trace(ctx, e)
	}
}

// Register reports the [searchtoken.Stats] of m at each collection of the
// metrics, until Unregister of the returned value is called. Register the
// Middleware that [searchtoken.New] returned, and none of its copies: they
// share one state. It returns an error if the MeterProvider refuses the
// callback.
func (o *Observer) Register(m *searchtoken.Middleware) (metric.Registration, error) {
	attributes := metric.WithAttributeSet(attribute.NewSet(o.attributes...))
	registration, err := o.meter.RegisterCallback(func(_ context.Context, state metric.Observer) error {
		stats := m.Stats()
		state.ObserveInt64(o.active, int64(stats.InFlight), attributes)
		state.ObserveInt64(o.queued, int64(stats.Queued), attributes)
		if stats.CachedTokens >= 0 {
			state.ObserveInt64(o.cached, int64(stats.CachedTokens), attributes)
		}
		held := int64(0)
		if stats.HeldBack {
			held = 1
		}
		state.ObserveInt64(o.heldBack, held, attributes)
		return nil
	}, o.active, o.queued, o.cached, o.heldBack)
	if err != nil {
		return nil, fmt.Errorf("otelsearchtoken: cannot register the Middleware: %w", err)
	}
	return registration, nil
}
