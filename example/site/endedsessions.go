package site

import (
	"context"
	"maps"
	"sync"
	"time"
)

// EndedSessions remembers which sessions have ended. A signed cookie cannot
// tell: a copy of it stays valid after its owner has logged out. Both methods
// must be safe for concurrent use and return when ctx is done.
type EndedSessions interface {
	// End records that the session with this ID has ended. The record must last
	// for life.
	End(ctx context.Context, id string, life time.Duration) error
	// Ended reports whether End was called for this ID. If Ended returns an
	// error, the site treats the session as not ended.
	Ended(ctx context.Context, id string) (bool, error)
}

const sweepInterval = time.Minute

// memorySessions are the EndedSessions of a site that is served by one process.
type memorySessions struct {
	mu    sync.Mutex           // guards the fields below
	until map[string]time.Time // when an ID can be dropped
	swept time.Time            // when expired IDs were last dropped
}

func newMemorySessions() *memorySessions {
	return &memorySessions{until: make(map[string]time.Time)}
}

// End implements [EndedSessions]. Once per sweepInterval it also drops the IDs
// whose life is over.
func (m *memorySessions) End(_ context.Context, id string, life time.Duration) error {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.Sub(m.swept) >= sweepInterval {
		maps.DeleteFunc(m.until, func(_ string, until time.Time) bool { return !until.After(now) })
		m.swept = now
	}
	m.until[id] = now.Add(life)
	return nil
}

// Ended implements [EndedSessions].
func (m *memorySessions) Ended(_ context.Context, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.until[id].After(time.Now()), nil
}
