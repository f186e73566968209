// Package flight runs at most one call per key at a time and lets everybody
// who asks for that key share its result.
//
// A call runs on a goroutine that outlives the caller who started it, the
// leader. Its context has the leader's values, but not the leader's deadline or
// cancellation. Every waiter waits within a context of its own, so a waiter who
// leaves never fails another. At most limit calls run at a time; the others
// queue. A queued call is dropped if nobody waits for it when a slot is free. A
// call that panics ends the program, as on every goroutine.
package flight

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// ErrAborted is the error of a call that ended its goroutine with
// [runtime.Goexit].
var ErrAborted = errors.New("flight: the call ended without a result")

// A Group holds the calls in flight. Use [New] to make one: the zero Group does
// not work. A Group is safe for concurrent use.
type Group[K comparable, V any] struct {
	slots chan struct{} // holds one element for each running call

	mu        sync.Mutex // guards the fields below and call.waiters
	calls     map[K]*call[K, V]
	abandoned map[*call[K, V]]struct{} // canceled calls that still run
	closed    bool
}

type call[K comparable, V any] struct {
	key     K
	run     func(context.Context) V
	cancel  context.CancelFunc
	waiters int
	done    chan struct{}

	// value and returned may be read only after done is closed.
	value    V
	returned bool
}

// New returns a Group that runs at most limit calls at a time. It panics if
// limit is less than 1.
func New[K comparable, V any](limit int) *Group[K, V] {
	if limit < 1 {
		panic("flight: limit must be at least 1")
	}
	return &Group[K, V]{
		slots: make(chan struct{}, limit), calls: map[K]*call[K, V]{}, abandoned: map[*call[K, V]]struct{}{},
	}
}

// Wait waits for the call of key until ctx is done, and returns its result.
//
// If no call of key is in flight, Wait starts the one that start returns, and
// leader is true. start runs under the Group's lock: it must be fast and must
// not use the Group. The error is start's, the cause of ctx, or ErrAborted.
func (g *Group[K, V]) Wait(
	ctx context.Context, key K, start func() (func(context.Context) V, error),
) (v V, leader bool, err error) {
	c, leader, err := g.join(ctx, key, start)
	if err != nil {
		return v, leader, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		g.leave(c)
		return v, leader, context.Cause(ctx)
	}
	if !c.returned {
		return v, leader, ErrAborted
	}
	return c.value, leader, nil
}

// Background starts a call of key that nobody waits for yet. It does nothing if
// a call of key is in flight, if no slot is free, or after [Group.Shutdown].
// It ignores an error of start.
func (g *Group[K, V]) Background(ctx context.Context, key K, start func() (func(context.Context) V, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.calls[key] != nil || len(g.slots) == cap(g.slots) {
		return
	}
	if run, err := start(); err == nil {
		g.begin(ctx, key, run)
	}
}

// Shutdown cancels the calls that nobody waits for. It waits until all calls in
// flight have ended, or until ctx is done, and returns ctx's error in that
// case. From then on, Background does nothing, and a call is canceled when its
// last waiter leaves. Nobody joins a canceled call: Wait starts another.
// Shutdown may be called again.
func (g *Group[K, V]) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	for _, c := range g.calls {
		g.abandonUnwanted(c)
	}
	calls := slices.AppendSeq(slices.Collect(maps.Values(g.calls)), maps.Keys(g.abandoned))
	g.mu.Unlock()
	for _, c := range calls {
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// join returns the call of key, with the caller as one of its waiters.
func (g *Group[K, V]) join(
	ctx context.Context, key K, start func() (func(context.Context) V, error),
) (c *call[K, V], leader bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c = g.calls[key]
	if c == nil {
		run, err := start()
		if err != nil {
			return nil, false, err
		}
		c, leader = g.begin(ctx, key, run), true
	}
	c.waiters++
	return c, leader, nil
}

// leave removes a waiter.
func (g *Group[K, V]) leave(c *call[K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.waiters--
	if g.closed {
		g.abandonUnwanted(c)
	}
}

// abandonUnwanted cancels c if it is in flight and nobody waits for it. Nobody
// can join an abandoned call. The caller holds mu.
func (g *Group[K, V]) abandonUnwanted(c *call[K, V]) {
	if c.waiters == 0 && g.calls[c.key] == c {
		g.remove(c)
		g.abandoned[c] = struct{}{}
		c.cancel()
	}
}

// begin starts the goroutine of a call. The caller holds mu.
func (g *Group[K, V]) begin(ctx context.Context, key K, run func(context.Context) V) *call[K, V] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &call[K, V]{key: key, run: run, cancel: cancel, done: make(chan struct{})}
	g.calls[key] = c
	go g.execute(ctx, c)
	return c
}

// execute runs c once a slot is free. It closes c.done in any case.
func (g *Group[K, V]) execute(ctx context.Context, c *call[K, V]) {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.remove(c)
		delete(g.abandoned, c)
		c.cancel()
		close(c.done)
	}()
	if !g.acquire(ctx, c) {
		return
	}
	defer func() { <-g.slots }()
	c.value = c.run(ctx)
	c.returned = true
}

// acquire takes a slot, and reports whether c is still wanted by then. If it is
// not, acquire gives the slot back.
func (g *Group[K, V]) acquire(ctx context.Context, c *call[K, V]) bool {
	if ctx.Err() != nil { // Shutdown came first
		return false
	}
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	g.slots <- struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters > 0 {
		return true
	}
	g.remove(c)
	<-g.slots
	return false
}

// remove makes room for another call of the same key. The caller holds mu.
func (g *Group[K, V]) remove(c *call[K, V]) {
	if g.calls[c.key] == c {
		delete(g.calls, c.key)
	}
}
