package searchtoken

import (
	"container/heap"
	"context"
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

// Cache stores tokens. Its methods must be safe for concurrent use, and should
// return when ctx is done. An error of a Cache costs no page: the request goes
// on without the Cache.
//
// Every user has an epoch, a number that changes with each Forget of that user.
// It keeps a token out of the Cache that was requested before a Forget and
// arrives after it.
type Cache interface {
	// Get returns the token under key as it was set, or the zero Token, and the
	// epoch of the key's user in both cases. A missing token is not an error.
	// Get never returns a token that a Forget removed together with the epoch
	// that this Forget began.
	Get(ctx context.Context, key Key) (t Token, epoch uint64, err error)
	// Set stores t until t.Expiry and returns true. If the user was forgotten
	// since epoch, it stores nothing and returns false. A t that has expired
	// removes the token under key.
	Set(ctx context.Context, key Key, t Token, epoch uint64) (kept bool, err error)
	// Forget removes every token of the user and begins a new epoch, which
	// outlasts every fetch in flight.
	Forget(ctx context.Context, user UserKey) error
}

// Claimer is an optional interface of a [Cache] that several processes share:
// only one process at a time fetches a given token. The Middleware finds out by
// type assertion on Config.Cache. If Claim fails, the process fetches the token
// itself.
type Claimer interface {
	// Claim makes this process the one that fetches the token under key, and
	// returns a function that ends the claim.
	//
	// If another process holds the claim, Claim waits until that claim may have
	// ended or a token was set. Then it returns neither a function nor an
	// error: the caller looks into the Cache, and claims again if the token is
	// missing. A Get that begins after Claim returned sees what was set before.
	//
	// A claim ends when release is called, when a token is set under key, when
	// the user is forgotten, or a few seconds after its process died. That must
	// be much less than the 10 seconds of a fetch. release must not block, and
	// is called once.
	Claim(ctx context.Context, key Key) (release func(), err error)
}

// RenewalLimiter is an optional interface of a [Cache] that several processes
// share: it limits forced renewals across all processes. The Middleware finds
// out by type assertion on Config.Cache. If AllowRenewal fails, the limit of
// this process alone holds.
type RenewalLimiter interface {
	// AllowRenewal counts a forced renewal of the user and returns 0, if it is
	// among the first burst renewals or if an interval has passed for it.
	// Otherwise it counts nothing, and returns how long to wait for the next
	// one. Forget does not reset the count.
	AllowRenewal(ctx context.Context, user UserKey, interval time.Duration, burst int) (wait time.Duration, err error)
}

const (
	defaultMaxTokens = 100_000

	// Enough shards that the requests of a large site rarely meet at one lock.
	maxShards      = 256
	tokensPerShard = 1024

	// How many expired tokens a Set removes at most: more than one, so that
	// their number shrinks, and few, so that no Set takes long.
	sweepStep = 4
)

// MemoryCache is a [Cache] in this process's memory. It is safe for concurrent
// use, starts no goroutine, and needs no closing. The zero MemoryCache has the
// default size. A MemoryCache must not be copied.
type MemoryCache struct {
	maxTokens int
	tokens    atomic.Int64

	initialize sync.Mutex // guards the creation of table
	table      atomic.Pointer[[]shard]
}

// NewMemoryCache returns a cache of at most maxTokens tokens. 0 or less means
// 100,000. A user may have any number of them. If the cache is full, expired
// tokens make room, then the token that expires first. Concurrent Sets may
// exceed the bound by their number. A token takes one to two kilobytes.
func NewMemoryCache(maxTokens int) *MemoryCache {
	c := &MemoryCache{maxTokens: maxTokens}
	c.shards()
	return c
}

// shards returns the shards, which it creates if there are none.
func (c *MemoryCache) shards() []shard {
	if table := c.table.Load(); table != nil {
		return *table
	}
	c.initialize.Lock()
	defer c.initialize.Unlock()
	if table := c.table.Load(); table != nil {
		return *table
	}
	if c.maxTokens <= 0 {
		c.maxTokens = defaultMaxTokens
	}
	shards := make([]shard, min(max(c.maxTokens/tokensPerShard, 1), maxShards))
	for i := range shards {
		// No janitor, because it cannot be stopped, and no expiry of go-cache,
		// because its sweep holds the lock for as long as it takes.
		shards[i].entries = gocache.New(gocache.NoExpiration, 0)
		shards[i].total = &c.tokens
		shards[i].firstExpiry.Store(math.MaxInt64)
	}
	c.table.Store(&shards)
	return shards
}

// shard holds the tokens of some users. Readers take no lock but go-cache's.
type shard struct {
	entries     *gocache.Cache // entryName to *entry
	total       *atomic.Int64  // the number of tokens in all shards
	firstExpiry atomic.Int64   // of queue, in Unix nanoseconds

	mu     sync.Mutex  // guards the fields below, and serializes the writers
	queue  expiryQueue // the entries
	epochs epochs
}

// entry is one cached token. Its key, token and epoch never change.
type entry struct {
	key   Key
	token Token
	epoch uint64 // of the user. The entry is removed before that changes
	index int    // in the queue; guarded by shard.mu
}

// entryName returns the name of a key's entry in go-cache: half of each hash. A
// string of 32 bytes is converted without an allocation. Readers compare the
// whole key, so two keys with the same name cost a miss and nothing else.
func entryName(key *Key) (name [32]byte) {
	copy(name[:16], key.User[:16])
	copy(name[16:], key.Params[:16])
	return name
}

// shard returns the shard of a user.
func (c *MemoryCache) shard(user *UserKey) *shard {
	shards := c.shards()
	return &shards[binary.LittleEndian.Uint64(user[:])%uint64(len(shards))]
}

// Len returns the number of tokens in the cache. Expired tokens count until
// they are removed.
func (c *MemoryCache) Len() int { return int(c.tokens.Load()) }

// Get implements [Cache]. The error is always nil.
func (c *MemoryCache) Get(_ context.Context, key Key) (t Token, epoch uint64, err error) {
	t, epoch = c.get(&key, time.Now())
	return t, epoch, nil
}

// get is Get for a caller that knows the time.
func (c *MemoryCache) get(key *Key, now time.Time) (t Token, epoch uint64) {
	s := c.shard(&key.User)
	if e := s.get(key); e != nil && e.token.Expiry.After(now) {
		return e.token, e.epoch
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Token{}, s.epochs.of(key.User)
}

// Set implements [Cache]. The error is always nil.
func (c *MemoryCache) Set(_ context.Context, key Key, t Token, epoch uint64) (kept bool, err error) {
	s := c.shard(&key.User)
	for c.Len() >= c.maxTokens && s.needsRoom(&key, t, epoch) && c.evict() {
	}
	return s.set(&entry{key: key, token: t}, epoch), nil
}

// evict removes the token that expires first. Concurrent Sets may exceed the
// bound by their number; the next Set makes up for that.
func (c *MemoryCache) evict() (madeRoom bool) {
	shards := c.shards()
	first := &shards[0]
	for i := range shards {
		if shards[i].firstExpiry.Load() < first.firstExpiry.Load() {
			first = &shards[i]
		}
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	// Another goroutine may have made room meanwhile.
	if c.Len() < c.maxTokens {
		return true
	}
	if len(first.queue) == 0 {
		return false
	}
	first.remove(first.queue[0])
	return true
}

// Forget implements [Cache]. The error is always nil.
func (c *MemoryCache) Forget(_ context.Context, user UserKey) error {
	s := c.shard(&user)
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []*entry
	for _, e := range s.queue {
		if e.key.User == user {
			entries = append(entries, e)
		}
	}
	for _, e := range entries {
		s.remove(e)
	}
	s.epochs.begin(user, maxForgets/len(c.shards()), time.Now())
	return nil
}

// set replaces the entry of e's key, unless the user was forgotten since epoch.
func (s *shard) set(e *entry, epoch uint64) (kept bool) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.accepts(&e.key, epoch) {
		return false
	}
	e.epoch = s.epochs.of(e.key.User)
	if old := s.named(&e.key); old != nil {
		s.remove(old)
	}
	for range sweepStep {
		if len(s.queue) == 0 || s.queue[0].token.Expiry.After(now) {
			break
		}
		s.remove(s.queue[0])
	}
	if kept = e.token.Expiry.After(now); kept {
		s.add(e)
	}
	return kept
}

// accepts reports whether the user was not forgotten since epoch. An entry that
// has this epoch shows that as well. A Forget that was dropped since leaves the
// user an earlier epoch. The caller holds mu.
func (s *shard) accepts(key *Key, epoch uint64) bool {
	old := s.get(key)
	return epoch >= s.epochs.of(key.User) || old != nil && epoch == old.epoch
}

// needsRoom reports whether Set is going to add a token.
func (s *shard) needsRoom(key *Key, t Token, epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(key) == nil && s.accepts(key, epoch) && t.Expiry.After(time.Now())
}

// get returns the entry of key, or nil. It needs no lock.
func (s *shard) get(key *Key) *entry {
	if e := s.named(key); e != nil && e.key == *key {
		return e
	}
	return nil
}

// named returns the entry that has the name of key's entry, or nil.
func (s *shard) named(key *Key) *entry {
	name := entryName(key)
	e, _ := s.entries.Get(string(name[:]))
	named, _ := e.(*entry)
	return named
}

// add adds an entry under a name that is free. The caller holds mu.
func (s *shard) add(e *entry) {
	name := entryName(&e.key)
	s.entries.Set(string(name[:]), e, gocache.NoExpiration)
	heap.Push(&s.queue, e)
	s.total.Add(1)
	s.noteFirstExpiry()
}

// remove removes an entry. The caller holds mu.
func (s *shard) remove(e *entry) {
	name := entryName(&e.key)
	s.entries.Delete(string(name[:]))
	heap.Remove(&s.queue, e.index)
	s.total.Add(-1)
	s.noteFirstExpiry()
}

// noteFirstExpiry updates firstExpiry. The caller holds mu.
func (s *shard) noteFirstExpiry() {
	first := int64(math.MaxInt64)
	if len(s.queue) > 0 {
		first = s.queue[0].token.Expiry.UnixNano()
	}
	s.firstExpiry.Store(first)
}

// expiryQueue is a heap of entries. The first one expires first.
type expiryQueue []*entry

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].token.Expiry.Before(q[j].token.Expiry) }
func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *expiryQueue) Push(e any) {
	e.(*entry).index = len(*q)
	*q = append(*q, e.(*entry))
}

// Pop implements heap.Interface.
func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return e
}
