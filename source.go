package searchtoken

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultMaxInFlight   = 64
	defaultMinRemaining  = 2 * time.Minute
	leastRefreshBefore   = 5 * time.Minute
	firstRetry, maxRetry = time.Second, time.Minute
	failuresInARow       = 3 // of any keys: then the upstream is held back

	// How many keys, users and so on anything is remembered of.
	maxRemembered = 4096

	// How long ago a token may have been asked for that replaces another of
	// the same second.
	sameSecond = 10 * time.Second

	// How often a request asks again when what it waited for was forgotten.
	maxTries = 5

	logInterval = time.Minute // between two log lines about the same

	// How long a token that the cache could not keep is served by this process.
	// What other processes forget meanwhile is not known to it.
	spareLife = time.Minute
)

// state is what a token is good for.
type state int

const (
	dead       state = iota // for nothing: fetch another, and wait for it
	nearExpiry              // for this request: fetch another in the background
	fresh                   // for this request and the next
)

// order is what one request asks for. What it points at is shared with others, and
// cloned before it leaves this file.
type order struct {
	key        Key
	route      *Route
	params     *TokenParams // but for the UserIDs, which are userIDs
	userIDs    []UserID
	sessionEnd time.Time // zero: not known
	rejected   string    // a token that is not wanted again; may be empty
	allowed    bool      // the user may force a fetch for it, as far as this process knows
	counted    bool      // the same, by the count of all processes
}

// state is the state of t at now for the request that placed o.
func (o *order) state(t Token, now time.Time) state {
	if o.rejected != "" && !replaces(t, o.rejected, now) {
		return dead
	}
	return o.lifeState(t, now)
}

// lifeState is state but for the question of whether t was rejected.
func (o *order) lifeState(t Token, now time.Time) state {
	if t.Value == "" || o.outlivesSession(t) {
		return dead
	}
	return o.marginState(t, now)
}

// marginState is the state of t by its times alone.
func (o *order) marginState(t Token, now time.Time) state {
	// UnixNano, since Sub checks for an overflow, which takes as long as all the rest.
	expiry := t.Expiry.UnixNano()
	life, remaining := time.Duration(expiry-t.Issued.UnixNano()), time.Duration(expiry-now.UnixNano())
	if t.Issued.IsZero() { // lost by a Cache
		life = o.params.validFor()
	}
	// The clamps leave time to refresh ahead of a token that lives shorter
	// than the margins ask for.
	least := min(cmp.Or(o.route.MinRemaining, defaultMinRemaining), life/2)
	before := o.route.RefreshBefore
	if before == 0 {
		before = max(least+(life-least)/10, leastRefreshBefore)
	}
	before = min(before, life/4*3)
	// Tokens of one moment are not refreshed in one moment.
	before -= (before - least) / 10 / (1 << 16) * o.key.jitter()
	switch {
	case remaining <= least:
		return dead
	case remaining <= before:
		return nearExpiry
	}
	return fresh
}

// outlivesSession reports whether t is good for longer than the session by more
// than Coveo's shortest life of a token.
func (o *order) outlivesSession(t Token) bool {
	return !o.sessionEnd.IsZero() && t.Expiry.After(o.sessionEnd.Add(minValidFor))
}

// grant is what the issuer is asked for: ValidFor is cut to what is left of the
// session.
func (o *order) grant(now time.Time) TokenParams {
	p := *o.params
	p.UserIDs = o.userIDs
	if left := o.sessionEnd.Sub(now); !o.sessionEnd.IsZero() && left < p.validFor() {
		p.ValidFor = max(left.Truncate(time.Millisecond), minValidFor)
	}
	return p
}

// sessionEnded reports whether the session is over.
func (o *order) sessionEnded(now time.Time) bool {
	return !o.sessionEnd.IsZero() && !now.Before(o.sessionEnd)
}

// jitter is a number below 1<<16 that stays the same for a key.
func (k *Key) jitter() time.Duration {
	return time.Duration(binary.LittleEndian.Uint16(k.User[16:]) ^ binary.LittleEndian.Uint16(k.Params[16:]))
}

