// Package breaker is a circuit breaker for an upstream that many keys of many
// owners share.
//
// A key whose call failed waits before its next call: 1 second, doubling to 1
// minute, with a jitter of a tenth. Failures in a row of [TripAfter] different
// owners, or one Blocked call, open the breaker of the whole upstream with the
// same delays. Then one probe at a time is allowed, until a call shows that the
// upstream works. Owners without failures go first, and an owner that goes on
// failing after a recovery does not count, so that nobody can keep others out
// by failing. A RetryAfter of the upstream sets the earliest next
// call. At most [MaxKeys] failed keys and as many owners are remembered.
package breaker

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// FirstRetry is the delay after the first failure, before the jitter.
	FirstRetry = time.Second
	// MaxRetry is the longest delay that failures lead to, before the jitter. A
	// RetryAfter may be longer.
	MaxRetry = time.Minute
	// TripAfter is the number of owners whose failures in a row open the
	// breaker of the upstream.
	TripAfter = 3
	// MaxKeys is the number of failed keys that are remembered. Beyond it, the
	// keys whose delay ends first are forgotten.
	MaxKeys = 4096

	// How long a probe is kept for owners without failures, if one of them has
	// asked for it.
	probeGrace = 5 * time.Second
)

// Result says how a call ended.
type Result int

const (
	// Succeeded: the upstream answered as it should.
	Succeeded Result = iota
	// Refused: the upstream works, but refused this call.
	Refused
	// Failed: the upstream failed, or could not be reached.
	Failed
	// Blocked: the upstream accepts no call at the moment. It asked for fewer
	// calls, or does not know the caller.
	Blocked
)

// Outcome says how a call ended. The zero Outcome is that of a success.
type Outcome struct {
	Result     Result
	Err        error         // required unless the call succeeded
	RetryAfter time.Duration // the upstream wants no call before; 0 if it did not say
}

// Open is the error of a call that may not be made.
type Open struct {
	Err        error         // of the call that opened the breaker
	RetryAfter time.Duration // how long to wait before the next call; more than 0
}

// Error returns the text of the error that opened the breaker.
func (o *Open) Error() string { return "breaker: open: " + o.Err.Error() }

// Unwrap returns the error that opened the breaker.
func (o *Open) Unwrap() error { return o.Err }

// A Breaker says which keys may be called. The zero Breaker is ready for use,
// and a Breaker is safe for concurrent use.
type Breaker[O, K comparable] struct {
	mu       sync.Mutex // guards the fields below
	keys     map[K]*keyState
	upstream upstreamState[O]
}

// Call is a call that [Breaker.Begin] allowed.
type Call[O, K comparable] struct {
	owner      O
	key        K
	generation int  // of the upstream's failures when the call began
	recoveries int  // of the upstream when the call began
	probe      bool // all other calls wait for this one
}

// Check returns an *[Open] if key may not be called at the moment, else nil.
func (b *Breaker[O, K]) Check(owner O, key K) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.check(owner, key, time.Now())
}

// Begin returns a Call if key may be called, else an *[Open]. After the call,
// use [Breaker.Report] and, in any case, [Breaker.End].
func (b *Breaker[O, K]) Begin(owner O, key K) (Call[O, K], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.check(owner, key, time.Now()); err != nil {
		return Call[O, K]{}, err
	}
	u := &b.upstream
	call := Call[O, K]{owner: owner, key: key, generation: u.generation, recoveries: u.recoveries, probe: u.err != nil}
	u.probing = u.probing || call.probe
	return call, nil
}

// Change says what a Report did to the breaker of the whole upstream.
type Change struct {
	Opened, Closed bool
	OpenFor        time.Duration // if Closed: how long it was open
}

// Report updates the delays after a call. A call that was canceled needs no
// Report.
func (b *Breaker[O, K]) Report(call Call[O, K], o Outcome) Change {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if o.Result == Succeeded {
		delete(b.keys, call.key)
	} else {
		b.addFailure(call.key, o, now)
	}
	if o.Result == Failed || o.Result == Blocked {
		return b.upstream.failed(call.owner, call.generation, call.recoveries, o, now)
	}
	return b.upstream.answered(call.owner, now)
}

// Upstream returns whether the breaker of the whole upstream is open, and the
// time of the next probe. That time has passed if nobody has asked since, or if
// a probe is in flight.
func (b *Breaker[O, K]) Upstream() (until time.Time, open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.upstream.err == nil {
		return time.Time{}, false
	}
	return b.upstream.until, true
}

// End ends a call, and must be used once for each. After a probe, it allows the
// next one.
func (b *Breaker[O, K]) End(call Call[O, K]) {
	if call.probe {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.upstream.probing = false
	}
}

// Hold delays the next call of key after a failure that has nothing to do with
// the upstream.
func (b *Breaker[O, K]) Hold(key K, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addFailure(key, Outcome{Result: Refused, Err: err}, time.Now())
}

// check is Check. The caller holds mu.
func (b *Breaker[O, K]) check(owner O, key K, now time.Time) error {
	u := &b.upstream
	if u.err != nil {
		if wait := u.wait(owner, now); wait > 0 {
			return &Open{u.err, wait}
		}
	}
	s := b.keys[key]
	if s == nil || !now.Before(s.until) || s.outdated(u.recoveries) {
		return nil
	}
	return &Open{s.err, s.until.Sub(now)}
}

