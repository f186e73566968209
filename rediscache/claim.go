package rediscache

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

const (
	// claimLife is how soon the claim of a process that died is free. A process
	// that lives extends it three times as often.
	claimLife = 2 * time.Second

	// longestWait is how soon the caller of Claim looks again, should Redis's
	// message be lost.
	longestWait = 500 * time.Millisecond
)

// Claim implements searchtoken.Claimer. A claim lasts for 2 seconds after its
// process has died.
func (c *Cache) Claim(ctx context.Context, key searchtoken.Key) (release func(), err error) {
	p := c.place(c.secrets[0], &key)
	holder := rand.Text()
	changed, stop := c.watched.watch(p.name)
	defer stop()
	var wait int64
	err = c.do(ctx, func(ctx context.Context, redis rueidis.Client) (err error) {
		// A look, so that Redis tells of what changes after it.
		if _, _, err = c.read(ctx, redis, c.secrets[0], &key); err != nil {
			return err
		}
		wait, err = claimScript.Exec(ctx, redis, []string{p.name},
			[]string{newEpoch(), p.claim(), holder, milliseconds(claimLife)}).AsInt64()
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case wait == 0:
		return c.hold(&p, holder), nil
	}
	timeout := time.NewTimer(min(time.Duration(wait)*time.Millisecond, longestWait))
	defer timeout.Stop()
	select {
	case <-changed:
	case <-timeout.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return nil, nil
}

// hold extends a claim until release is called.
func (c *Cache) hold(p *place, holder string) (release func()) {
	// Errors are no concern of anybody's: a claim that is lost costs a call.
	extend := func(life time.Duration) {
		_ = c.do(context.Background(), func(ctx context.Context, redis rueidis.Client) error {
			return holdScript.Exec(ctx, redis, []string{p.name}, []string{p.claim(), holder, milliseconds(life)}).Error()
		})
	}
	released := make(chan struct{})
	c.running.Go(func() {
		ticker := time.NewTicker(claimLife / 3)
		defer ticker.Stop()
		defer extend(0)
		for {
			select {
			case <-ticker.C:
				extend(claimLife)
			case <-released:
				return
			case <-c.closed:
				return
			}
		}
	})
	return func() { close(released) }
}

// AllowRenewal implements searchtoken.RenewalLimiter.
func (c *Cache) AllowRenewal(ctx context.Context, user searchtoken.UserKey, interval time.Duration, burst int) (wait time.Duration, err error) {
	err = c.do(ctx, func(ctx context.Context, redis rueidis.Client) error {
		ms, err := renewalScript.Exec(ctx, redis, []string{c.renewals(c.secrets[0], user)},
			[]string{milliseconds(interval), strconv.Itoa(burst)}).AsInt64()
		wait = time.Duration(ms) * time.Millisecond
		return err
	})
	return wait, err
}

// watched are the entries whose changes somebody waits for.
type watched struct {
	mu      sync.Mutex
	entries map[string]*watch
}

type watch struct {
	changed  chan struct{}
	watchers int
}

// watch returns a channel that is closed when the entry changes. stop must be
// called.
func (w *watched) watch(name string) (changed <-chan struct{}, stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	entry := w.entries[name]
	if entry == nil {
		if w.entries == nil {
			w.entries = map[string]*watch{}
		}
		entry = &watch{changed: make(chan struct{})}
		w.entries[name] = entry
	}
	entry.watchers++
	return entry.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if entry.watchers--; entry.watchers == 0 && w.entries[name] == entry {
			delete(w.entries, name)
		}
	}
}

// changed is told by rueidis of entries that have changed, or by nil that any may
// have.
func (w *watched) changed(names []rueidis.RedisMessage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if names == nil {
		for name := range w.entries {
			w.wake(name)
		}
	}
	for i := range names {
		if name, err := names[i].ToString(); err == nil {
			w.wake(name)
		}
	}
}

// wake ends the waiting for one entry. The caller holds mu.
func (w *watched) wake(name string) {
	if entry := w.entries[name]; entry != nil {
		close(entry.changed)
		delete(w.entries, name)
	}
}