// replaces reports whether t may be handed to a visitor who says that rejected
// was rejected: it differs, and is the later of the two. Otherwise two processes
// would hand out each other's void tokens for ever.
func replaces(t Token, rejected string, now time.Time) bool {
	if t.Value == rejected {
		return false
	}
	asked, _ := jwtTimes(rejected)
	iat, _ := jwtTimes(t.Value)
	return iat > asked || iat == asked && now.Sub(t.Issued) < sameSecond
}

// Errors that are not the platform's.
var (
	errBrokeOff  = errors.New("searchtoken: the fetch of the token broke off")
	errForgotten = errors.New("searchtoken: the user was forgotten again and again meanwhile")
	errRejected  = errors.New("searchtoken: the issuer returned the token again that was rejected")
)

// source hands out tokens: from the cache, or from the issuer by way of one
// fetch for all who ask for the same. Everything that is under mu is remembered
// of fetches; a request whose token is fresh takes no lock.
type source struct {
	issuer  Issuer
	cache   Cache
	memory  *MemoryCache   // cache, if it is one: a hit then takes one look at the clock
	claimer Claimer        // cache, if it is one
	limiter RenewalLimiter // cache, if it is one
	logger  *slog.Logger
	observe func(Event) // may be nil

	// epochs are this process's own, for when the cache fails to keep them.
	epochs [256]atomic.Uint64
	// slots has an element for each fetch whose turn has come.
	slots chan struct{}

	mu       sync.Mutex
	flights  map[flightKey]*flight
	failures map[Key]*failure // of the last fetch of a key
	spares   map[Key]spare    // what the cache did not keep
	upstream upstream
	renewals renewals
	nextLog  map[string]time.Time // by what the line is about
	closed   bool
	running  sync.WaitGroup
}

func newSource(cfg *Config) *source {
	memory, _ := cfg.Cache.(*MemoryCache)
	claimer, _ := cfg.Cache.(Claimer)
	limiter, _ := cfg.Cache.(RenewalLimiter)
	return &source{
		memory: memory, claimer: claimer, limiter: limiter, issuer: cfg.Issuer, cache: cfg.Cache, logger: cfg.Logger, observe: cfg.Observe,
		slots:    make(chan struct{}, cmp.Or(cfg.MaxInFlight, defaultMaxInFlight)),
		flights:  map[flightKey]*flight{},
		failures: map[Key]*failure{},
		spares:   map[Key]spare{},
		renewals: renewals{},
		nextLog:  map[string]time.Time{},
	}
}

// epoch is when, between two Forgets, a request looked into the cache.
type epoch struct {
	cache, local uint64
	unknown      bool // the cache failed
}

// flightKey is what requests have to agree on to share a fetch.
type flightKey struct {
	Key
	epoch
}

// flight is a fetch that waits for its turn, or is under way. What stands below
// done is written before done is closed, and not read before.
type flight struct {
	order
	at         flightKey
	kind       EventKind // EventFetch, EventRefresh or EventRenew
	waiters    int       // requests; those who left do not count
	tracked    bool      // Close waits for it
	generation int       // of the upstream's failures, when it was called
	probe      bool      // the upstream's answer is awaited by all others

	done   chan struct{}
	token  Token
	issued bool // the token comes from the issuer, not from the cache
	again  bool // the user was forgotten meanwhile: waiters ask again
	err    error
}

// answer is what f brought for o: a token, an error, or neither.
func (f *flight) answer(o *order) (Token, error) {
	st := dead
	var limit *renewalLimitError
	switch {
	case o.rejected == "" && errors.As(f.err, &limit): // no concern of one who forces nothing
		return Token{}, nil
	case f.err != nil:
		return Token{}, f.err
	case f.again:
		return Token{}, nil
	case f.issued && f.token.Value == o.rejected:
		return Token{}, &unavailableError{errRejected, firstRetry}
	case f.issued: // later than whatever was rejected, which is only a claim
		st = o.lifeState(f.token, time.Now())
	default:
		st = o.state(f.token, time.Now())
	}
	if st == dead { // it outlives the session of o, for example
		return Token{}, nil
	}
	return f.token, nil
}

