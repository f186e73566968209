// Package limit bounds how much runs at the same time, in all and for each
// owner.
package limit

import (
	"context"
	"errors"
	"sync"
	"time"
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

// ErrTimeout is the error of a caller for whom no slot became free in time.
var ErrTimeout = errors.New("limit: no slot is free")

// Acquire waits for a slot, for at most so long as patience and until ctx is
// done. Then it returns ErrTimeout or the error of ctx. If it returns nil, the
// caller must call release once. An owner who has all of its slots waits for
// one of them first, so it takes none of the others' turns.
func (l *Limit[O]) Acquire(ctx context.Context, id O, patience time.Duration) (release func(), err error) {
	o := l.enter(id)
	var timeout <-chan time.Time // of both waits
	acquire := func(slots chan struct{}) error {
		select {
		case slots <- struct{}{}:
			return nil
		default:
		}
		if timeout == nil {
			timeout = time.After(patience)
		}
		select { // those who wait are served in order
		case slots <- struct{}{}:
			return nil
		case <-timeout:
			return ErrTimeout
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := acquire(o.slots); err != nil {
		l.leave(id, o)
		return nil, err
	}
	if err := acquire(l.slots); err != nil {
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
