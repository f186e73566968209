package searchtoken

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/searchtoken/searchtoken/internal/breaker"
	"github.com/searchtoken/searchtoken/internal/redact"
)

// EventKind says what happened.
type EventKind string

// The kinds of events. Renewals and proxied calls are neither hits nor misses,
// so that the hit ratio of pages is hits / (hits + misses). The calls of Coveo
// for tokens are fetches + refreshes + renews.
const (
	// EventHit: a page got its token from the cache.
	EventHit EventKind = "hit"
	// EventMiss: a page waited Elapsed for a token, or got none.
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
	// EventRequestRefused: a page, a renewal or a proxied call got no token
	// because nobody is logged in (OutcomeNoIdentity), because the visitor left
	// meanwhile (OutcomeCanceled), or because Identify, Prepare or the session
	// store failed (OutcomeError). It is neither a hit nor a miss.
	EventRequestRefused EventKind = "request_refused"
	// EventRenewalRefused: the RenewHandler refused a request, because of its
	// origin, method or body (OutcomeRefused), or because the user forces too
	// many renewals (OutcomeLimited).
	EventRenewalRefused EventKind = "renewal_refused"
	// EventHeldBack: calls for all users are held back from here on, because
	// Coveo refused the API key, asked for fewer calls, or failed for several
	// users in a row. What holds back the calls of one user is not reported.
	EventHeldBack EventKind = "held_back"
	// EventRecovered: Coveo answers again, so calls are no longer held back.
	// They were for Elapsed.
	EventRecovered EventKind = "recovered"
)

// Outcome says how an event ended.
type Outcome string

// The outcomes of events.
const (
	// OutcomeOK: it succeeded.
	OutcomeOK Outcome = "ok"
	// OutcomeNoIdentity: nobody is logged in, or the session has ended.
	OutcomeNoIdentity Outcome = "no_identity"
	// OutcomeCanceled: the request's context was done before the token was
	// there, or Shutdown canceled the fetch.
	OutcomeCanceled Outcome = "canceled"
	// OutcomeHeldBack: no call was made because earlier calls failed.
	OutcomeHeldBack Outcome = "held_back"
	// OutcomeRefused: Coveo refused the request, or the RenewHandler did.
	OutcomeRefused Outcome = "refused"
	// OutcomeUnavailable: Coveo failed, could not be reached, or asked for
	// fewer calls.
	OutcomeUnavailable Outcome = "unavailable"
	// OutcomeLimited: the user forces too many renewals, or makes too many
	// proxied calls.
	OutcomeLimited Outcome = "limited"
	// OutcomeForgotten: a token was fetched, but not cached, because the user
	// was forgotten meanwhile.
	OutcomeForgotten Outcome = "forgotten"
	// OutcomeError: another error, for example one of the Cache or of Identify.
	OutcomeError Outcome = "error"
)

// Event is reported to Config.Observe. It contains nothing about the user.
type Event struct {
	// Kind says what happened.
	Kind EventKind
	// Route is the Name of the request's [Route]. It is empty for EventForget,
	// EventCacheError, EventHeldBack and EventRecovered, which concern all
	// routes.
	Route string
	// Outcome says how it ended.
	Outcome Outcome
	// Elapsed is how long it took. It is 0 if nothing was waited for.
	Elapsed time.Duration
	// Err is nil if Outcome is OutcomeOK or OutcomeForgotten. It is redacted.
	Err error
}

// Stats is the state of a [Middleware] at one moment, for gauges and status
// pages. A readiness probe must not fail because of HeldBack alone: see
// HeldBackUntil.
type Stats struct {
	// InFlight is the number of fetches that run, at most Config.MaxInFlight.
	InFlight int
	// Queued is the number of fetches that wait until others have ended.
	Queued int
	// CachedTokens is the number of tokens in the Cache, including expired ones
	// that it has not removed yet. It is -1 if the Cache has no method Len()
	// int.
	CachedTokens int
	// HeldBack says that calls of Coveo are held back for all users. Users with
	// a token in the cache do not notice it.
	HeldBack bool
	// HeldBackUntil is the earliest time of the next call while HeldBack, else
	// zero. It is in the past while that call is in flight, or if nobody has
	// needed a token since. Then a request must come to try again: an instance
	// out of service, without requests, would stay HeldBack.
	HeldBackUntil time.Time
}