// token returns a token for o. It waits no longer than ctx; the fetch that it
// may start goes on.
func (s *source) token(ctx context.Context, o *order) (Token, error) {
	t, waiting, err := s.find(ctx, o)
	if waiting.IsZero() {
		s.event(EventHit, 0, nil)
	} else {
		s.event(EventMiss, time.Since(waiting), err)
	}
	return t, err
}

// find is token; waiting is since when it had to wait, or zero.
func (s *source) find(ctx context.Context, o *order) (t Token, waiting time.Time, err error) {
	for tries := 0; tries < maxTries; {
		t, epoch, now, cacheErr := s.lookup(ctx, o.key)
		switch o.state(t, now) {
		case nearExpiry:
			s.refresh(ctx, o, epoch)
			fallthrough
		case fresh:
			return t, waiting, nil
		}
		if waiting.IsZero() {
			waiting = now
		}
		switch {
		case ctx.Err() != nil:
			return Token{}, waiting, &unavailableError{context.Cause(ctx), firstRetry}
		case o.sessionEnded(now):
			return Token{}, waiting, noIdentity("the session has ended")
		}
		// Not earlier: nothing is cached for a user whom Coveo would refuse.
		if err := validateUserIDs(o.userIDs); err != nil {
			err = badIdentity(err)
			s.refused(ctx, err)
			return Token{}, waiting, err
		}
		// Good, had it not been rejected; or there is no knowing.
		forced := o.rejected != "" && (cacheErr != nil || o.lifeState(t, now) != dead)
		f, own, err := s.join(ctx, o, epoch, forced)
		if err != nil {
			return Token{}, waiting, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			s.leave(f)
			return Token{}, waiting, &unavailableError{context.Cause(ctx), firstRetry}
		}
		o.counted = o.counted || own && f.counted
		if t, err := f.answer(o); t.Value != "" || err != nil {
			return t, waiting, err
		}
		// What another's fetch brought for others is no try of this request's own.
		if own || f.again {
			tries++
		}
	}
	s.holdBack(o.key, errForgotten)
	return Token{}, waiting, &unavailableError{errForgotten, firstRetry}
}

// lookup asks the cache, and says when it answered. A failure is a miss, but for
// what this process has fetched itself of late.
func (s *source) lookup(ctx context.Context, key Key) (t Token, e epoch, at time.Time, err error) {
	e.local = s.localEpoch(key.User).Load() // before the token, like the cache's
	if s.memory != nil {
		at = now()
		t, e.cache = s.memory.get(&key, at)
		return t, e, at, nil
	}
	if t, e.cache, err = s.cache.Get(ctx, key); err != nil {
		s.cacheFailed(ctx, "Get", err)
		t, e = Token{}, epoch{local: e.local, unknown: true}
	}
	at = now()
	if t.Value == "" {
		t = s.spare(key, e, at)
	}
	return t, e, at, err
}

// spare is a token that the cache failed to keep.
type spare struct {
	token Token
	epoch epoch
	until time.Time
}

// spare returns the spare token under key if, for all that is known, its user was
// not forgotten before e.
func (s *source) spare(key Key, e epoch, now time.Time) Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	spare, ok := s.spares[key]
	if !ok || !now.Before(spare.until) || spare.epoch.local != e.local || !e.unknown && spare.epoch != e {
		return Token{}
	}
	return spare.token
}

// keepSpare serves t for a while without the cache.
func (s *source) keepSpare(key Key, t Token, e epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	makeRoom(s.spares, func(s spare) bool { return !now.Before(s.until) })
	s.spares[key] = spare{t, e, now.Add(spareLife)}
}

func (s *source) localEpoch(user UserKey) *atomic.Uint64 { return &s.epochs[user[24]] }

// join returns the fetch for o that is under way, or starts one of its own.
func (s *source) join(ctx context.Context, o *order, epoch epoch, forced bool) (f *flight, own bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f = s.flights[flightKey{o.key, epoch}]; f == nil {
		kind := EventFetch
		if forced {
			kind = EventRenew
		}
		if f, err = s.start(ctx, o, flightKey{o.key, epoch}, kind); err != nil {
			return nil, false, err
		}
		own = true
	}
	f.waiters++
	return f, own, nil
}

// leave is the end of join for a request that waits no longer.
func (s *source) leave(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waiters--
}

