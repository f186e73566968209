package searchtoken

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

// UserKey is the SHA-256 hash of a user: of the organization, its endpoint and the
// user's security identities.
type UserKey [sha256.Size]byte

// Key is what a token is cached under. Both halves are SHA-256 hashes: a Key is
// comparable, and a pseudonym. Whoever guesses a user's name can tell that it is
// theirs, so a Cache that others can look into should not keep it as it is.
type Key struct {
	// User covers the organization, its endpoint, and the security
	// identities of the user.
	User UserKey
	// Params covers everything else that the token is asked for.
	Params [sha256.Size]byte
}

// keyPrefix is what the users of one organization at one endpoint have in
// common. It is short, so that with most users' names it fits into one block of
// SHA-256.
func keyPrefix(organization, platformURL string) (prefix [16]byte) {
	sum := sha256.Sum256(appendString(appendString(nil, organization), platformURL))
	copy(prefix[:], sum[:])
	return prefix
}

// userHash is Key.User.
func userHash(prefix *[16]byte, ids []UserID) UserKey {
	var buf [256]byte // on the stack, for all but the longest names
	return sha256.Sum256(appendUserIDs(append(buf[:0], prefix[:]...), ids))
}

// paramsHash is Key.Params: every field of p that decides what a token grants.
// The user's own identities are in Key.User already.
func paramsHash(p *TokenParams, own []UserID) [sha256.Size]byte {
	var buf [512]byte
	b := buf[:0]
	if slices.EqualFunc(p.UserIDs, own, sameUserID) {
		b = appendUserIDs(b, nil)
	} else {
		b = appendUserIDs(b, p.UserIDs)
	}
	for _, s := range []string{p.UserDisplayName, p.SearchHub, p.Pipeline, p.Filter} {
		b = appendString(b, s)
	}
	b = binary.AppendVarint(b, int64(p.validFor()))
	b = appendStrings(b, p.UserGroups)
	b = appendStrings(b, p.CanSeeUserProfileOf)
	b = binary.AppendUvarint(b, uint64(len(p.DictionaryFieldContext)))
	for _, field := range slices.Sorted(maps.Keys(p.DictionaryFieldContext)) {
		b = appendString(appendString(b, field), p.DictionaryFieldContext[field])
	}
	b = binary.AppendUvarint(b, uint64(len(p.AllowedDictionaryFieldKeys)))
	for _, field := range slices.Sorted(maps.Keys(p.AllowedDictionaryFieldKeys)) {
		b = appendStrings(appendString(b, field), p.AllowedDictionaryFieldKeys[field])
	}
	return sha256.Sum256(b)
}

// The encodings of a Key's parts begin with a length, so that no two different
// sequences of parts are the same bytes.

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendCommon is appendString, but one byte for the common value.
func appendCommon(b []byte, s, common string) []byte {
	if s == common {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(s))+1), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendUserIDs(b []byte, ids []UserID) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = appendCommon(appendString(b, id.Name), id.Provider, EmailSecurityProvider)
		b = appendCommon(b, string(cmp.Or(id.Type, UserTypeUser)), string(UserTypeUser))
	}
	return b
}

func sameUserID(a, b UserID) bool {
	a.Type, b.Type = cmp.Or(a.Type, UserTypeUser), cmp.Or(b.Type, UserTypeUser)
	return a == b
}

// Cache keeps tokens. Its methods must be safe for concurrent use, and should
// return when ctx is done. Its errors cost no page: a Get that fails counts as
// a miss.
//
// Users have an epoch, a number that only Forget changes, so that a token that
// was asked for before a Forget and arrives after it is not kept. Several
// users may share an epoch: a Forget of one then costs the others a fetch.
type Cache interface {
	// Get returns the token under key as it was set, or the zero Token, and in
	// either case the epoch of the key's user. A missing token is not an error.
	// A token that a Forget removed is never returned with the epoch that the
	// Forget began.
	Get(ctx context.Context, key Key) (t Token, epoch uint64, err error)
	// Set keeps t until t.Expiry, unless the user was forgotten since epoch:
	// then it keeps nothing and kept is false. A t that has expired removes
	// what is there. A Set that fails for another reason returns an error.
	Set(ctx context.Context, key Key, t Token, epoch uint64) (kept bool, err error)
	// Forget removes every token of the user and begins a new epoch, which
	// outlives any fetch that is under way.
	Forget(ctx context.Context, user UserKey) error
}

