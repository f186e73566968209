package searchtoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/searchtoken/searchtoken/internal/breaker"
	"github.com/searchtoken/searchtoken/internal/flight"
)

// maxTries is how many fetches a request starts if each of them ends without a
// token for it.
const maxTries = 5

// tokenSource returns tokens from the store, or fetches them from the Issuer.
// Requests for the same token share one fetch. It is safe for concurrent use.
//
// The path of a miss: token, find, fetch here; then fetch.run, claim, attempt,
// issueAndStore in fetch.go; then fetchResult.accept.
type tokenSource struct {
	issuer   Issuer
	claimer  Claimer        // the Cache, if it is one
	limiter  RenewalLimiter // the Cache, if it is one
	store    *store
	reporter *reporter

	// Lock order: flights, then breaker or renewals. No other locks nest.
	flights  *flight.Group[UserKey, Key, epoch, fetchResult]
	breaker  breaker.Breaker[UserKey, fetchKey]
	renewals renewalLimits
}

func newTokenSource(cfg *Config) *tokenSource {
	r := newReporter(cfg)
	claimer, _ := cfg.Cache.(Claimer)
	limiter, _ := cfg.Cache.(RenewalLimiter)
	return &tokenSource{
		issuer: cfg.Issuer, claimer: claimer, limiter: limiter,
		store: newStore(cfg.Cache, r), reporter: r,
		flights: flight.New[UserKey, Key, epoch, fetchResult](cmp.Or(cfg.MaxInFlight, defaultMaxInFlight)),
	}
}

// fetchKey is what a failure counts for, and what requests must agree on to
// share a fetch that runs. A Forget begins a key without failures: the user's
// rights may have changed.
type fetchKey struct {
	Key
	epoch
}

// token returns a token for a page, and reports whether it was a hit or a miss.
// It waits at most until ctx is done; the fetch that it may start goes on.
func (s *tokenSource) token(ctx context.Context, r *tokenRequest) (Token, error) {
	t, waitingSince, err := s.find(ctx, r)
	if waitingSince.IsZero() {
		s.reporter.event(ctx, EventHit, r.route.Name, 0, nil)
	} else if outcome := outcomeOf(err); outcome != OutcomeNoIdentity && outcome != OutcomeError { // see mayFetch
		s.reporter.event(ctx, EventMiss, r.route.Name, time.Since(waitingSince), err)
	}
	return t, err
}

// find is token without its events. It looks into the store, and fetches a
// token if there is none for r. waitingSince is zero if r did not have to wait.
func (s *tokenSource) find(ctx context.Context, r *tokenRequest) (t Token, waitingSince time.Time, err error) {
	for tries := 0; ; {
		found := s.store.get(ctx, r.key)
		switch r.freshness(found.token, found.at) {
		case fresh:
			return found.token, waitingSince, nil
		case stale:
			s.refresh(ctx, r, found.epoch)
			return found.token, waitingSince, nil
		}
		if waitingSince.IsZero() {
			waitingSince = found.at
		}
		if err := s.mayFetch(ctx, r, found.at); err != nil {
			return Token{}, waitingSince, err
		}
		result, leader, err := s.fetch(ctx, r, found)
		if err != nil {
			return Token{}, waitingSince, err
		}
		if t, err := result.accept(r, time.Now()); t.Value != "" || err != nil {
			return t, waitingSince, err
		}
		// A fetch that another request started does not count as a try.
		if leader {
			tries++
		}
		if tries == maxTries {
			s.breaker.Hold(fetchKey{r.key, found.epoch}, errUnsuitable)
			return Token{}, waitingSince, newTokenError(errUnsuitable, breaker.FirstRetry)
		}
	}
}

// mayFetch returns an error if r must not wait for a fetch. It reports an error
// that is not about fetches.
func (s *tokenSource) mayFetch(ctx context.Context, r *tokenRequest, now time.Time) error {
	if ctx.Err() != nil {
		return newCanceledError(ctx, r.names())
	}
	// Hits skip this check: no token is cached for a user whom Coveo would
	// refuse.
	err := validateUserIDs(r.userIDs)
	switch {
	case r.sessionEnded(now):
		err = noIdentity("the session has ended")
	case err != nil:
		err = identityFault(err)
	default:
		return nil
	}
	s.reporter.requestRefused(ctx, r.route.Name, stepIdentify, err)
	return err
}

