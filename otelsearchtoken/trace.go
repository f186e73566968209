package otelsearchtoken

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/searchtoken/searchtoken"
)

// trace makes the span of a call of Coveo that has just ended. ctx has the
// values of the request that started the call.
func (o *Observer) trace(ctx context.Context, e searchtoken.Event) {
	end := time.Now()
	options := []trace.SpanStartOption{
		trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(end.Add(-e.Elapsed)),
		trace.WithAttributes(o.spanAttributes(e)...),
	}
	if request := trace.SpanContextFromContext(ctx); request.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: request}))
	}
	_, span := o.tracer.Start(ctx, "searchtoken "+string(e.Kind), options...)
	if isFailure(e.Outcome) {
		span.SetStatus(codes.Error, string(e.Outcome))
	}
	span.End(trace.WithTimestamp(end))
}

// spanAttributes returns the attributes of the span of e. The error's text is
// not among them.
func (o *Observer) spanAttributes(e searchtoken.Event) []attribute.KeyValue {
	attributes := slices.Concat(o.attributes, []attribute.KeyValue{
		kindKey.String(string(e.Kind)), routeKey.String(e.Route), outcomeKey.String(string(e.Outcome)),
	})
	var api *searchtoken.APIError
	if errors.As(e.Err, &api) {
		attributes = append(attributes, attribute.Int("http.response.status_code", api.StatusCode))
	}
	return attributes
}

// isFailure reports whether a call with an outcome failed. A call that Shutdown
// canceled did not.
func isFailure(outcome searchtoken.Outcome) bool {
	switch outcome {
	case searchtoken.OutcomeOK, searchtoken.OutcomeForgotten, searchtoken.OutcomeCanceled:
		return false
	}
	return true
}