// Claimer is an optional interface for a Cache that several processes share: only one
// process at a time fetches a given token. The Middleware finds out by type assertion
// on Config.Cache. If Claim fails, the process fetches the token itself: an outage of
// the store may cost calls, never a page.
type Claimer interface {
	// Claim makes this process the one that fetches the token under key, and
	// returns a function that ends the claim. If another process holds the claim,
	// Claim waits until that claim may have ended or a token was set. Then it
	// returns neither a function nor an error: the caller looks into the cache,
	// and claims again if necessary. A Get that begins after Claim has returned
	// sees what was set before.
	//
	// A claim lasts until release is called, a token is set under key, the user
	// is forgotten, or its process dies. After a process has died, its claims
	// must become free within a few seconds, far less than the 10 of a fetch.
	// release does not block, and may be called once.
	Claim(ctx context.Context, key Key) (release func(), err error)
}

// RenewalLimiter is an optional interface for a Cache that several processes share: it
// limits forced renewals of a user across all processes. The Middleware finds out by
// type assertion on Config.Cache. If AllowRenewal fails, the limit of the process
// itself holds.
type RenewalLimiter interface {
	// AllowRenewal counts a renewal that the user forces and returns 0, if it is
	// among the first burst renewals, or one for each interval after them.
	// Otherwise it counts nothing, and returns how long to wait for the next one.
	// Forget does not reset the count.
	AllowRenewal(ctx context.Context, user UserKey, interval time.Duration, burst int) (wait time.Duration, err error)
}

const (
	defaultMaxUsers = 100_000

	// Enough shards that the users of a large site do not meet at one lock,
	// each large enough that chance fills them evenly.
	maxShards     = 256
	usersPerShard = 1024

	// An application whose Prepare never asks for the same twice fills no
	// more than this.
	maxTokensPerUser = 64

	epochStripes = 64 // in each shard

	// How many expired users a Set removes at most. More than one, so that
	// they become fewer; few, so that nobody waits for long.
	sweepStep = 4
)

// MemoryCache is a Cache in this process's memory, over go-cache. It is safe
// for concurrent use. It starts no goroutine, and needs no closing.
type MemoryCache struct {
	shards []shard
}

// NewMemoryCache returns a cache of at most maxUsers users, 0 (or less): of
// 100,000. At the bound, a user whose tokens have expired makes room, else the
// one whose tokens expire first. A user's token takes about one to two
// kilobytes.
func NewMemoryCache(maxUsers int) *MemoryCache {
	if maxUsers <= 0 {
		maxUsers = defaultMaxUsers
	}
	c := &MemoryCache{shards: make([]shard, min(max(maxUsers/usersPerShard, 1), maxShards))}
	for i := range c.shards {
		// Neither a janitor, which could not be stopped, nor go-cache's own
		// expiry: a sweep of it holds the lock for as long as it takes.
		c.shards[i].users = gocache.New(gocache.NoExpiration, 0)
		c.shards[i].max = maxUsers / len(c.shards)
	}
	return c
}

// shard is a part of the users. Readers take no lock but go-cache's; mu orders
// the writers.
type shard struct {
	users  *gocache.Cache // string(user) to *userTokens
	epochs [epochStripes]atomic.Uint64
	max    int

	mu    sync.Mutex
	queue expiryQueue // every user in users
}

// userTokens are the tokens of one user. What readers see of it never changes:
// a write puts another one in its place.
type userTokens struct {
	tokens []paramsToken // the first to expire first
	place  *place        // in the queue; only for writers
}

type paramsToken struct {
	params [sha256.Size]byte
	token  Token
}

