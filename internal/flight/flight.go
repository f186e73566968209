// Package flight runs at most one call per key at a time and lets everybody
// who asks for that key share its result.
//
// A call runs on a goroutine that outlives the caller who started it, the
// leader. Its context has the leader's values, but not the leader's deadline or
// cancellation. Every waiter has its own context, so a waiter who
// leaves never fails another. At most limit calls run at a time, and at most a
// quarter of them for one owner. The others queue, and the owners take turns. A
// queued call that nobody waits for any more is dropped. A call that panics
// ends the program, as on every goroutine.
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

// Func is a call. detached reports whether [Group.Detach] was called since the
// call began.
type Func[V any] func(ctx context.Context, detached func() bool) V

// A Group holds the calls in flight. Use [New] to make one: the zero Group
// does not work. A Group is safe for concurrent use.
type Group[O, K comparable, V any] struct {
	limit int // of running calls
	share int // of one owner

	mu       sync.Mutex // guards the fields below, owners and calls
	inFlight map[*call[O, K, V]]struct{}
	owners   map[O]*owner[O, K, V] // of the calls in flight
	ready    []*owner[O, K, V]     // those with a queued call and a free share
	running  int
	closed   bool
}

// owner holds the calls of one owner.
type owner[O, K comparable, V any] struct {
	id      O
	calls   map[K]*call[O, K, V] // those that can be joined
	queue   []*call[O, K, V]
	running int
	ready   bool // it is in Group.ready
}

type call[O, K comparable, V any] struct {
	key      K
	owner    *owner[O, K, V]
	run      Func[V]
	ctx      context.Context
	cancel   context.CancelFunc
	waiters  int
	detached bool
	done     chan struct{}

	// value and returned may be read only after done is closed.
	value    V
	returned bool
}

// New returns a Group that runs at most limit calls at a time, and at most a
// quarter of limit, but at least one, for one owner. It panics if limit is less
// than 1.
func New[O, K comparable, V any](limit int) *Group[O, K, V] {
	if limit < 1 {
		panic("flight: limit must be at least 1")
	}
	return &Group[O, K, V]{
		limit: limit, share: max(limit/4, 1),
		inFlight: map[*call[O, K, V]]struct{}{}, owners: map[O]*owner[O, K, V]{},
	}
}

