package searchtoken

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/searchtoken/searchtoken/internal/redact"
)

const (
	// How long this process serves a token that the Cache could not store. It
	// does not learn what other processes forget meanwhile.
	fallbackLife = time.Minute

	// The number of entries in each table of this process: fallbacks, users who
	// renew, subjects of log lines.
	maxRemembered = 4096
)

// store is the Cache, and what this process remembers while the Cache fails. It
// is safe for concurrent use.
type store struct {
	cache    Cache
	memory   *MemoryCache // the same Cache, if it is one: a hit then reads the clock once
	reporter *reporter

	// forgets counts the Forgets of this process, in case the Cache fails to
	// forget. Users share the counters.
	forgets [256]atomic.Uint64

	mu        sync.Mutex // guards fallbacks
	fallbacks map[Key]fallback
}

// epoch identifies the period between two Forgets of a user.
type epoch struct {
	cache, local uint64
	unknown      bool // the Cache failed, so cache has no meaning
}

// endedBefore reports whether the user was forgotten between e and later, as
// far as the Cache could tell.
func (e epoch) endedBefore(later epoch) bool {
	return e.local != later.local || !e.unknown && !later.unknown && e.cache != later.cache
}

// found is the result of a look into the store.
type found struct {
	token Token // zero if there is none
	epoch epoch
	at    time.Time // when the Cache answered
	err   error     // the Cache failed
}

// fallback is a token that the Cache could not store.
type fallback struct {
	token Token
	epoch epoch
	until time.Time
}

func newStore(cache Cache, r *reporter) *store {
	memory, _ := cache.(*MemoryCache)
	return &store{cache: cache, memory: memory, reporter: r, fallbacks: map[Key]fallback{}}
}

// get looks for the token under key. If the Cache fails, it returns the
// fallback, if there is one.
func (s *store) get(ctx context.Context, key Key) (f found) {
	f.epoch.local = s.localForgets(key.User).Load() // before the token, like the Cache's epoch
	if s.memory != nil {
		f.at = now()
		f.token, f.epoch.cache = s.memory.get(&key, f.at)
		return f
	}
	if f.token, f.epoch.cache, f.err = s.cache.Get(ctx, key); f.err != nil {
		s.reporter.cacheFailed(ctx, "Get", f.err)
		f.token, f.epoch.cache, f.epoch.unknown = Token{}, 0, true
	}
	f.at = now()
	if f.token.Value == "" {
		f.token = s.fallback(key, f.epoch, f.at)
	}
	return f
}

// put stores a token that was fetched in an epoch, and reports whether the user
// was not forgotten since. If the Cache failed to forget the user, put removes
// what the Cache stored in spite of that.
func (s *store) put(ctx context.Context, key Key, t Token, e epoch) (kept bool) {
	forgotten := func() bool { return s.localForgets(key.User).Load() != e.local }
	if forgotten() {
		return false
	}
	if e.unknown {
		s.setFallback(key, t, e)
		return true
	}
	kept, err := s.cache.Set(ctx, key, t, e.cache)
	if err != nil {
		s.reporter.cacheFailed(ctx, "Set", err)
		s.setFallback(key, t, e)
		kept = true
	} else {
		s.deleteFallback(key)
	}
	if kept && forgotten() {
		_, _ = s.cache.Set(ctx, key, Token{}, e.cache)
		return false
	}
	return kept
}

// forget removes the tokens of a user. Even if the Cache fails to, no later
// request gets a token whose fetch is in flight.
func (s *store) forget(ctx context.Context, user UserKey) error {
	defer s.localForgets(user).Add(1) // last, as in a Cache
	if err := s.cache.Forget(ctx, user); err != nil {
		s.reporter.cacheFailed(ctx, "Forget", err)
		return redact.Error(err)
	}
	return nil
}

func (s *store) localForgets(user UserKey) *atomic.Uint64 { return &s.forgets[user[24]] }

// fallback returns the fallback under key, unless its user was forgotten before
// e.
func (s *store) fallback(key Key, e epoch, now time.Time) Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.fallbacks[key]
	if !ok || !now.Before(f.until) || f.epoch.local != e.local || !e.unknown && f.epoch != e {
		return Token{}
	}
	return f.token
}

func (s *store) setFallback(key Key, t Token, e epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	makeRoom(s.fallbacks, func(f fallback) bool { return !now.Before(f.until) })
	s.fallbacks[key] = fallback{t, e, now.Add(fallbackLife)}
}

func (s *store) deleteFallback(key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.fallbacks, key)
}

// makeRoom makes sure that another entry fits into m. Idle entries go first,
// then any. It removes many at a time, because it looks at all of them.
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
