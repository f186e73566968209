package searchtoken

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// How long this process serves a token that the Cache could not store. It
	// does not learn what other processes forget meanwhile.
	fallbackLife = time.Minute

	// The number of entries in each table of this process: fallbacks, users who
	// renew.
	maxRemembered = 4096
)

// store is the Cache, and what this process remembers while the Cache fails. It
// is safe for concurrent use.
type store struct {
	cache    Cache
	memory   *MemoryCache // the same Cache, if it is one: it never fails
	reporter *reporter

	mu            sync.Mutex            // guards the maps
	fallbacks     map[Key]fallback      // tokens that the Cache could not store
	forgets       map[UserKey]time.Time // when each user was forgotten
	failedForgets map[UserKey]time.Time // when the Cache failed to forget a user
	corrections   atomic.Int64          // entries of fallbacks and failedForgets; a hit takes no lock if it is 0
}

// epoch identifies the period between two Forgets of a user.
type epoch struct {
	number  uint64 // the Cache's
	unknown bool   // the Cache failed, so number has no meaning
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
	token     Token
	epoch     epoch
	requested time.Time
	until     time.Time
}

func newStore(cache Cache, r *reporter) *store {
	memory, _ := cache.(*MemoryCache)
	return &store{
		cache: cache, memory: memory, reporter: r,
		fallbacks: map[Key]fallback{}, forgets: map[UserKey]time.Time{}, failedForgets: map[UserKey]time.Time{},
	}
}

// get looks for the token under key. If the Cache fails, it returns the
// fallback, if there is one.
func (s *store) get(ctx context.Context, key Key) (f found) {
	if s.memory != nil {
		f.at = now() // once: a hit has no time to lose
		f.token, f.epoch.number = s.memory.get(&key, f.at)
		return f
	}
	if f.token, f.epoch.number, f.err = s.cache.Get(ctx, key); f.err != nil {
		s.reporter.cacheFailed(ctx, "Get", f.err)
		f.token, f.epoch = Token{}, epoch{unknown: true}
	}
	f.at = now()
	if s.corrections.Load() > 0 {
		f.token = s.correct(key, f)
	}
	return f
}

// correct returns the token of f, or the fallback if there is none. A token
// from before the last Forget of its user does not count. A fallback ends when
// the Cache answers again, unless the Cache has only failed to store it.
func (s *store) correct(key Key, f found) Token {
	s.mu.Lock()
	defer s.unlock()
	if at, ok := s.failedForgets[key.User]; ok && !f.token.Issued.After(at) {
		f.token = Token{}
	}
	fb, ok := s.fallbacks[key]
	switch {
	case !ok:
	case !f.at.Before(fb.until), !fb.requested.After(s.forgets[key.User]), f.err == nil && fb.epoch != f.epoch:
		delete(s.fallbacks, key)
	case f.token.Value == "":
		return fb.token
	}
	return f.token
}

// unlock updates corrections.
func (s *store) unlock() {
	s.corrections.Store(int64(len(s.fallbacks) + len(s.failedForgets)))
	s.mu.Unlock()
}

// put stores a token that was requested at a time and in an epoch, and reports
// whether the user was not forgotten since.
func (s *store) put(ctx context.Context, key Key, t Token, requested time.Time, e epoch) (kept bool) {
	if e.unknown {
		s.setFallback(key, t, requested, e)
		return true
	}
	kept, err := s.cache.Set(ctx, key, t, e.number)
	if err != nil {
		s.reporter.cacheFailed(ctx, "Set", err)
		s.setFallback(key, t, requested, e)
		return true
	}
	if s.corrections.Load() > 0 {
		s.mu.Lock()
		defer s.unlock()
		delete(s.fallbacks, key)
	}
	return kept
}

// setFallback serves t for a while if the Cache does not.
func (s *store) setFallback(key Key, t Token, requested time.Time, e epoch) {
	s.mu.Lock()
	defer s.unlock()
	at := now()
	makeRoom(s.fallbacks, func(f fallback) bool { return !at.Before(f.until) })
	s.fallbacks[key] = fallback{t, e, requested, at.Add(fallbackLife)}
}

// forget removes the tokens of a user. If the Cache fails to, get ignores them.
func (s *store) forget(ctx context.Context, user UserKey) error {
	err := s.cache.Forget(ctx, user)
	if err != nil {
		s.reporter.cacheFailed(ctx, "Forget", err)
		err = redacted(err)
	}
	if s.memory == nil {
		s.remember(user, err != nil)
	}
	return err
}

// remember notes a Forget. One that failed counts as long as a token may live.
func (s *store) remember(user UserKey, failed bool) {
	s.mu.Lock()
	defer s.unlock()
	at := now()
	makeRoom(s.forgets, func(other time.Time) bool { return at.Sub(other) > 2*fallbackLife })
	s.forgets[user] = at
	delete(s.failedForgets, user)
	if failed {
		makeRoom(s.failedForgets, func(other time.Time) bool { return at.Sub(other) > maxValidFor })
		s.failedForgets[user] = at
	}
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
