package searchtoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/searchtoken/searchtoken/internal/redact"
)

// EventKind says what happened to a token.
type EventKind string

// The kinds of events.
const (
	// EventHit: a request got its token from the cache.
	EventHit EventKind = "hit"
	// EventMiss: a request waited Elapsed for a token, or got none.
	EventMiss EventKind = "miss"
	// EventFetch: the Issuer was called for requests that wait. The call took
	// Elapsed.
	EventFetch EventKind = "fetch"
	// EventRefresh: the Issuer was called before a token expired, in the
	// background. The call took Elapsed.
	EventRefresh EventKind = "refresh"
	// EventRenew: the Issuer was called for a browser whose token was rejected.
	// The call took Elapsed.
	EventRenew EventKind = "renew"
	// EventForget: a user's tokens were removed.
	EventForget EventKind = "forget"
	// EventCacheError: a method of the Cache failed. The request went on
	// without the Cache.
	EventCacheError EventKind = "cache_error"
	// EventProxy: a ProxyHandler answered a call of a front end, which took
	// Elapsed, for a stream until its end.
	EventProxy EventKind = "proxy"
)

// Outcome says how an event ended.
type Outcome string

// The outcomes of events.
const (
	// OutcomeOK: it succeeded.
	OutcomeOK Outcome = "ok"
	// OutcomeNoIdentity: the session has ended.
	OutcomeNoIdentity Outcome = "no_identity"
	// OutcomeCanceled: the request's context was done before the token was
	// there, or Shutdown canceled the fetch.
	OutcomeCanceled Outcome = "canceled"
	// OutcomeHeldBack: no call was made because earlier calls failed.
	OutcomeHeldBack Outcome = "held_back"
	// OutcomeRefused: Coveo refused the request.
	OutcomeRefused Outcome = "refused"
	// OutcomeUnavailable: Coveo failed, could not be reached, or asked for
	// fewer calls.
	OutcomeUnavailable Outcome = "unavailable"
	// OutcomeLimited: the user forces too many renewals.
	OutcomeLimited Outcome = "limited"
	// OutcomeForgotten: a token was fetched, but not cached, because the user
	// was forgotten meanwhile.
	OutcomeForgotten Outcome = "forgotten"
	// OutcomeError: another error, for example one of the Cache.
	OutcomeError Outcome = "error"
)

// Event is reported to Config.Observe. It contains nothing about the user.
type Event struct {
	// Kind says what happened.
	Kind EventKind
	// Route is the Name of the request's [Route]. It is empty for EventForget
	// and EventCacheError, which concern all routes.
	Route string
	// Outcome says how it ended.
	Outcome Outcome
	// Elapsed is how long it took. It is 0 if nothing was waited for.
	Elapsed time.Duration
	// Err is nil if Outcome is OutcomeOK or OutcomeForgotten. Its text is
	// redacted.
	Err error
}

// outcomeOf returns the Outcome of something that ended with err.
func outcomeOf(err error) Outcome {
	var noToken *tokenError
	var limit *renewalLimitError
	var proxy *proxyError
	var api *APIError
	switch {
	case err == nil:
		return OutcomeOK
	case errors.As(err, &proxy):
		return proxy.outcome
	case errors.As(err, &noToken):
		return noToken.outcome
	case errors.As(err, &limit):
		return OutcomeLimited
	case errors.Is(err, ErrNoIdentity):
		return OutcomeNoIdentity
	case isRefusal(err):
		return OutcomeRefused
	case errors.As(err, &api):
		return OutcomeUnavailable
	}
	return OutcomeError
}

// logInterval is the time between two log lines about the same subject.
const logInterval = time.Minute

// reporter calls Observe, and writes to the Logger at most one line per subject
// and minute. It is safe for concurrent use.
type reporter struct {
	observe func(context.Context, Event) // may be nil
	logger  *slog.Logger

	mu      sync.Mutex // guards nextLog
	nextLog map[string]time.Time
}

