package site

import (
	"context"
	"maps"
	"sync"
	"time"
)

// EndedSessions remembers which sessions were ended: nothing in a signed cookie
// tells that its owner has logged out since. Its methods must be safe for
// concurrent use, and return when ctx is done.
type EndedSessions interface {
	// End remembers for life that the session of that id was ended.
	End(ctx context.Context, id string, life time.Duration) error
	// Ended reports whether it was. Where Ended fails, the site takes it that it
	// was not.
	Ended(ctx context.Context, id string) (bool, error)
}

const sweepInterval = time.Minute

// localSessions are the EndedSessions of a site that is one process.
type localSessions struct {
	mu    sync.Mutex
	until map[string]time.Time // by id
	swept time.Time
}

// End implements EndedSessions. It also drops what need not be remembered any more.
func (l *localSessions) End(_ context.Context, id string, life time.Duration) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) >= sweepInterval {
		maps.DeleteFunc(l.until, func(_ string, until time.Time) bool { return !until.After(now) })
		l.swept = now
	}
	l.until[id] = now.Add(life)
	return nil
}

// Ended implements EndedSessions.
func (l *localSessions) Ended(_ context.Context, id string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until[id].After(time.Now()), nil
}