// refresh starts a fetch for o in the background, unless one is under way or
// would come too early. It does not queue with those that requests wait for.
func (s *source) refresh(ctx context.Context, o *order, epoch epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.slots) == cap(s.slots) || s.flights[flightKey{o.key, epoch}] != nil {
		return
	}
	// An error says that it is too early: the good token goes on.
	_, _ = s.start(ctx, o, flightKey{o.key, epoch}, EventRefresh)
}

// start starts a fetch, or says what holds it back. The caller holds mu.
func (s *source) start(ctx context.Context, o *order, at flightKey, kind EventKind) (*flight, error) {
	now := time.Now()
	if err := s.heldBack(o.key, now); err != nil {
		return nil, err
	}
	if kind == EventRenew && !o.allowed { // counted once, however often it has to try
		if err := s.renewals.allow(o.key.User, now); err != nil {
			return nil, err
		}
		o.allowed = true
	}
	f := &flight{order: *o, at: at, kind: kind, done: make(chan struct{}), err: &unavailableError{errBrokeOff, firstRetry}}
	params := o.params.clone() // the request may end before the fetch
	f.params, f.userIDs = &params, slices.Clone(o.userIDs)
	s.flights[at] = f
	if f.tracked = !s.closed; f.tracked {
		s.running.Add(1)
	}
	go s.run(context.WithoutCancel(ctx), f)
	return f, nil
}

// run carries out f when its turn has come. Whatever happens in it, f ends.
func (s *source) run(ctx context.Context, f *flight) {
	defer func() {
		if v := recover(); v != nil { // in Cache or Observe
			s.panicked(ctx, v)
			s.holdBack(f.key, errBrokeOff)
		}
		s.mu.Lock()
		s.end(f)
		s.mu.Unlock()
		close(f.done)
		<-s.slots
		if f.tracked {
			s.running.Done()
		}
	}()
	if !s.begin(f) {
		return
	}
	// Another process's fetch may take as long as this one.
	waiting, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	for ended := false; !ended; {
		ended = s.attempt(ctx, waiting, f)
	}
}

// attempt is fetch, by the one process whose turn it is.
func (s *source) attempt(ctx, waiting context.Context, f *flight) (ended bool) {
	if s.claimer == nil {
		return s.fetch(ctx, f, true)
	}
	release, err := s.claimer.Claim(waiting, f.key)
	switch {
	case release != nil:
		defer release()
	case waiting.Err() != nil: // the other process is slow
	case err != nil:
		s.cacheFailed(waiting, "Claim", err)
	default: // another process's fetch has ended, perhaps with a token
		return s.fetch(ctx, f, false)
	}
	return s.fetch(ctx, f, true)
}

// begin waits for the turn of f, and reports whether f is still wanted then.
func (s *source) begin(f *flight) bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	s.slots <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiters == 0 {
		s.end(f)
		return false
	}
	return true
}

// admit says what holds back the call of f, or notes that it begins.
func (s *source) admit(f *flight) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &s.upstream
	if err := s.heldBack(f.key, time.Now()); err != nil {
		return err
	}
	f.generation, f.probe = u.generation, u.err != nil
	u.probing = u.probing || f.probe
	return nil
}

// end makes place for another fetch of the same. The caller holds mu.
func (s *source) end(f *flight) {
	if s.flights[f.at] == f {
		delete(s.flights, f.at)
	}
	if f.probe {
		s.upstream.probing = false
	}
}

