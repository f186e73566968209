// Package breaker is a circuit breaker for an upstream that many keys share.
//
// A key whose call failed waits before its next call: 1 second, doubling to 1
// minute, with a jitter of a tenth. [TripAfter] failures in a row, of any keys,
// or one Limited call open the breaker of the whole upstream with the same
// delays. Then one probe at a time is allowed, until a call shows that the
// upstream works. A Retry-After of the upstream sets the earliest next call.
// At most [MaxKeys] failed keys are remembered.
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
	// TripAfter is the number of failures in a row that open the breaker of the
	// upstream.
	TripAfter = 3
	// MaxKeys is the number of failed keys that are remembered. Beyond it, the
	// keys whose delay ends first are forgotten.
	MaxKeys = 4096
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
	// Limited: the upstream asked for fewer calls.
	Limited
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
	RetryAfter time.Duration // until it is worth to ask again; more than 0
}

// Error returns the text of the error that opened the breaker.
func (o *Open) Error() string { return "breaker: open: " + o.Err.Error() }

// Unwrap returns the error that opened the breaker.
func (o *Open) Unwrap() error { return o.Err }

// A Breaker says which keys may be called. The zero Breaker is ready for use,
// and a Breaker is safe for concurrent use.
type Breaker[K comparable] struct {
	mu       sync.Mutex // guards the fields below
	keys     map[K]*keyState
	upstream upstreamState
}

// Call is a call that [Breaker.Begin] allowed.
type Call[K comparable] struct {
	key        K
	generation int  // of the upstream's failures when the call began
	probe      bool // all other calls wait for this one
}

// Check returns an *[Open] if key may not be called at the moment, else nil.
func (b *Breaker[K]) Check(key K) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.check(key, time.Now())
}

// Begin returns a Call if key may be called, else an *[Open]. After the call,
// use [Breaker.Report] and, in any case, [Breaker.End].
func (b *Breaker[K]) Begin(key K) (Call[K], error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.check(key, time.Now()); err != nil {
		return Call[K]{}, err
	}
	u := &b.upstream
	call := Call[K]{key: key, generation: u.generation, probe: u.err != nil}
	u.probing = u.probing || call.probe
	return call, nil
}

// Report updates the delays after a call. A call that was canceled needs no
// Report.
func (b *Breaker[K]) Report(call Call[K], o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if o.Result == Succeeded {
		delete(b.keys, call.key)
	} else {
		b.addFailure(call.key, o, now)
	}
	if o.Result == Failed || o.Result == Limited {
		b.upstream.failed(call.generation, o, now)
	} else {
		b.upstream.answered(now)
	}
}

// End ends a call, and must be used once for each. After a probe, it allows the
// next one.
func (b *Breaker[K]) End(call Call[K]) {
	if call.probe {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.upstream.probing = false
	}
}

// Hold delays the next call of key after a failure that has nothing to do with
// the upstream.
func (b *Breaker[K]) Hold(key K, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addFailure(key, Outcome{Result: Refused, Err: err}, time.Now())
}

// check is Check. The caller holds mu.
func (b *Breaker[K]) check(key K, now time.Time) error {
	u := &b.upstream
	if u.err != nil && (u.probing || now.Before(u.until)) {
		return &Open{u.err, max(u.until.Sub(now), FirstRetry)}
	}
	s := b.keys[key]
	if s == nil || !now.Before(s.until) || s.outdated(u) {
		return nil
	}
	return &Open{s.err, s.until.Sub(now)}
}

// addFailure remembers that a call of key failed. The caller holds mu.
func (b *Breaker[K]) addFailure(key K, o Outcome, now time.Time) {
	u := &b.upstream
	s := b.keys[key]
	switch {
	case s == nil:
		b.makeRoom()
		s = &keyState{}
		b.keys[key] = s
	case s.outdated(u):
		*s = keyState{}
	}
	s.upstreamFailed, s.recoveries = o.Result == Failed || o.Result == Limited, u.recoveries
	s.add(o, now)
}

// makeRoom makes sure that another key fits into b.keys. It removes a quarter
// of the keys at a time, because it looks at all of them. The caller holds mu.
func (b *Breaker[K]) makeRoom() {
	if b.keys == nil {
		b.keys = map[K]*keyState{}
	}
	if len(b.keys) < MaxKeys {
		return
	}
	byEnd := slices.SortedFunc(maps.Keys(b.keys), func(a, c K) int { return b.keys[a].until.Compare(b.keys[c].until) })
	for _, key := range byEnd[:MaxKeys/4] {
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

// outdated reports whether the upstream has recovered from the failure of s.
func (s *keyState) outdated(u *upstreamState) bool {
	return s.upstreamFailed && s.recoveries != u.recoveries
}

// upstreamState is the backoff of all keys together. The breaker of the
// upstream is open while err is set.
type upstreamState struct {
	backoff
	failures   int       // in a row
	retryAt    time.Time // the upstream wants no call before
	generation int       // counts the additions to backoff
	recoveries int       // counts how often the breaker closed
	probing    bool      // a probe is in flight
}

// answered notes that the upstream works. That closes the breaker, unless the
// upstream asked for a longer pause.
func (u *upstreamState) answered(now time.Time) {
	u.failures = 0
	switch {
	case u.err == nil:
		u.retryAt = time.Time{}
	case !now.Before(u.retryAt):
		u.backoff = backoff{}
		u.recoveries++
	}
}

// failed notes that the upstream failed. While the breaker is open, only a
// probe raises the delay: the other calls began before the last addition to it.
func (u *upstreamState) failed(generation int, o Outcome, now time.Time) {
	u.failures++
	if o.RetryAfter > 0 {
		u.retryAt = latest(u.retryAt, now.Add(o.RetryAfter))
	}
	opens := u.err == nil && (o.Result == Limited || u.failures >= TripAfter)
	probeFailed := u.err != nil && generation == u.generation
	if opens || probeFailed {
		u.add(o, now)
		u.generation++
	}
	u.until = latest(u.until, u.retryAt)
}

// latest returns the later of two times.
func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
