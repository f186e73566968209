// Package limit bounds how much runs at the same time, in all and for each
// owner.
package limit

import (
	"context"
	"sync"
)

// A Limit hands out slots. Use [New] to make one: the zero Limit does not work.
// It is safe for concurrent use.
type Limit[O comparable] struct {
	slots    chan struct{}
	perOwner int

	mu     sync.Mutex // guards owners
	owners map[O]*owner
}

// owner holds the slots of one owner, who has or wants at least one.
type owner struct {
	slots chan struct{}
	users int // of this owner: guarded by Limit.mu
}

// New returns a Limit of so many slots, of which one owner gets at most
// perOwner.
func New[O comparable](slots, perOwner int) *Limit[O] {
	return &Limit[O]{slots: make(chan struct{}, slots), perOwner: perOwner, owners: map[O]*owner{}}
}

// Acquire waits for a slot until ctx is done. It returns the error of ctx, or
// nil; then the caller must call release once. An owner who has all of its
// slots waits for one of them first, so it takes none of the others' turns.
func (l *Limit[O]) Acquire(ctx context.Context, id O) (release func(), err error) {
	o := l.enter(id)
	if err := acquire(ctx, o.slots); err != nil {
		l.leave(id, o)
		return nil, err
	}
	if err := acquire(ctx, l.slots); err != nil {
		<-o.slots
		l.leave(id, o)
		return nil, err
	}
	return func() {
		<-l.slots
		<-o.slots
		l.leave(id, o)
	}, nil
}

// acquire fills a place in slots. Those who wait are served in order.
func acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Limit[O]) enter(id O) *owner {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.owners[id]
	if o == nil {
		o = &owner{slots: make(chan struct{}, l.perOwner)}
		l.owners[id] = o
	}
	o.users++
	return o
}

func (l *Limit[O]) leave(id O, o *owner) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.users--; o.users == 0 {
		delete(l.owners, id)
	}
}