// fetch gets the token of f out of the cache, where another fetch may have put it
// since the request's look, or if it is this process's to get, from the issuer into
// the cache. It reports whether f has come to its end.
func (s *source) fetch(ctx context.Context, f *flight, own bool) (ended bool) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	// A slow cache leaves most of the time to the issuer.
	look, cancelLook := context.WithTimeout(ctx, fetchTimeout/4)
	cached, epoch, asked, _ := s.lookup(look, f.key)
	cancelLook()
	if epoch.local != f.at.local || !epoch.unknown && !f.at.unknown && epoch.cache != f.at.cache {
		f.again, f.err = true, nil
		return true
	}
	if st := f.state(cached, asked); st == fresh || st == nearExpiry && f.kind != EventRefresh {
		f.token, f.err = cached, nil
		return true
	}
	if !own {
		return false
	}
	if f.err = s.count(ctx, f); f.err != nil {
		return true
	}
	if f.err = s.admit(f); f.err != nil {
		return true
	}
	f.err = &unavailableError{errBrokeOff, firstRetry} // unless it comes to another end

	params := f.grant(asked)
	secrets := knownSecrets("", params) // before the issuer can change them
	t, err := s.issue(ctx, params)
	elapsed := time.Since(asked)
	if err == nil {
		t = dated(t, asked, params.validFor())
		err = f.unusable(t)
	}
	if err != nil {
		err = redact(err, secrets...)
		s.settle(f, err)
		f.err = s.unavailable(f.key, err)
		s.failed(ctx, f.kind, elapsed, f.err)
		return true
	}
	s.settle(f, f.nearExpiry(t))
	s.event(f.kind, elapsed, nil)
	f.again = !s.keep(ctx, f, t, epoch)
	f.token, f.issued, f.err = t, true, nil
	return true
}

// count counts a renewal that is forced, in all processes together.
func (s *source) count(ctx context.Context, f *flight) error {
	if f.kind != EventRenew || s.limiter == nil || f.counted {
		return nil
	}
	wait, err := s.limiter.AllowRenewal(ctx, f.key.User, renewalInterval, renewalBurst)
	if err != nil {
		s.cacheFailed(ctx, "AllowRenewal", err) // this process's own count holds
		return nil
	}
	if wait > 0 {
		return &renewalLimitError{wait}
	}
	f.counted = true
	return nil
}

// keep puts t into the cache, and reports whether the user was not forgotten since
// epoch. A Forget that the cache failed to carry out counts: what the cache keeps in
// spite of it is taken out again.
func (s *source) keep(ctx context.Context, f *flight, t Token, epoch epoch) bool {
	forgotten := func() bool { return s.localEpoch(f.key.User).Load() != epoch.local }
	switch {
	case forgotten():
		return false
	case f.kind == EventRenew && t.Value == f.rejected: // a renewal that brings nothing changes nothing
		_, later, _, _ := s.lookup(ctx, f.key)
		return later == epoch
	case epoch.unknown:
		s.keepSpare(f.key, t, epoch)
		return true
	}
	kept, err := s.cache.Set(ctx, f.key, t, epoch.cache)
	if err != nil {
		s.cacheFailed(ctx, "Set", err)
		s.keepSpare(f.key, t, epoch)
		kept = true
	}
	if err == nil {
		s.mu.Lock()
		delete(s.spares, f.key)
		s.mu.Unlock()
	}
	if kept && forgotten() {
		_, _ = s.cache.Set(ctx, f.key, Token{}, epoch.cache)
		return false
	}
	return kept
}

// issue asks the issuer, and waits no longer than ctx, whatever the issuer does.
func (s *source) issue(ctx context.Context, p TokenParams) (Token, error) {
	type answer struct {
		token Token
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{err: errBrokeOff}
		defer func() {
			if v := recover(); v != nil {
				s.panicked(ctx, v)
			}
			answers <- a
		}()
		a.token, a.err = s.issuer.Issue(ctx, p)
	}()
	select {
	case a := <-answers:
		return a.token, a.err
	case <-ctx.Done():
		return Token{}, fmt.Errorf("searchtoken: the issuer did not answer in time: %w", context.Cause(ctx))
	}
}

// dated completes the times of a token from any Issuer.
func dated(t Token, asked time.Time, validFor time.Duration) Token {
	if t.Issued.IsZero() || t.Issued.After(time.Now()) {
		t.Issued = asked
	}
	t.Issued, t.Expiry = t.Issued.Round(0), t.Expiry.Round(0)
	if t.Expiry.IsZero() {
		t.Expiry = expiry(t.Value, t.Issued, validFor)
	}
	if latest := t.Issued.Add(validFor); t.Expiry.After(latest) {
		t.Expiry = latest
	}
	return t
}