func (c *MemoryCache) shard(user *UserKey) (*shard, *atomic.Uint64) {
	s := &c.shards[binary.LittleEndian.Uint64(user[:])%uint64(len(c.shards))]
	return s, &s.epochs[binary.LittleEndian.Uint64(user[8:])%epochStripes]
}

// Get implements Cache. The error is always nil.
func (c *MemoryCache) Get(_ context.Context, key Key) (t Token, epoch uint64, err error) {
	t, epoch = c.get(&key, time.Now())
	return t, epoch, nil
}

// get is Get at a moment that is known.
func (c *MemoryCache) get(key *Key, now time.Time) (t Token, epoch uint64) {
	s, stripe := c.shard(&key.User)
	epoch = stripe.Load() // before the token, as Cache demands
	if u := s.get(&key.User); u != nil {
		for i := range u.tokens {
			if p := &u.tokens[i]; p.params == key.Params && p.token.Expiry.After(now) {
				return p.token, epoch
			}
		}
	}
	return Token{}, epoch
}

// Set implements Cache. The error is always nil.
func (c *MemoryCache) Set(_ context.Context, key Key, t Token, epoch uint64) (kept bool, err error) {
	s, stripe := c.shard(&key.User)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if stripe.Load() != epoch {
		return false, nil
	}
	old := s.get(&key.User)
	var tokens []paramsToken
	if old != nil {
		tokens = make([]paramsToken, 0, len(old.tokens)+1)
		for _, p := range old.tokens {
			if p.params != key.Params && p.token.Expiry.After(now) {
				tokens = append(tokens, p)
			}
		}
	}
	kept = t.Expiry.After(now)
	if kept {
		if len(tokens) == maxTokensPerUser {
			tokens = tokens[1:]
		}
		tokens = append(tokens, paramsToken{key.Params, t})
		slices.SortFunc(tokens, func(a, b paramsToken) int { return a.token.Expiry.Compare(b.token.Expiry) })
	}
	if len(tokens) > 0 {
		s.put(key.User, old, tokens, now)
	} else {
		s.remove(key.User, old)
	}
	return kept, nil
}

// Forget implements Cache. The error is always nil.
func (c *MemoryCache) Forget(_ context.Context, user UserKey) error {
	s, stripe := c.shard(&user)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(user, s.get(&user))
	stripe.Add(1) // last: whoever sees the epoch that begins must not see its predecessor's tokens
	return nil
}

// get needs no lock. The conversion to a string is one that does not allocate.
func (s *shard) get(user *UserKey) *userTokens {
	if u, ok := s.users.Get(string(user[:])); ok {
		return u.(*userTokens)
	}
	return nil
}

// put keeps tokens, the last of which expires after now, in the place of old.
func (s *shard) put(user UserKey, old *userTokens, tokens []paramsToken, now time.Time) {
	expiry := tokens[len(tokens)-1].token.Expiry
	var p *place
	if old != nil {
		p = old.place
		p.expiry = expiry
		heap.Fix(&s.queue, p.index)
	} else {
		s.makeRoom(now)
		p = &place{user: user, expiry: expiry}
		heap.Push(&s.queue, p)
	}
	s.users.Set(string(user[:]), &userTokens{tokens, p}, gocache.NoExpiration)
}

// makeRoom removes some users who have expired, and where none has and the
// shard is full, the first who will.
func (s *shard) makeRoom(now time.Time) {
	for range sweepStep {
		full := len(s.queue) >= s.max
		if len(s.queue) == 0 || !full && s.queue[0].expiry.After(now) {
			return
		}
		s.users.Delete(string(s.queue[0].user[:]))
		heap.Pop(&s.queue)
	}
}

func (s *shard) remove(user UserKey, u *userTokens) {
	if u != nil {
		s.users.Delete(string(user[:]))
		heap.Remove(&s.queue, u.place.index)
	}
}

// expiryQueue is a heap of users, the first to expire first.
type expiryQueue []*place

type place struct {
	user   UserKey
	expiry time.Time
	index  int
}

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].expiry.Before(q[j].expiry) }
func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *expiryQueue) Push(p any) {
	p.(*place).index = len(*q)
	*q = append(*q, p.(*place))
}

func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return p
}
