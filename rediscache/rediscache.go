// Package rediscache keeps search tokens in Redis, for a site that runs on
// several machines. A token that one process fetches from Coveo serves all
// processes, and a user whom one process forgets is forgotten by all.
//
//	cache, err := rediscache.New(rediscache.Config{
//		Client:  rueidis.ClientOption{InitAddress: []string{"redis:6379"}},
//		Secrets: [][]byte{secret}, // 32 bytes, the same on every machine
//	})
//	…
//	coveo, err := searchtoken.New(searchtoken.Config{Cache: cache, …})
//
// [Cache] implements [searchtoken.Cache], [searchtoken.Claimer] (one process at
// a time fetches a given token) and [searchtoken.RenewalLimiter] (the limit of
// forced renewals holds across all processes).
//
// rediscache needs Redis 6.2 or later, or a server that supports the same
// protocol with client-side caching
// (https://redis.io/docs/latest/develop/reference/client-side-caching/). A
// process keeps the entries that it reads in its memory and answers hits from
// there, until Redis sends an invalidation message because an entry changed.
//
// # What Forget guarantees
//
// [Cache.Forget] returns after Redis has removed all tokens of the user. After
// that:
//
//   - A Get in the same process does not return such a token, nor does a Get in
//     another process that asks Redis.
//   - A process that has the token in its memory may return it until Redis's
//     invalidation message arrives, usually within a millisecond.
//   - After 2 seconds no process returns it, even if messages or connections
//     were lost, or if the process was stopped or its machine suspended.
//
// For the bound of 2 seconds, a process asks all nodes of Redis for the time
// every half a second. Redis answers in order, so an answer shows that earlier
// invalidation messages have arrived. If the latest answered round began more
// than 2 seconds ago, Get asks Redis instead of the memory of the process. So a
// node that does not answer makes hits on all nodes slower, until the cluster
// no longer names it. The bound does not hold on a virtual machine whose clocks
// stand still while it is paused: such a process may return the token until it
// has read the messages that waited for it.
//
// A fetch that was in flight during the Forget, on any machine, does not store
// its token, no matter how long it takes or which machine restarts meanwhile.
// This is because each entry contains an epoch, a random number that is removed
// together with the entry, and [Cache.Set] stores nothing in another epoch.
//
// Forget asks Redis even during an outage, and waits for up to 5 seconds. If it
// returns an error, the tokens may still be in Redis.
//
// # Eviction, FLUSHALL and lost writes
//
// Redis may evict entries, and FLUSHALL is safe: the next request of each user
// fetches another token, and a fetch in flight at that moment is repeated,
// because its epoch is gone.
//
// The guarantees of Forget hold as long as Redis does not lose writes. In three
// cases a forgotten token can be served again, until it expires or is forgotten
// again:
//
//   - Redis restarts from a snapshot or an append-only file that is older than
//     the Forget. By default Redis writes snapshots; the setting save "" turns
//     them off.
//   - A primary fails before its replica has received the Forget.
//   - A process is cut off together with the old primary, and the other nodes
//     elect a new one. That process does not see a Forget on the new primary.
//
// One exception is due to the [searchtoken.Middleware]: a token that a process
// fetches while Redis fails serves that process for a minute, even if another
// process forgets the user meanwhile.
//
// # Outages of Redis
//
// A site keeps serving pages while Redis is down. A method waits for at most
// Config.Timeout (Forget for 5 seconds) and then returns an error. After a
// failure, methods other than Forget return an error at once, except for one
// attempt per second. Get still returns the tokens in the memory of the
// process, until 2 seconds after Redis answered last. The Middleware works
// without the cache meanwhile: see Cache in [searchtoken.Config]. Redis is used
// again as soon as an attempt succeeds.
//
// # What Redis stores
//
// The names of keys and fields are HMACs of users and grants. Tokens are
// encrypted together with their expiry, with AES-256-GCM, and can be decrypted
// only under the same prefix, user, grant and epoch. Their lengths are rounded
// up to multiples of 64 bytes. So neither a copy of the data nor a token that
// was moved to another user's entry gives anybody a token.
//
// Expiries are times by the clock of Redis. Each process knows the difference
// to its own clock from the answers to TIME, so that the machines' clocks need
// not agree. A process never takes a token to live for longer than the process
// that fetched it. The clocks of a primary, its replicas and the other nodes of
// a cluster must agree.
//
// A user has at most 4,000 tokens. For another one, Set removes one of them:
// the first to expire of a few that it looks at.
//
// Somebody who can write to Redis cannot read a token, change its expiry or
// give it to another user. They can:
//
//   - remove tokens, claims and counts of renewals. Each costs at most one more
//     call of Coveo.
//   - restore a forgotten token together with its whole entry, until the token
//     expires. It still serves only its own user.
//   - write claims. A fetch then waits for 10 seconds, as for a slow process,
//     before it calls Coveo itself.
//   - write counts of renewals, so that a user gets no forced renewals across
//     the processes, or as many as each process alone allows.
//   - write values of any size into an entry. A process that reads such a value
//     needs the time and a multiple of the memory that it takes.
//
// So give the processes of the site, and nobody else, the right to write.
//
// # Rotating secrets
//
// The first of Config.Secrets is used to write. All of them are used to read
// and to forget. To replace a secret, deploy three configurations, each to all
// processes before the next one:
//
//  1. {old, next}: all processes can read what next encrypts.
//  2. {next, old}: all processes write with next.
//  3. {next}, a day later: all tokens that old encrypted have expired.
package rediscache

import (
	"cmp"
	"sync"

	"github.com/searchtoken/searchtoken"
)

// Cache keeps tokens in Redis. Use [New] to get one; the zero Cache does not
// work. It is safe for concurrent use.
type Cache struct {
	conn    *connection
	secrets []*secret // the first writes, all read
	waiters waiters

	closing    chan struct{} // closed by Close
	closeOnce  sync.Once
	background sync.WaitGroup // connecting, taking the pulse, and extending claims
}

var (
	_ searchtoken.Cache          = (*Cache)(nil)
	_ searchtoken.Claimer        = (*Cache)(nil)
	_ searchtoken.RenewalLimiter = (*Cache)(nil)
)

// New returns a Cache, or an error that names every missing or invalid field of
// cfg. It connects in the background: a process that starts while Redis is down
// serves without it, and connects as soon as Redis is up. Call [Cache.Close]
// when the Cache is no longer needed.
func New(cfg Config) (*Cache, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Cache{
		conn:    newConnection(cmp.Or(cfg.Timeout, defaultTimeout)),
		closing: make(chan struct{}),
	}
	for _, key := range cfg.Secrets {
		c.secrets = append(c.secrets, newSecret(cmp.Or(cfg.Prefix, defaultPrefix), key))
	}
	option := cfg.clientOption(c.waiters.onInvalidation)
	c.background.Go(func() { c.conn.connect(option, c.closing) })
	return c, nil
}

// Close releases the claims of this process and closes its connections. Shut
// the Middlewares down first: see [searchtoken.Middleware.Shutdown]. Further
// calls do nothing. The error is always nil.
func (c *Cache) Close() error {
	c.closeOnce.Do(func() {
		close(c.closing)
		c.background.Wait()
		c.conn.close()
	})
	return nil
}
