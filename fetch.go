package searchtoken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/searchtoken/searchtoken/internal/breaker"
)

// fetch gets one token. It runs on its own goroutine, for all requests that
// wait for it.
type fetch struct {
	*tokenSource
	request tokenRequest // with its own copies of params and userIDs
	key     fetchKey
	kind    EventKind // EventFetch, EventRefresh or EventRenew

	detached func() bool // the user was forgotten since the fetch began
}

// fetchResult is what a fetch ends with: a token or an error.
type fetchResult struct {
	token          Token
	issued         bool // the token comes from the Issuer, not from the store
	renewalCounted bool // the RenewalLimiter counted the leader's renewal
	err            error
}

// accept returns the token or the error that r gets from the result. It returns
// neither if r must try again.
func (result *fetchResult) accept(r *tokenRequest, now time.Time) (Token, error) {
	f := expired
	var limit *renewalLimitError
	switch {
	case r.rejected == "" && errors.As(result.err, &limit): // r forces nothing
		return Token{}, nil
	case result.err != nil:
		return Token{}, result.err
	case result.issued && result.token.Value == r.rejected:
		return Token{}, newTokenError(errRejected, breaker.FirstRetry)
	case result.issued: // later than the rejected token, even if the browser says otherwise
		f = r.freshnessIgnoringRejection(result.token, now)
	default:
		f = r.freshness(result.token, now)
	}
	if f == expired { // the token outlives r's session, for example
		return Token{}, nil
	}
	return result.token, nil
}

// run looks into the store again, and calls the Issuer if no other process
// does.
func (f *fetch) run(ctx context.Context, detached func() bool) (result fetchResult) {
	f.detached = detached
	defer func() {
		if v := recover(); v != nil { // in Cache or Observe
			f.reporter.panicked(ctx, v)
			f.breaker.Hold(f.key, errAborted)
			result = fetchResult{err: newTokenError(errAborted, breaker.FirstRetry)}
		}
		result.renewalCounted = f.request.renewalCounted
	}()
	// The fetch of another process may take as long as this one.
	claimCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	for {
		if result, done := f.claimAndAttempt(ctx, claimCtx); done {
			return result
		}
	}
}

// claimAndAttempt attempts the fetch while this process holds the claim, if the
// Cache is a Claimer. done is false if another process held the claim and left
// no token.
func (f *fetch) claimAndAttempt(ctx, claimCtx context.Context) (result fetchResult, done bool) {
	if f.claimer == nil {
		return f.attempt(ctx, true)
	}
	release, err := f.claimer.Claim(claimCtx, f.key.Key)
	switch {
	case release != nil:
		defer release()
	case claimCtx.Err() != nil: // the other process is slow: do without the claim
	case err != nil:
		f.reporter.cacheFailed(claimCtx, "Claim", err)
	default:
		return f.attempt(ctx, false)
	}
	return f.attempt(ctx, true)
}

// attempt returns the token that another fetch has stored meanwhile. If there
// is none, and this process may call the Issuer, it gets one from there.
func (f *fetch) attempt(ctx context.Context, mayCall bool) (result fetchResult, done bool) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	// A slow cache leaves most of the time to the Issuer.
	lookCtx, cancelLook := context.WithTimeout(ctx, fetchTimeout/4)
	found := f.store.get(lookCtx, f.key.Key)
	cancelLook()
	// The user may have been forgotten while the fetch queued.
	if found.err == nil {
		f.key.epoch = found.epoch
	}
	if f.kind == EventRenew && !f.request.forces(found) {
		f.kind = EventFetch
	}
	switch state := f.request.freshness(found.token, found.at); {
	case errors.Is(ctx.Err(), context.Canceled): // by Shutdown, because nobody waits
		return fetchResult{err: newCanceledError(ctx, f.request.names())}, true
	case state == fresh, state == stale && f.kind != EventRefresh:
		return fetchResult{token: found.token}, true
	case !mayCall:
		return fetchResult{}, false
	}
	if err := f.countRenewal(ctx); err != nil {
		return fetchResult{err: err}, true
	}
	return f.issueAndStore(ctx, found), true
}

// countRenewal counts a forced renewal in all processes together.
func (f *fetch) countRenewal(ctx context.Context) error {
	if f.kind != EventRenew || f.limiter == nil || f.request.renewalCounted {
		return nil
	}
	wait, err := f.limiter.AllowRenewal(ctx, f.key.User, renewalInterval, renewalBurst)
	if err != nil {
		f.reporter.cacheFailed(ctx, "AllowRenewal", err) // this process's own limit holds
		return nil
	}
	if wait > 0 {
		return &renewalLimitError{wait}
	}
	f.request.renewalCounted = true
	return nil
}