// Wait waits for the call of an owner's key until ctx is done, and returns its
// result.
//
// If no such call is in flight, Wait starts the one that start returns, and
// leader is true. start runs under the Group's lock: it must be fast and must
// not use the Group. The error is start's, the cause of ctx, or ErrAborted.
func (g *Group[O, K, V]) Wait(ctx context.Context, id O, key K, start func() (Func[V], error)) (v V, leader bool, err error) {
	c, leader, err := g.join(ctx, id, key, start)
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

// Background starts a call that nobody waits for yet. It does nothing if such a
// call is in flight, if it would have to queue, or after [Group.Shutdown]. It
// ignores an error of start.
func (g *Group[O, K, V]) Background(ctx context.Context, id O, key K, start func() (Func[V], error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.owners[id]; g.closed || g.running == g.limit || o != nil && (o.calls[key] != nil || o.running == g.share) {
		return
	}
	if run, err := start(); err == nil {
		g.begin(ctx, id, key, run)
	}
}

// Detach makes sure that nobody joins a call of the owner that began before.
// Those who wait for such a call get its result.
func (g *Group[O, K, V]) Detach(id O) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.owners[id]; o != nil {
		for key, c := range o.calls {
			c.detached = true
			delete(o.calls, key)
		}
	}
}

// Counts returns the number of calls that run, and of calls that queue.
func (g *Group[O, K, V]) Counts() (running, queued int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, len(g.inFlight) - g.running
}

// Shutdown cancels the calls that nobody waits for. It waits until all calls in
// flight have ended, or until ctx is done, and returns ctx's error in that
// case. From then on, Background does nothing, and a call is canceled when its
// last waiter leaves. Nobody joins a canceled call: Wait starts another.
// Shutdown may be called again.
func (g *Group[O, K, V]) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	calls := slices.Collect(maps.Keys(g.inFlight))
	for _, c := range calls {
		g.cancelUnwanted(c)
	}
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

// join returns the call of an owner's key, with the caller as one of its
// waiters.
func (g *Group[O, K, V]) join(ctx context.Context, id O, key K, start func() (Func[V], error)) (c *call[O, K, V], leader bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.owners[id]; o != nil {
		c = o.calls[key]
	}
	if c == nil {
		run, err := start()
		if err != nil {
			return nil, false, err
		}
		c, leader = g.begin(ctx, id, key, run), true
	}
	c.waiters++
	return c, leader, nil
}

// leave removes a waiter.
func (g *Group[O, K, V]) leave(c *call[O, K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	if i := slices.Index(c.owner.queue, c); i >= 0 {
		c.owner.queue = slices.Delete(c.owner.queue, i, i+1)
		if len(c.owner.queue) == 0 && c.owner.ready {
			c.owner.ready = false
			g.ready = slices.DeleteFunc(g.ready, func(o *owner[O, K, V]) bool { return o == c.owner })
		}
		g.finish(c)
	} else if g.closed {
		g.cancelUnwanted(c)
	}
}

// cancelUnwanted cancels c if nobody waits for it. Nobody can join a canceled
// call. The caller holds mu.
func (g *Group[O, K, V]) cancelUnwanted(c *call[O, K, V]) {
	if c.waiters == 0 {
		g.unlist(c)
		c.cancel()
	}
}

// begin queues a call, and runs it if it may. The caller holds mu.
func (g *Group[O, K, V]) begin(ctx context.Context, id O, key K, run Func[V]) *call[O, K, V] {
	o := g.owners[id]
	if o == nil {
		o = &owner[O, K, V]{id: id, calls: map[K]*call[O, K, V]{}}
		g.owners[id] = o
	}
	c := &call[O, K, V]{key: key, owner: o, run: run, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.inFlight[c] = struct{}{}
	o.calls[key] = c
	o.queue = append(o.queue, c)
	g.dispatch(o)
	return c
}

// dispatch runs queued calls as long as the limits allow it. changed is an
// owner whose queue or share has changed. The caller holds mu.
func (g *Group[O, K, V]) dispatch(changed *owner[O, K, V]) {
	g.enlist(changed)
	for g.running < g.limit && len(g.ready) > 0 {
		o := g.ready[0]
		g.ready, o.ready = g.ready[1:], false
		c := o.queue[0]
		o.queue = o.queue[1:]
		g.running++
		o.running++
		go g.execute(c)
		g.enlist(o)
	}
}

// enlist adds o to ready, if it belongs there. The caller holds mu.
func (g *Group[O, K, V]) enlist(o *owner[O, K, V]) {
	if !o.ready && len(o.queue) > 0 && o.running < g.share {
		o.ready = true
		g.ready = append(g.ready, o)
	}
}

// execute runs c. It always finishes it.
func (g *Group[O, K, V]) execute(c *call[O, K, V]) {
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.running--
		c.owner.running--
		g.finish(c)
	}()
	c.value = c.run(c.ctx, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return c.detached
	})
	c.returned = true
}

// finish ends c, which is neither queued nor running any more. The caller holds
// mu.
func (g *Group[O, K, V]) finish(c *call[O, K, V]) {
	g.unlist(c)
	delete(g.inFlight, c)
	c.cancel()
	close(c.done)
	g.dispatch(c.owner)
	if o := c.owner; o.running == 0 && len(o.queue) == 0 {
		delete(g.owners, o.id)
	}
}

// unlist makes sure that nobody joins c. The caller holds mu.
func (g *Group[O, K, V]) unlist(c *call[O, K, V]) {
	if c.owner.calls[c.key] == c {
		delete(c.owner.calls, c.key)
	}
}
