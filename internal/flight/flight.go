// Package flight lets everybody who asks for a key share the result of one
// call.
//
// At most one call per key and epoch runs at a time, for those who ask in that
// epoch. At most one call per key queues, for all who ask, because it begins
// after each of them has asked.
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
type Group[O, K, E comparable, V any] struct {
	limit int // of running calls
	share int // of one owner

	mu       sync.Mutex // guards the fields below, owners and calls
	inFlight map[*call[O, K, E, V]]struct{}
	owners   map[O]*owner[O, K, E, V] // of the calls in flight
	ready    []*owner[O, K, E, V]     // those with a queued call and a free share
	running  int
	closed   bool
}

// owner holds the calls of one owner.
type owner[O, K, E comparable, V any] struct {
	id      O
	begun   map[epochKey[K, E]]*call[O, K, E, V] // running calls that can be joined
	queued  map[K]*call[O, K, E, V]              // the calls in queue
	queue   []*call[O, K, E, V]
	running int
	ready   bool // it is in Group.ready
}

// epochKey is a key in an epoch.
type epochKey[K, E comparable] struct {
	key   K
	epoch E
}

type call[O, K, E comparable, V any] struct {
	epochKey[K, E] // in the queue, epoch is that of the last waiter
	owner          *owner[O, K, E, V]
	run            Func[V]
	ctx            context.Context
	cancel         context.CancelFunc
	waiters        int
	detached       bool
	done           chan struct{}

	// value and returned may be read only after done is closed.
	value    V
	returned bool
}

// New returns a Group that runs at most limit calls at a time, and at most a
// quarter of limit, but at least one, for one owner. It panics if limit is less
// than 1.
func New[O, K, E comparable, V any](limit int) *Group[O, K, E, V] {
	if limit < 1 {
		panic("flight: limit must be at least 1")
	}
	return &Group[O, K, E, V]{
		limit: limit, share: max(limit/4, 1),
		inFlight: map[*call[O, K, E, V]]struct{}{}, owners: map[O]*owner[O, K, E, V]{},
	}
}

// Wait waits for the call of an owner's key until ctx is done, and returns its
// result. It joins no call that began in another epoch.
//
// If no such call is in flight, Wait starts the one that start returns, and
// leader is true. start runs under the Group's lock: it must be fast and must
// not use the Group. The error is start's, the cause of ctx, or ErrAborted.
func (g *Group[O, K, E, V]) Wait(
	ctx context.Context, id O, key K, epoch E, start func() (Func[V], error),
) (v V, leader bool, err error) {
	c, leader, err := g.join(ctx, id, epochKey[K, E]{key, epoch}, start)
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
func (g *Group[O, K, E, V]) Background(ctx context.Context, id O, key K, epoch E, start func() (Func[V], error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	k := epochKey[K, E]{key, epoch}
	if o := g.owners[id]; g.closed || g.running == g.limit || o != nil && (o.begun[k] != nil || o.running == g.share) {
		return
	}
	if run, err := start(); err == nil {
		g.add(ctx, id, k, run)
	}
}

// Detach makes sure that nobody joins a call of the owner that runs already.
// Those who wait for such a call get its result.
func (g *Group[O, K, E, V]) Detach(id O) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.owners[id]; o != nil {
		for k, c := range o.begun {
			c.detached = true
			delete(o.begun, k)
		}
	}
}

// Counts returns the number of calls that run, and of calls that queue.
func (g *Group[O, K, E, V]) Counts() (running, queued int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, len(g.inFlight) - g.running
}

// Shutdown cancels the calls that nobody waits for. It waits until all calls in
// flight have ended, or until ctx is done, and returns ctx's error in that
// case. From then on, Background does nothing, and a call is canceled when its
// last waiter leaves. Nobody joins a canceled call: Wait starts another.
// Shutdown may be called again.
func (g *Group[O, K, E, V]) Shutdown(ctx context.Context) error {
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
func (g *Group[O, K, E, V]) join(
	ctx context.Context, id O, k epochKey[K, E], start func() (Func[V], error),
) (c *call[O, K, E, V], leader bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.owners[id]; o != nil {
		if c = o.begun[k]; c == nil {
			c = o.queued[k.key]
		}
	}
	if c == nil {
		run, err := start()
		if err != nil {
			return nil, false, err
		}
		c, leader = g.add(ctx, id, k, run), true
	}
	c.epoch = k.epoch
	c.waiters++
	return c, leader, nil
}

// leave removes a waiter.
func (g *Group[O, K, E, V]) leave(c *call[O, K, E, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	if i := slices.Index(c.owner.queue, c); i >= 0 {
		c.owner.queue = slices.Delete(c.owner.queue, i, i+1)
		if len(c.owner.queue) == 0 && c.owner.ready {
			c.owner.ready = false
			g.ready = slices.DeleteFunc(g.ready, func(o *owner[O, K, E, V]) bool { return o == c.owner })
		}
		g.finish(c)
	} else if g.closed {
		g.cancelUnwanted(c)
	}
}

// cancelUnwanted cancels c if nobody waits for it. Nobody can join a canceled
// call. The caller holds mu.
func (g *Group[O, K, E, V]) cancelUnwanted(c *call[O, K, E, V]) {
	if c.waiters == 0 {
		g.unlist(c)
		c.cancel()
	}
}

// add queues a call, and runs it if it may. The caller holds mu.
func (g *Group[O, K, E, V]) add(ctx context.Context, id O, k epochKey[K, E], run Func[V]) *call[O, K, E, V] {
	o := g.owners[id]
	if o == nil {
		o = &owner[O, K, E, V]{id: id, begun: map[epochKey[K, E]]*call[O, K, E, V]{}, queued: map[K]*call[O, K, E, V]{}}
		g.owners[id] = o
	}
	c := &call[O, K, E, V]{epochKey: k, owner: o, run: run, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	g.inFlight[c] = struct{}{}
	o.queued[k.key] = c
	o.queue = append(o.queue, c)
	g.dispatch(o)
	return c
}

// dispatch runs queued calls as long as the limits allow it. changed is an
// owner whose queue or share has changed. The caller holds mu.
func (g *Group[O, K, E, V]) dispatch(changed *owner[O, K, E, V]) {
	g.enlist(changed)
	for g.running < g.limit && len(g.ready) > 0 {
		o := g.ready[0]
		g.ready, o.ready = g.ready[1:], false
		c := o.queue[0]
		o.queue = o.queue[1:]
		delete(o.queued, c.key)
		o.begun[c.epochKey] = c
		g.running++
		o.running++
		go g.execute(c)
		g.enlist(o)
	}
}

// enlist adds o to ready, if it belongs there. The caller holds mu.
func (g *Group[O, K, E, V]) enlist(o *owner[O, K, E, V]) {
	if !o.ready && len(o.queue) > 0 && o.running < g.share {
		o.ready = true
		g.ready = append(g.ready, o)
	}
}

// execute runs c. It always finishes it.
func (g *Group[O, K, E, V]) execute(c *call[O, K, E, V]) {
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
func (g *Group[O, K, E, V]) finish(c *call[O, K, E, V]) {
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
func (g *Group[O, K, E, V]) unlist(c *call[O, K, E, V]) {
	if c.owner.begun[c.epochKey] == c {
		delete(c.owner.begun, c.epochKey)
	}
	if c.owner.queued[c.key] == c {
		delete(c.owner.queued, c.key)
	}
}