// issueAndStore calls the Issuer, if the breaker allows it, and stores the
// token.
func (f *fetch) issueAndStore(ctx context.Context, found found) fetchResult {
	call, err := f.breaker.Begin(f.key.User, f.key)
	if err != nil {
		return fetchResult{err: f.request.waitError(ctx, err)}
	}
	defer f.breaker.End(call)

	params := f.request.issueParams(found.at)
	names := namesIn(params) // before the Issuer can change them
	t, err := f.issue(ctx, params)
	elapsed := time.Since(found.at)
	if errors.Is(ctx.Err(), context.Canceled) { // by Shutdown, because nobody waits
		err := newCanceledError(ctx, names)
		f.reporter.event(ctx, f.kind, f.request.route.Name, elapsed, err)
		return fetchResult{err: err}
	}
	if err == nil {
		t, err = completeTimes(t, found.at, params.validFor())
	}
	if err == nil {
		err = f.checkIssued(t, expired)
	}
	if err != nil {
		err = redacted(err, names...) // the breaker shows it to other users
		change := f.breaker.Report(call, breakerOutcome(err))
		err = newTokenError(err, f.retryAfter())
		f.reporter.fetchFailed(ctx, f.kind, f.request.route.Name, elapsed, err)
		f.reporter.upstreamChanged(ctx, change, err)
		return fetchResult{err: err}
	}
	// A token near its expiry would be refreshed at once. That has to wait, as
	// after a failure.
	change := f.breaker.Report(call, breakerOutcome(f.checkIssued(t, stale)))
	kept := f.storeIssued(ctx, t, found)
	f.reporter.fetched(ctx, f.kind, f.request.route.Name, elapsed, kept)
	f.reporter.upstreamChanged(ctx, change, nil)
	return fetchResult{token: t, issued: true}
}

// issue calls the Issuer, and waits at most until ctx is done, even if the
// Issuer does not return.
func (f *fetch) issue(ctx context.Context, p TokenParams) (Token, error) {
	type answer struct {
		token Token
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{err: errAborted}
		defer func() {
			if v := recover(); v != nil {
				f.reporter.panicked(ctx, v)
			}
			answers <- a
		}()
		a.token, a.err = f.issuer.Issue(ctx, p)
	}()
	select {
	case a := <-answers:
		return a.token, a.err
	case <-ctx.Done():
		return Token{}, fmt.Errorf("the issuer did not answer in time: %w", context.Cause(ctx))
	}
}

// checkIssued returns an error if a token that was just issued is worth no more
// than worst.
func (f *fetch) checkIssued(t Token, worst freshness) error {
	state := f.request.freshnessByTime(t, time.Now())
	switch {
	case t.Value == "":
		return &APIError{StatusCode: http.StatusOK, Message: "the issuer returned an empty token"}
	case state > worst:
		return nil
	case state == expired:
		return &APIError{StatusCode: http.StatusOK, Message: "the issuer returned an expired token"}
	}
	return &APIError{StatusCode: http.StatusOK, Message: "the issuer returned a token near its expiry"}
}

// storeIssued stores t, and reports whether the user was not forgotten since
// the look into the store. If the Issuer returned the rejected token again, the
// store stays as it is.
func (f *fetch) storeIssued(ctx context.Context, t Token, found found) bool {
	switch {
	case f.detached():
		return false
	case f.kind == EventRenew && t.Value == f.request.rejected:
		return true
	}
	return f.store.put(ctx, f.key.Key, t, found.at, found.epoch)
}

// retryAfter returns how long the breaker holds back the key of f.
func (f *fetch) retryAfter() time.Duration {
	var open *breaker.Open
	if errors.As(f.breaker.Check(f.key.User, f.key), &open) {
		return open.RetryAfter
	}
	return breaker.FirstRetry
}

// breakerOutcome returns what the breaker must know about a call that ended
// with err.
func breakerOutcome(err error) breaker.Outcome {
	if err == nil {
		return breaker.Outcome{}
	}
	outcome := breaker.Outcome{Result: breaker.Failed, Err: err, RetryAfter: RetryAfter(err)}
	var api *APIError
	switch {
	case errors.As(err, &api) && (api.StatusCode == http.StatusTooManyRequests || api.StatusCode == http.StatusUnauthorized):
		outcome.Result = breaker.Blocked // 401: the API key is wrong, for every user
	case isRefusal(err):
		outcome.Result = breaker.Refused
	}
	return outcome
}
