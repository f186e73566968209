package otelsearchtoken

import (
	"errors"

	"go.opentelemetry.io/otel/metric"
)

// instruments are the metrics. Their names are stable: dashboards and alerts
// depend on them.
type instruments struct {
	// Of events.
	requests        metric.Int64Counter
	waits           metric.Float64Histogram
	fetches         metric.Float64Histogram
	proxied         metric.Float64Histogram
	renewalRefusals metric.Int64Counter
	forgets         metric.Int64Counter
	cacheErrors     metric.Int64Counter
	outages         metric.Int64Counter
	outageDurations metric.Float64Histogram

	// Of the state.
	active   metric.Int64ObservableUpDownCounter
	queued   metric.Int64ObservableUpDownCounter
	cached   metric.Int64ObservableUpDownCounter
	heldBack metric.Int64ObservableGauge
}

// The bounds of histograms, in seconds. A call of Coveo ends within 10 seconds.
// A page waits as long as its context allows, a stream lasts minutes.
var (
	callBounds   = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	longBounds   = append(callBounds[:len(callBounds):len(callBounds)], 30, 60, 120, 300)
	outageBounds = []float64{1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 14400}
)

func newInstruments(meter metric.Meter) (instruments, error) {
	m := &maker{meter: meter}
	i := instruments{
		requests: m.counter("searchtoken.requests", "{request}",
			"Requests for a token: hits and misses of pages, and refused requests."),
		waits: m.histogram("searchtoken.wait.duration", longBounds,
			"How long pages without a cached token waited."),
		fetches: m.histogram("searchtoken.fetch.duration", callBounds,
			"Duration of the calls of Coveo for a token."),
		proxied: m.histogram("searchtoken.proxy.duration", longBounds,
			"Duration of proxied calls, for a stream until its end."),
		renewalRefusals: m.counter("searchtoken.renewal.refusals", "{renewal}",
			"Renewals that the RenewHandler refused."),
		forgets: m.counter("searchtoken.forgets", "{forget}",
			"Removals of all tokens of a user."),
		cacheErrors: m.counter("searchtoken.cache.errors", "{error}",
			"Failed operations of the cache."),
		outages: m.counter("searchtoken.outages", "{outage}",
			"How often calls for all users began to be held back."),
		outageDurations: m.histogram("searchtoken.outage.duration", outageBounds,
			"How long calls for all users were held back. It is recorded when Coveo answers again."),
		active: m.state("searchtoken.fetch.active", "{fetch}", "Fetches that run."),
		queued: m.state("searchtoken.fetch.queued", "{fetch}", "Fetches that wait until others have ended."),
		cached: m.state("searchtoken.cache.tokens", "{token}", "Tokens in the cache, if it can tell."),
	}
	heldBack, err := meter.Int64ObservableGauge("searchtoken.held_back",
		metric.WithDescription("1 while calls for all users are held back, otherwise 0."))
	i.heldBack = heldBack
	return i, errors.Join(append(m.errs, err)...)
}

// maker makes instruments, and collects the errors.
type maker struct {
	meter metric.Meter
	errs  []error
}

func (m *maker) counter(name, unit, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return c
}

func (m *maker) histogram(name string, bounds []float64, description string) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(bounds...))
	m.errs = append(m.errs, err)
	return h
}

func (m *maker) state(name, unit, description string) metric.Int64ObservableUpDownCounter {
	c, err := m.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return c
}