// outcomeOf returns the Outcome of something that ended with err.
func outcomeOf(err error) Outcome {
	if err == nil { // before the variables, which take an allocation each
		return OutcomeOK
	}
	var noToken *tokenError
	var limit *renewalLimitError
	var proxy *proxyError
	var renewal *renewalRefusal
	var api *APIError
	switch {
	case errors.As(err, &renewal):
		return OutcomeRefused
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

// subject is what a log line is about. No part of it comes from a visitor, so
// there are few subjects, and reporter remembers all of them.
type subject struct{ message, detail, route string }

// logState says when the next line about a subject is due, and how many were
// left out since the last one.
type logState struct {
	next       time.Time
	suppressed int
}

// reporter calls Observe, and writes to the Logger at most one line per subject
// and minute. It is safe for concurrent use.
type reporter struct {
	observe func(context.Context, Event) // may be nil
	logger  *slog.Logger

	mu   sync.Mutex // guards logs
	logs map[subject]logState
}

func newReporter(cfg *Config) *reporter {
	return &reporter{observe: cfg.Observe, logger: cfg.Logger, logs: map[subject]logState{}}
}

// event reports something that ended with err.
func (r *reporter) event(ctx context.Context, kind EventKind, route string, elapsed time.Duration, err error) {
	r.emit(ctx, Event{kind, route, outcomeOf(err), elapsed, err})
}

func (r *reporter) emit(ctx context.Context, e Event) {
	if r.observe != nil {
		r.observe(ctx, e)
	}
}

// fetched reports a call of the Issuer that returned a token. kept is false if
// the user was forgotten meanwhile.
func (r *reporter) fetched(ctx context.Context, kind EventKind, route string, elapsed time.Duration, kept bool) {
	outcome := OutcomeOK
	if !kept {
		outcome = OutcomeForgotten
	}
	r.emit(ctx, Event{kind, route, outcome, elapsed, nil})
}

// fetchFailed reports a call of the Issuer that failed.
func (r *reporter) fetchFailed(ctx context.Context, kind EventKind, route string, elapsed time.Duration, err error) {
	r.event(ctx, kind, route, elapsed, err)
	about := subject{message: "fetching a token failed"}
	attrs := []any{"event", string(kind), "route", route, "error", err}
	var api *APIError
	if errors.As(err, &api) {
		// Not the text: it contains a different request ID each time.
		about.detail = strconv.Itoa(api.StatusCode)
		if hint := api.hint(); hint != "" {
			attrs = append(attrs, "hint", hint)
		}
	}
	r.log(ctx, levelOf(err), about, attrs...)
}

// levelOf returns the level of a log line about a call of Coveo that failed. An
// answer that refuses the call needs an operator: a wrong API key, for example.
func levelOf(err error) slog.Level {
	var api *APIError
	if errors.As(err, &api) && !api.temporary() {
		return slog.LevelError
	}
	return slog.LevelWarn
}

// upstreamChanged reports that the breaker of the whole upstream opened,
// because a call ended with err, or closed.
func (r *reporter) upstreamChanged(ctx context.Context, c breaker.Change, err error) {
	switch {
	case c.Opened:
		r.event(ctx, EventHeldBack, "", 0, err)
		r.log(ctx, levelOf(err), subject{message: "calls of Coveo are held back"}, "error", err)
	case c.Closed:
		r.event(ctx, EventRecovered, "", c.OpenFor, nil)
		r.log(ctx, slog.LevelInfo, subject{message: "Coveo answers again"}, "held_back_for", c.OpenFor)
	}
}

// requestStep is where a request fails before a token is looked for.
type requestStep string

const (
	stepIdentify     requestStep = "identify"
	stepSessionStore requestStep = "session_store"
	stepPrepare      requestStep = "prepare"
)

// requestRefused reports a request that fails in a step, before a token is
// looked for.
func (r *reporter) requestRefused(ctx context.Context, route string, step requestStep, err error) {
	outcome := OutcomeError
	switch {
	case errors.Is(err, ErrNoIdentity):
		outcome = OutcomeNoIdentity
		logNoIdentity(ctx, r.logger, err)
	case ctx.Err() != nil:
		outcome = OutcomeCanceled
	case errors.Is(err, ErrSession):
		step = stepSessionStore
	}
	r.emit(ctx, Event{EventRequestRefused, route, outcome, 0, err})
	if outcome == OutcomeError {
		about := subject{"request without a token", string(step), route}
		r.log(ctx, slog.LevelError, about, "step", string(step), "route", route, "error", err)
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
	about := subject{message: "proxied call failed", detail: strconv.Itoa(HTTPStatus(err))}
	attrs := []any{"route", route, "operation", operation, "error", err}
	r.log(ctx, slog.LevelWarn, about, append(attrs, originHint(err)...)...)
}

// renewalRefused reports a request that the RenewHandler refuses. reason is one
// of a few words.
func (r *reporter) renewalRefused(ctx context.Context, route, reason string, err error) {
	r.event(ctx, EventRenewalRefused, route, 0, err)
	about := subject{"renewal refused", reason, route}
	attrs := []any{"reason", reason, "route", route, "error", err}
	r.log(ctx, slog.LevelWarn, about, append(attrs, originHint(err)...)...)
}

// cacheFailed reports an error of the Cache, unless the visitor left.
func (r *reporter) cacheFailed(ctx context.Context, method string, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	err = redacted(err)
	r.event(ctx, EventCacheError, "", 0, err)
	about := subject{message: "cache operation failed", detail: method}
	r.log(ctx, slog.LevelWarn, about, "method", method, "error", err)
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
	about := subject{message: "panic while fetching a token", detail: fmt.Sprintf("%T", v)}
	r.log(ctx, slog.LevelError, about, "panic", reason, "stack", string(debug.Stack()))
}

// log writes a line about a subject, if one is due. It says how many lines were
// left out since the last one.
func (r *reporter) log(ctx context.Context, level slog.Level, about subject, attrs ...any) {
	suppressed, due := r.due(about)
	if !due {
		return
	}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	r.logger.Log(ctx, level, "searchtoken: "+about.message, attrs...)
}

// due counts a log line about a subject. It reports whether the line is due,
// and how many were left out since the last one.
func (r *reporter) due(about subject) (suppressed int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	state := r.logs[about]
	if now.Before(state.next) {
		state.suppressed++
		r.logs[about] = state
		return 0, false
	}
	r.logs[about] = logState{next: now.Add(logInterval)}
	return state.suppressed, true
}
