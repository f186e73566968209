package otelsearchtoken_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// span is what a test looks at in a span.
type span struct {
	Name       string
	Start      time.Duration // after the start of the test
	Duration   time.Duration
	Attributes map[string]string
	Status     sdktrace.Status
	LinkedTo   []string // the names of requests
}

// request has a user open a page within a span, and returns the span's context.
func (h *harness) request(user string) trace.SpanContext {
	h.Helper()
	ctx, request := h.tracers.Tracer("test").Start(h.Context(), "GET /search of "+user)
	h.visit(ctx, user)
	request.End()
	return request.SpanContext()
}

// calls returns the spans of calls of Coveo.
func (h *harness) calls(began time.Time) (list []span) {
	h.Helper()
	requests := map[trace.SpanID]string{}
	for _, s := range h.spans.Started() {
		requests[s.SpanContext().SpanID()] = s.Name()
	}
	for _, s := range h.spans.Ended() {
		if s.InstrumentationScope().Name == "test" {
			continue
		}
		if s.Parent().IsValid() {
			h.Errorf("%s is a child of %s", s.Name(), requests[s.Parent().SpanID()])
		}
		if s.SpanKind() != trace.SpanKindClient {
			h.Errorf("%s is a span of the kind %s", s.Name(), s.SpanKind())
		}
		got := span{
			Name: s.Name(), Start: s.StartTime().Sub(began), Duration: s.EndTime().Sub(s.StartTime()),
			Attributes: map[string]string{}, Status: s.Status(),
		}
		for _, kv := range s.Attributes() {
			got.Attributes[string(kv.Key)] = kv.Value.String()
		}
		for _, link := range s.Links() {
			got.LinkedTo = append(got.LinkedTo, requests[link.SpanContext.SpanID()])
		}
		list = append(list, got)
	}
	return list
}

func TestACallIsASpanThatLinksToItsRequest(t *testing.T) {
	const ann = "GET /search of ann"
	attributes := func(kind, outcome, status string) map[string]string {
		m := map[string]string{"searchtoken.kind": kind, "searchtoken.route": "search", "searchtoken.outcome": outcome}
		if status != "" {
			m["http.response.status_code"] = status
		}
		return m
	}
	failed := func(outcome string) sdktrace.Status { return sdktrace.Status{Code: codes.Error, Description: outcome} }
	fault := func(f searchtokentest.Fault) func(h *harness) {
		return func(h *harness) {
			f.Delay = second
			h.coveo.Inject(f)
			h.request("ann")
		}
	}
	for _, tt := range []struct {
		name string
		do   func(h *harness)
		want []span
	}{
		{"a fetch", fault(searchtokentest.Fault{}), []span{{
			"searchtoken fetch", 0, second, attributes("fetch", "ok", ""), sdktrace.Status{}, []string{ann},
		}}},
		{"a hit", func(h *harness) {
			h.request("ann")
			h.request("ann")
		}, []span{{
			"searchtoken fetch", 0, 0, attributes("fetch", "ok", ""), sdktrace.Status{}, []string{ann},
		}}},
		{"a request without a trace", func(h *harness) { h.visit(h.Context(), "ann") }, []span{{
			"searchtoken fetch", 0, 0, attributes("fetch", "ok", ""), sdktrace.Status{}, nil,
		}}},
		{"a refusal", fault(searchtokentest.Fault{Status: 403}), []span{{
			"searchtoken fetch", 0, second, attributes("fetch", "refused", "403"), failed("refused"),
			[]string{ann},
		}}},
		{"a failure", fault(searchtokentest.Fault{Status: 500}), []span{{
			"searchtoken fetch", 0, second, attributes("fetch", "unavailable", "500"),
			failed("unavailable"), []string{ann},
		}}},
		{"no answer", func(h *harness) {
			h.coveo.Inject(searchtokentest.Fault{Delay: time.Hour})
			h.request("ann")
		}, []span{{
			"searchtoken fetch", 0, 10 * second, attributes("fetch", "unavailable", ""),
			failed("unavailable"), []string{ann},
		}}},
		{"a fetch that outlives its request", func(h *harness) {
			h.coveo.Inject(searchtokentest.Fault{Delay: 3 * second})
			ctx, request := h.tracers.Tracer("test").Start(h.Context(), ann)
			ctx, cancel := context.WithTimeout(ctx, second)
			defer cancel()
			h.visit(ctx, "ann")
			request.End()
			time.Sleep(3 * second)
		}, []span{{
			"searchtoken fetch", 0, 3 * second, attributes("fetch", "ok", ""), sdktrace.Status{},
			[]string{ann},
		}}},
		{"a refresh", func(h *harness) {
			h.visit(h.Context(), "ann")
			time.Sleep(23 * time.Hour)
			h.request("ann")
			synctest.Wait()
		}, []span{
			{"searchtoken fetch", 0, 0, attributes("fetch", "ok", ""), sdktrace.Status{}, nil},
			{"searchtoken refresh", 23 * time.Hour, 0, attributes("refresh", "ok", ""),
				sdktrace.Status{}, []string{ann}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(h *harness) {
				began := time.Now()
				tt.do(h)
				check(h, "spans", tt.want, h.calls(began))
			})
		})
	}
}

// TestHTTPRequestsAreChildrenOfTheRequest has a client of otelhttp.
func TestHTTPRequestsAreChildrenOfTheRequest(t *testing.T) {
	bubble(t, func(h *harness) {
		h.configure(searchtoken.Config{HTTPClient: &http.Client{
			Transport: otelhttp.NewTransport(h.coveo, otelhttp.WithTracerProvider(h.tracers)),
		}})
		request := h.request("ann")
		parents := map[string]trace.SpanID{}
		for _, s := range h.spans.Ended() {
			parents[s.Name()] = s.Parent().SpanID()
		}
		check(h, "parents", map[string]trace.SpanID{
			"GET /search of ann": {}, "searchtoken fetch": {}, "HTTP POST": request.SpanID(),
		}, parents)
	})
}

// TestEveryOutcomeHasASpanStatus fails if searchtoken has an outcome that is
// not listed here.
func TestEveryOutcomeHasASpanStatus(t *testing.T) {
	want := map[string]codes.Code{
		"ok": codes.Unset, "forgotten": codes.Unset, "canceled": codes.Unset,
		"no_identity": codes.Error, "held_back": codes.Error, "refused": codes.Error, "unavailable": codes.Error,
		"limited": codes.Error, "error": codes.Error,
	}
	got := map[string]codes.Code{}
	for _, outcome := range constants(t, "Outcome") {
		h := newHarness(t)
		h.observer.Observe(t.Context(), searchtoken.Event{
			Kind: searchtoken.EventFetch, Route: "search", Outcome: searchtoken.Outcome(outcome),
		})
		for _, s := range h.spans.Ended() {
			got[outcome] = s.Status().Code
		}
		check(t, "metrics", map[string]float64{"fetch.duration{fetch " + outcome + " search}": 1}, h.samples(""))
	}
	check(t, "status by outcome", want, got)
}