func newReporter(cfg *Config) *reporter {
	return &reporter{observe: cfg.Observe, logger: cfg.Logger, nextLog: map[string]time.Time{}}
}

// event reports something that ended with err.
func (r *reporter) event(ctx context.Context, kind EventKind, route string, elapsed time.Duration, err error) {
	if r.observe != nil {
		r.observe(ctx, Event{kind, route, outcomeOf(err), elapsed, err})
	}
}

// fetched reports a call of the Issuer that returned a token. kept is false if
// the user was forgotten meanwhile.
func (r *reporter) fetched(ctx context.Context, kind EventKind, route string, elapsed time.Duration, kept bool) {
	outcome := OutcomeOK
	if !kept {
		outcome = OutcomeForgotten
	}
	if r.observe != nil {
		r.observe(ctx, Event{kind, route, outcome, elapsed, nil})
	}
}

// fetchFailed reports a call of the Issuer that failed.
func (r *reporter) fetchFailed(ctx context.Context, kind EventKind, route string, elapsed time.Duration, err error) {
	r.event(ctx, kind, route, elapsed, err)
	level, subject := slog.LevelWarn, "no answer"
	var api *APIError
	if errors.As(err, &api) {
		// Not the text: it contains a different request ID each time.
		subject = "answer " + strconv.Itoa(api.StatusCode)
		if !api.temporary() {
			level = slog.LevelError // needs an operator: a wrong API key, for example
		}
	}
	if r.mayLog(subject) {
		attrs := []any{"event", string(kind), "route", route, "error", err}
		if api != nil && (api.StatusCode == http.StatusUnauthorized || api.StatusCode == http.StatusForbidden) {
			attrs = append(attrs, "hint", "is it a key of the Authenticated search template, and of this organization?")
		}
		r.logger.Log(ctx, level, "searchtoken: fetching a token failed", attrs...)
	}
}

// requestFailed reports a request that fails before Coveo is asked.
func (r *reporter) requestFailed(ctx context.Context, route string, err error) {
	if err = redact.Error(err); r.mayLog(err.Error()) {
		r.logger.ErrorContext(ctx, "searchtoken: request without a token", "route", route, "error", err)
	}
}

// proxied reports a call of a ProxyHandler. operation is its method and path.
func (r *reporter) proxied(ctx context.Context, route, operation string, elapsed time.Duration, err error) {
	r.event(ctx, EventProxy, route, elapsed, err)
	var noToken *tokenError
	var proxy *proxyError
	var api *APIError
	if errors.As(err, &noToken) || !errors.As(err, &proxy) && !errors.As(err, &api) {
		return // it was reported where it happened
	}
	if r.mayLog("proxy " + strconv.Itoa(HTTPStatus(err))) {
		r.logger.WarnContext(ctx, "searchtoken: proxied call failed", "route", route, "operation", operation, "error", err)
	}
}

// cacheFailed reports an error of the Cache, unless the visitor left.
func (r *reporter) cacheFailed(ctx context.Context, method string, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	err = redact.Error(err)
	r.event(ctx, EventCacheError, "", 0, err)
	if r.mayLog("cache " + method) {
		r.logger.WarnContext(ctx, "searchtoken: cache operation failed", "method", method, "error", err)
	}
}

// panicked reports a panic of the application's code on one of our goroutines.
// The value of a panic may be a secret, so only a runtime error's text is
// logged.
func (r *reporter) panicked(ctx context.Context, v any) {
	defer func() { _ = recover() }() // the Logger may panic as well
	reason := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		reason = redact.Text(err.Error())
	}
	r.logger.ErrorContext(ctx, "searchtoken: panic while fetching a token", "panic", reason, "stack", string(debug.Stack()))
}

// mayLog reports whether a log line about subject is due.
func (r *reporter) mayLog(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.nextLog[subject]) {
		return false
	}
	makeRoom(r.nextLog, func(next time.Time) bool { return !now.Before(next) })
	r.nextLog[subject] = now.Add(logInterval)
	return true
}