// addFailure remembers that a call of key failed. The caller holds mu.
func (b *Breaker[O, K]) addFailure(key K, o Outcome, now time.Time) {
	u := &b.upstream
	s := b.keys[key]
	switch {
	case s == nil:
		b.makeRoom(now)
		s = &keyState{}
		b.keys[key] = s
	case s.outdated(u.recoveries):
		*s = keyState{}
	}
	s.upstreamFailed, s.recoveries = o.Result == Failed || o.Result == Blocked, u.recoveries
	s.add(o, now)
}

// makeRoom makes sure that another key fits into b.keys. It removes many keys
// at a time, because it looks at all of them. The caller holds mu.
func (b *Breaker[O, K]) makeRoom(now time.Time) {
	if b.keys == nil {
		b.keys = map[K]*keyState{}
	}
	if len(b.keys) < MaxKeys {
		return
	}
	maps.DeleteFunc(b.keys, func(_ K, s *keyState) bool { return !now.Before(s.until) })
	byEnd := slices.SortedFunc(maps.Keys(b.keys), func(a, c K) int { return b.keys[a].until.Compare(b.keys[c].until) })
	for _, key := range byEnd[:max(len(byEnd)-MaxKeys/4*3, 0)] {
		delete(b.keys, key)
	}
}

// backoff is a delay that doubles with each failure.
type backoff struct {
	err   error     // the last failure; nil if there was none
	until time.Time // the earliest next call
	tries int
}

// add adds a failure. The jitter keeps clients from retrying in step.
func (b *backoff) add(o Outcome, now time.Time) {
	delay := min(FirstRetry<<min(b.tries, 10), MaxRetry)
	delay = time.Duration(float64(delay) * (0.9 + 0.2*rand.Float64()))
	b.err, b.tries = o.Err, b.tries+1
	b.until = now.Add(max(delay, o.RetryAfter))
}

// keyState is the backoff of one key.
type keyState struct {
	backoff
	upstreamFailed bool // the last failure was the upstream's
	recoveries     int  // of the upstream at that time
}

// outdated reports whether the upstream, which has recovered so many times, has
// recovered from the failure of s.
func (s *keyState) outdated(recoveries int) bool {
	return s.upstreamFailed && s.recoveries != recoveries
}

// upstreamState is the backoff of all keys together. The breaker of the
// upstream is open while err is set.
type upstreamState[O comparable] struct {
	backoff
	row        map[O]struct{} // owners whose calls failed since the last answer
	failing    map[O]failing  // owners whose last call failed
	openedAt   time.Time      // when err was set
	retryAt    time.Time      // the upstream wants no call before
	generation int            // counts the additions to backoff
	recoveries int            // counts how often the breaker closed
	probing    bool           // a probe is in flight
	othersAsk  bool           // an owner without failures was refused since the last addition
}

// failing describes the failures of an owner.
type failing struct {
	recoveries int  // of the upstream at the last failure
	alone      bool // it went on failing after the upstream had recovered
}

// wait returns how long an owner has to wait while the breaker is open. 0 means
// that the owner's call is the probe.
func (u *upstreamState[O]) wait(owner O, now time.Time) time.Duration {
	f, known := u.failing[owner]
	failing := known && (f.alone || f.recoveries == u.recoveries)
	until := u.until
	if failing && u.othersAsk {
		until = until.Add(probeGrace)
	}
	if !u.probing && !now.Before(until) {
		return 0
	}
	u.othersAsk = u.othersAsk || !failing
	return max(until.Sub(now), FirstRetry)
}

// answered notes that the upstream works. That closes the breaker, unless the
// upstream asked for a longer pause.
func (u *upstreamState[O]) answered(owner O, now time.Time) (c Change) {
	clear(u.row)
	delete(u.failing, owner)
	switch {
	case u.err == nil:
		u.retryAt = time.Time{}
	case !now.Before(u.retryAt):
		u.backoff = backoff{}
		u.othersAsk = false
		u.recoveries++
		c = Change{Closed: true, OpenFor: now.Sub(u.openedAt)}
	}
	return c
}

// failed notes that the upstream failed. While the breaker is open, only a
// probe raises the delay: the other calls began before the last addition to it.
func (u *upstreamState[O]) failed(owner O, generation, recoveries int, o Outcome, now time.Time) Change {
	if u.row == nil {
		u.row, u.failing = map[O]struct{}{}, map[O]failing{}
	}
	f, known := u.failing[owner]
	f.alone = f.alone || known && f.recoveries < recoveries
	// Failures of an owner that fails alone say nothing about the upstream.
	if !f.alone && len(u.row) < TripAfter {
		u.row[owner] = struct{}{}
	}
	u.noteFailing(owner, f.alone)
	if o.RetryAfter > 0 {
		u.retryAt = latest(u.retryAt, now.Add(o.RetryAfter))
	}
	opens := u.err == nil && (o.Result == Blocked || len(u.row) >= TripAfter)
	probeFailed := u.err != nil && generation == u.generation
	if opens {
		u.openedAt = now
	}
	if opens || probeFailed {
		u.add(o, now)
		u.othersAsk = false
		u.generation++
	}
	u.until = latest(u.until, u.retryAt)
	return Change{Opened: opens}
}

// noteFailing remembers that an owner's last call failed. At the bound, owners
// from before the last recovery go first, then any.
func (u *upstreamState[O]) noteFailing(owner O, alone bool) {
	if _, known := u.failing[owner]; !known && len(u.failing) >= MaxKeys {
		maps.DeleteFunc(u.failing, func(_ O, f failing) bool { return f.recoveries != u.recoveries })
		for other := range u.failing {
			if len(u.failing) < MaxKeys {
				break
			}
			delete(u.failing, other)
		}
	}
	u.failing[owner] = failing{u.recoveries, alone}
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
