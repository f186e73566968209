package searchtoken

import (
	"slices"
	"time"
)

const (
	// How many forgotten users a MemoryCache remembers in all its shards.
	maxForgets = 200_000
	// A fetch reads the epoch at most this long before it calls Set.
	longestSet = 15 * time.Second
)

// epochs holds the epochs of users. Those who were not forgotten lately share
// one epoch.
type epochs struct {
	last   uint64             // the epoch that was begun last
	others uint64             // of all users who are not in users
	users  map[UserKey]forget // the last Forget of each user
}

// forget is a Forget of a user.
type forget struct {
	epoch uint64 // that the Forget began
	at    time.Time
}

// of returns the epoch of a user.
func (e *epochs) of(user UserKey) uint64 {
	if f, ok := e.users[user]; ok {
		return f.epoch
	}
	return e.others
}

// begin begins another epoch of a user. If there are more than limit users, the
// quarter that was forgotten first is dropped.
func (e *epochs) begin(user UserKey, limit int, now time.Time) {
	if e.users == nil {
		e.users = map[UserKey]forget{}
	}
	e.last++
	e.users[user] = forget{e.last, now}
	if len(e.users) > limit {
		e.drop(max(limit/4, 1), now)
	}
}

// drop drops the first n Forgets. If a fetch may be in flight that began before
// one of them, all users without a Forget begin another epoch.
func (e *epochs) drop(n int, now time.Time) {
	forgets := make([]forget, 0, len(e.users))
	for _, f := range e.users {
		forgets = append(forgets, f)
	}
	slices.SortFunc(forgets, func(a, b forget) int { return int(int64(a.epoch) - int64(b.epoch)) })
	newest := forgets[n-1]
	for user, f := range e.users {
		if f.epoch <= newest.epoch {
			delete(e.users, user)
		}
	}
	if now.Sub(newest.at) < longestSet {
		e.last++
		e.others = e.last
	}
}
