package rediscache

import (
	"sync/atomic"
	"time"
)

// retryInterval is the time between two attempts while Redis fails.
const retryInterval = time.Second

// breaker is a circuit breaker. It opens when an operation fails, and then
// allows one operation per retryInterval until one succeeds. The zero breaker
// is closed. It is safe for concurrent use.
type breaker struct {
	failure atomic.Pointer[failure] // nil: closed
}

// failure is the state of an open breaker.
type failure struct {
	err     error
	retryAt time.Time // no operation is allowed before
}

// isOpen reports whether the latest operation failed.
func (b *breaker) isOpen() bool { return b.failure.Load() != nil }

// allow returns nil if an operation may run, and otherwise the error of the
// operation that failed. Of concurrent callers at the time of a retry, one is
// allowed.
func (b *breaker) allow() error {
	f := b.failure.Load()
	if f == nil {
		return nil
	}
	now := time.Now()
	if now.Before(f.retryAt) || !b.failure.CompareAndSwap(f, &failure{f.err, now.Add(retryInterval)}) {
		return f.err
	}
	return nil
}

// succeed closes the breaker. It writes only if necessary: every hit calls it.
func (b *breaker) succeed() {
	if b.isOpen() {
		b.failure.Store(nil)
	}
}

// fail opens the breaker, or keeps it open.
func (b *breaker) fail(err error) {
	b.failure.Store(&failure{err, time.Now().Add(retryInterval)})
}
