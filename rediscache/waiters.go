package rediscache

import (
	"sync"

	"github.com/redis/rueidis"
)

// waiters wakes callers of Cache.Claim when the entry that they wait for
// changes. The zero value is ready to use. It is safe for concurrent use.
type waiters struct {
	mu      sync.Mutex // guards entries and each subscription's count
	entries map[string]*subscription
}

// subscription is shared by all callers that wait for one entry.
type subscription struct {
	changed chan struct{}
	count   int
}

// subscribe returns a channel that is closed when entry changes next. The
// caller must call unsubscribe once.
func (w *waiters) subscribe(entry string) (changed <-chan struct{}, unsubscribe func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.entries[entry]
	if s == nil {
		if w.entries == nil {
			w.entries = map[string]*subscription{}
		}
		s = &subscription{changed: make(chan struct{})}
		w.entries[entry] = s
	}
	s.count++
	return s.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if s.count--; s.count == 0 && w.entries[entry] == s {
			delete(w.entries, entry)
		}
	}
}

// onInvalidation wakes the callers that wait for the given Redis keys. rueidis
// calls it with nil if any key may have changed.
func (w *waiters) onInvalidation(keys []rueidis.RedisMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if keys == nil {
		for entry := range w.entries {
			w.wake(entry)
		}
	}
	for i := range keys {
		if entry, err := keys[i].ToString(); err == nil {
			w.wake(entry)
		}
	}
}

// wake wakes the callers that wait for entry. The caller holds mu.
func (w *waiters) wake(entry string) {
	if s := w.entries[entry]; s != nil {
		close(s.changed)
		delete(w.entries, entry)
	}
}
