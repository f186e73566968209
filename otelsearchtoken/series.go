package otelsearchtoken

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/searchtoken/searchtoken"
)

const (
	kindKey    = attribute.Key("searchtoken.kind")
	routeKey   = attribute.Key("searchtoken.route")
	outcomeKey = attribute.Key("searchtoken.outcome")
)

// measurement is what the events with one kind, route and outcome change. Its
// options are made once, so that recording an event allocates nothing.
type measurement struct {
	counter   metric.Int64Counter // may be nil
	added     []metric.AddOption
	histogram metric.Float64Histogram // may be nil
	recorded  []metric.RecordOption
	isCall    bool // of Coveo, for a token
}

func (m *measurement) record(ctx context.Context, elapsed time.Duration) {
	if m.counter != nil {
		m.counter.Add(ctx, 1, m.added...)
	}
	if m.histogram != nil {
		m.histogram.Record(ctx, elapsed.Seconds(), m.recorded...)
	}
}

// newMeasurement returns what e changes: nothing if its kind is unknown.
func (o *Observer) newMeasurement(e searchtoken.Event) *measurement {
	kind, route := kindKey.String(string(e.Kind)), routeKey.String(e.Route)
	outcome := outcomeKey.String(string(e.Outcome))
	m := &measurement{}
	count := func(counter metric.Int64Counter, attributes ...attribute.KeyValue) {
		m.counter, m.added = counter, []metric.AddOption{o.with(attributes)}
	}
	measure := func(histogram metric.Float64Histogram, attributes ...attribute.KeyValue) {
		m.histogram, m.recorded = histogram, []metric.RecordOption{o.with(attributes)}
	}
	switch e.Kind {
	case searchtoken.EventHit, searchtoken.EventRequestRefused:
		count(o.requests, kind, route, outcome)
	case searchtoken.EventMiss:
		count(o.requests, kind, route, outcome)
		measure(o.waits, route, outcome)
	case searchtoken.EventFetch, searchtoken.EventRefresh, searchtoken.EventRenew:
		measure(o.fetches, kind, route, outcome)
		m.isCall = true
	case searchtoken.EventProxy:
		measure(o.proxied, route, outcome)
	case searchtoken.EventRenewalRefused:
		count(o.renewalRefusals, route, outcome)
	case searchtoken.EventForget:
		count(o.forgets, outcome)
	case searchtoken.EventCacheError:
		count(o.cacheErrors)
	case searchtoken.EventHeldBack:
		count(o.outages, outcome)
	case searchtoken.EventRecovered:
		measure(o.outageDurations)
	}
	return m
}

// with returns an option that sets attributes and those of all metrics.
func (o *Observer) with(attributes []attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(slices.Concat(o.attributes, attributes)...))
}

// maxSeries bounds the memory of a program with very many routes. A route has
// about 20 series.
const maxSeries = 2000

// series holds the measurements by kind, route and outcome. Readers take no
// lock. The zero series is empty.
type series struct {
	known atomic.Pointer[map[seriesKey]*measurement] // never changes once stored
	mu    sync.Mutex                                 // one writer at a time replaces known
}

type seriesKey struct {
	kind    searchtoken.EventKind
	route   string
	outcome searchtoken.Outcome
}

// find returns a measurement, or nil.
func (s *series) find(key seriesKey) *measurement { return s.load()[key] }

// add adds a measurement, unless there are maxSeries already.
func (s *series) add(key seriesKey, m *measurement) {
	if len(s.load()) >= maxSeries {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[seriesKey]*measurement{key: m}
	maps.Copy(known, s.load())
	s.known.Store(&known)
}

func (s *series) load() map[seriesKey]*measurement {
	if known := s.known.Load(); known != nil {
		return *known
	}
	return nil
}