// unusable says why t, just issued, is good for nobody.
func (f *flight) unusable(t Token) error {
	switch {
	case t.Value == "":
		return &APIError{StatusCode: http.StatusOK, Message: "the issuer returned an empty token"}
	case f.marginState(t, time.Now()) == dead:
		return &APIError{StatusCode: http.StatusOK, Message: "the issuer returned a token that has expired"}
	}
	return nil
}

// nearExpiry says why t, just issued, would be fetched again at once. That has
// to wait, as after a failure.
func (f *flight) nearExpiry(t Token) error {
	if f.marginState(t, time.Now()) == nearExpiry {
		return &APIError{StatusCode: http.StatusOK, Message: "the issuer returned a token near its expiry"}
	}
	return nil
}

// forget removes the tokens of a user. Even if the cache fails to, no fetch that
// is under way serves a later request.
func (s *source) forget(ctx context.Context, user UserKey) (err error) {
	defer func() {
		s.localEpoch(user).Add(1) // last, as in a Cache
		s.mu.Lock()
		// The user's rights may have changed: what was refused may be granted.
		maps.DeleteFunc(s.failures, func(k Key, _ *failure) bool { return k.User == user })
		s.mu.Unlock()
		s.event(EventForget, 0, err)
	}()
	if err = s.cache.Forget(ctx, user); err != nil {
		s.cacheFailed(ctx, "Forget", err)
		err = redact(err)
	}
	return err
}

// shutdown stops refreshes and waits for the fetches in flight until ctx is done.
func (s *source) shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		s.running.Wait()
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backoff is a doubling pause after failures.
type backoff struct {
	err   error
	until time.Time // no fetch before
	tries int
}

// add notes another failure, and doubles the time until the next try.
func (b *backoff) add(err error, now time.Time) {
	delay := min(firstRetry<<min(b.tries, 10), maxRetry)
	delay = time.Duration(float64(delay) * (0.9 + 0.2*rand.Float64())) // that not all come back at once
	b.err, b.tries = err, b.tries+1
	b.until = now.Add(max(delay, RetryAfter(err)))
}

// failure is what is remembered of the fetches of a key that failed.
type failure struct {
	backoff
	temporary bool // the upstream failed, rather than refused
	recovery  int  // how often the upstream had recovered
}

// upstream is what is remembered of the failures of all keys together. While
// err is set, all fetches are held back but one probe after another.
type upstream struct {
	backoff
	row        int       // failures without another answer between
	retryAt    time.Time // the platform asked for no call before
	generation int       // counts the additions to backoff
	recoveries int       // counts the ends of backoff
	probing    bool      // a probe is under way
}

// heldBack says why no fetch may start for key. The caller holds mu.
func (s *source) heldBack(key Key, now time.Time) error {
	u := &s.upstream
	if u.err != nil && (u.probing || now.Before(u.until)) {
		return &unavailableError{u.err, max(u.until.Sub(now), firstRetry)}
	}
	f := s.failures[key]
	if f == nil || !now.Before(f.until) || f.temporary && f.recovery != u.recoveries {
		return nil
	}
	return &unavailableError{f.err, f.until.Sub(now)}
}

// settle draws the conclusions from how the issuer answered f.
func (s *source) settle(f *flight, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, u := time.Now(), &s.upstream
	switch {
	case err == nil:
		delete(s.failures, f.key)
	case s.localEpoch(f.key.User).Load() == f.at.local: // else the user was forgotten, refusals included
		s.remember(f.key, err, isTemporary(err))
	}
	if err == nil || !isTemporary(err) {
		u.row = 0
		switch {
		case u.err == nil:
			u.retryAt = time.Time{} // nothing was held back for its sake
		case !now.Before(u.retryAt):
			u.backoff = backoff{}
			u.recoveries++
		}
		return
	}
	u.row++
	if after := RetryAfter(err); after > 0 {
		u.retryAt = latest(u.retryAt, now.Add(after))
	}
	var api *APIError
	limited := errors.As(err, &api) && api.StatusCode == http.StatusTooManyRequests
	// What was in the air when the last failure was added adds none.
	if (limited || u.row >= failuresInARow) && (u.err == nil || f.generation == u.generation) {
		u.add(err, now)
		u.generation++
	}
	u.until = latest(u.until, u.retryAt)
}