// fetch waits for a fetch that r shares with others, and starts it if there is
// none.
func (s *tokenSource) fetch(ctx context.Context, r *tokenRequest, found found) (result fetchResult, leader bool, err error) {
	kind := EventFetch
	if r.forces(found) {
		kind = EventRenew
	}
	shared := *r // r itself must not escape: hits would allocate it
	result, leader, err = s.flights.Wait(ctx, r.key.User, r.key, found.epoch, func() (flight.Func[fetchResult], error) {
		return s.newFetch(&shared, found.epoch, kind)
	})
	r.renewalAllowed = shared.renewalAllowed
	if leader {
		r.renewalCounted = r.renewalCounted || result.renewalCounted
	}
	return result, leader, r.waitError(ctx, err)
}

// forces reports whether r asks for another token than one that is still good
// by its times. If the Cache failed, the rejected token may be the cached one.
func (r *tokenRequest) forces(found found) bool {
	return r.rejected != "" && (found.err != nil || r.freshnessIgnoringRejection(found.token, found.at) != expired)
}

// refresh starts a fetch in the background, unless it is too early for another
// one.
func (s *tokenSource) refresh(ctx context.Context, r *tokenRequest, e epoch) {
	shared := *r
	s.flights.Background(ctx, r.key.User, r.key, e, func() (flight.Func[fetchResult], error) {
		return s.newFetch(&shared, e, EventRefresh)
	})
}

// newFetch returns the run of a fetch for r, or an error if it must not start.
// It runs under the lock of flights.
func (s *tokenSource) newFetch(r *tokenRequest, e epoch, kind EventKind) (flight.Func[fetchResult], error) {
	key := fetchKey{r.key, e}
	if err := s.breaker.Check(key.User, key); err != nil {
		return nil, err
	}
	if kind == EventRenew && !r.renewalAllowed { // counted once per request
		if err := s.renewals.allow(r.key.User, time.Now()); err != nil {
			return nil, err
		}
		r.renewalAllowed = true
	}
	f := &fetch{tokenSource: s, request: *r, key: key, kind: kind}
	params := r.params.clone() // the request may end before the fetch
	f.request.params, f.request.userIDs = &params, slices.Clone(r.userIDs)
	return f.run, nil
}

// waitError returns the error of r if its wait for a fetch failed.
func (r *tokenRequest) waitError(ctx context.Context, err error) error {
	var open *breaker.Open
	var limit *renewalLimitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &open):
		return newHeldBackError(open)
	case errors.As(err, &limit):
		return limit
	case errors.Is(err, flight.ErrAborted):
		return newTokenError(errAborted, breaker.FirstRetry)
	}
	return newCanceledError(ctx, r.names())
}

// forget removes the tokens of a user. Later requests do not join the user's
// fetches in flight, whose tokens are not stored.
func (s *tokenSource) forget(ctx context.Context, user UserKey) error {
	err := s.store.forget(ctx, user)
	s.flights.Detach(user)
	s.reporter.event(ctx, EventForget, "", 0, err)
	return err
}

// stats returns the state of the fetches, the cache and the upstream.
func (s *tokenSource) stats() Stats {
	stats := Stats{CachedTokens: -1}
	stats.InFlight, stats.Queued = s.flights.Counts()
	stats.HeldBackUntil, stats.HeldBack = s.breaker.Upstream()
	if cache, ok := s.store.cache.(interface{ Len() int }); ok {
		stats.CachedTokens = cache.Len()
	}
	return stats
}

// shutdown ends background work, and waits for the other fetches until ctx is
// done.
func (s *tokenSource) shutdown(ctx context.Context) error {
	if err := s.flights.Shutdown(ctx); err != nil {
		return fmt.Errorf("searchtoken: Shutdown: fetches are still in flight: %w", err)
	}
	return nil
}