// holdBack notes a failure of key that has nothing to do with the upstream.
func (s *source) holdBack(key Key, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(key, err, false)
}

// remember notes that the fetch of key failed. The caller holds mu.
func (s *source) remember(key Key, err error, temporary bool) {
	now := time.Now()
	f := s.failures[key]
	switch {
	case f == nil:
		makeRoom(s.failures, func(f *failure) bool { return !now.Before(f.until) })
		f = &failure{}
		s.failures[key] = f
	case f.temporary && f.recovery != s.upstream.recoveries:
		*f = failure{}
	}
	f.temporary, f.recovery = temporary, s.upstream.recoveries
	f.add(err, now)
}

// makeRoom keeps m from growing beyond maxRemembered: idle values go first. It
// makes room for many at a time, since it looks at all of m.
func makeRoom[K comparable, V any](m map[K]V, idle func(V) bool) {
	if len(m) < maxRemembered {
		return
	}
	maps.DeleteFunc(m, func(_ K, v V) bool { return idle(v) })
	for k := range m {
		if len(m) <= maxRemembered/4*3 {
			return
		}
		delete(m, k)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// isTemporary reports whether err says that the upstream failed, rather than
// that it refused this request.
func isTemporary(err error) bool {
	var api *APIError
	return !errors.As(err, &api) || api.temporary()
}

// unavailable wraps the cause for which there is no token for key.
func (s *source) unavailable(key Key, cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.heldBack(key, time.Now()); err != nil {
		return &unavailableError{cause, RetryAfter(err)}
	}
	return &unavailableError{cause, firstRetry}
}

// event reports to Config.Observe.
func (s *source) event(kind EventKind, elapsed time.Duration, err error) {
	if s.observe != nil {
		s.observe(Event{kind, elapsed, err})
	}
}

// failed reports a fetch that failed, to the log once a minute for each status.
func (s *source) failed(ctx context.Context, kind EventKind, elapsed time.Duration, err error) {
	s.event(kind, elapsed, err)
	level, occasion := slog.LevelWarn, "no answer"
	var api *APIError
	if errors.As(err, &api) {
		// Not the text, in which each answer has another request ID.
		occasion = "answer " + strconv.Itoa(api.StatusCode)
		if !api.temporary() {
			level = slog.LevelError // it will not mend itself: a wrong key, for example
		}
	}
	if s.mayLog(occasion) {
		s.logger.Log(ctx, level, "searchtoken: no search token", "event", kind, "error", err)
	}
}

// refused reports that a request is one for which there can be no token.
func (s *source) refused(ctx context.Context, err error) {
	if err = redact(err); s.mayLog(err.Error()) {
		s.logger.ErrorContext(ctx, "searchtoken: the request gets no token", "error", err)
	}
}

// cacheFailed reports an error of the cache, unless the visitor went away.
func (s *source) cacheFailed(ctx context.Context, method string, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	err = redact(err)
	s.event(EventCacheError, 0, err)
	if s.mayLog("cache " + method) {
		s.logger.WarnContext(ctx, "searchtoken: the cache fails", "method", method, "error", err)
	}
}

// mayLog reports whether it is time for another log line on the same occasion.
func (s *source) mayLog(occasion string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.nextLog[occasion]) {
		return false
	}
	makeRoom(s.nextLog, func(next time.Time) bool { return !now.Before(next) })
	s.nextLog[occasion] = now.Add(logInterval)
	return true
}

// panicked reports a panic of the application's code on a goroutine of ours. Its
// value may be anything, a secret for example.
func (s *source) panicked(ctx context.Context, v any) {
	defer func() { _ = recover() }() // v, or the Logger, may panic in its turn
	reason := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		reason = redactText(err.Error())
	}
	s.logger.ErrorContext(ctx, "searchtoken: panic while fetching a token", "panic", reason, "stack", string(debug.Stack()))
}

// unavailableError is an ErrUnavailable with its cause.
type unavailableError struct {
	cause      error
	retryAfter time.Duration
}

func (e *unavailableError) Error() string        { return ErrUnavailable.Error() + ": " + e.cause.Error() }
func (e *unavailableError) Is(target error) bool { return target == ErrUnavailable }
func (e *unavailableError) Unwrap() error        { return e.cause }
