// Package rediscache keeps search tokens in Redis, for sites that run on several
// machines: a token that one of them has got from Coveo serves all, and a user
// whom one of them forgets is forgotten by all.
//
//	cache, err := rediscache.New(rediscache.Config{
//		Client:  rueidis.ClientOption{InitAddress: []string{"redis:6379"}},
//		Secrets: [][]byte{secret}, // 32 bytes, the same on every machine
//	})
//	…
//	coveo, err := searchtoken.New(searchtoken.Config{Cache: cache, …})
//
// It needs Redis 6 or later, or what speaks its protocol with client-side caching
// (https://redis.io/docs/latest/develop/reference/client-side-caching/): a hit is
// answered out of this process's memory, until Redis says that the entry has
// changed.
//
// # When a user is forgotten
//
// Forget returns when Redis has removed the user's entry. From then on, the token
// is handed out by
//
//   - no Get of this process, and no Get anywhere that asks Redis;
//   - a Get of another process that still has it in memory, until Redis's message
//     arrives there: as a rule within a millisecond;
//   - nobody 2 seconds later, whatever happens to messages and connections. A
//     connection that is silent is asked for a sign of life; what came by way of
//     one that breaks or gives none is dropped. The bound is twice
//     Client.Dialer.KeepAlive and Client.ConnWriteTimeout.
//
// A fetch that was under way at the time, on any machine, brings nothing into the
// cache, however long it takes and which machine restarts meanwhile: an entry has
// an epoch, a random number, which goes with the entry. Forget always asks Redis,
// for up to 5 seconds; an error means that nothing may have been forgotten.
//
// This is as true as Redis remembers. Where one restarts from a snapshot or a log
// that is older than a Forget (its default; "save ”" keeps none), where a primary
// dies before its replica knows of it, and where a machine is cut off together with
// a primary that the others have deposed, the token is back until it is forgotten
// again or expires. And a token that a process fetches while Redis fails serves that
// process for a minute, whoever is forgotten elsewhere meanwhile: that is the
// searchtoken.Middleware's.
//
// # When Redis fails
//
// Methods return an error after Config.Timeout, and after that at once, but for
// one attempt in a second; what is in memory is still served, within the bound. A searchtoken.Middleware then does without: see
// searchtoken.Config.Cache. As soon as Redis answers, it is used again.
//
// # What Redis knows
//
// Names are HMACs, tokens are sealed with AES-256-GCM for their place: neither a
// copy of Redis nor one entry in the place of another's gives anybody a token.
// Who can write to Redis can remove tokens, and bring back one that was forgotten
// with all of its entry; it is as good as it was for whom it was.
package rediscache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
)

const (
	defaultPrefix  = "searchtoken:"
	defaultTimeout = 250 * time.Millisecond

	// A connection is given up after twice the first and the second without a
	// sign of life.
	defaultKeepAlive    = 500 * time.Millisecond
	defaultWriteTimeout = time.Second

	retryInterval = time.Second // between two attempts while Redis fails

	forgetTimeout = 5 * time.Second // at most, if the caller waits so long
)

// Config configures a Cache.
type Config struct {
	// Client says where Redis is and how to reach it (TLS, ACL, Sentinel,
	// Cluster), as rueidis has it. A Cache has one connection to each node, on
	// which all happens in order, so PipelineMultiplex has no effect. Defaults
	// that are not rueidis's: Dialer.KeepAlive 500 ms, ConnWriteTimeout 1 s;
	// they bound how long a token can outlive a Forget.
	Client rueidis.ClientOption
	// Prefix begins the names of all keys in Redis. Middlewares whose API keys
	// do not grant the same must not share it. Default: "searchtoken:".
	Prefix string
	// Secrets are keys of 32 random bytes, the same in all processes. The first
	// names and seals, all find and open. To rotate, let each step reach all
	// processes before the next: add the next secret at the end; move it to
	// the front; a day later, when nothing sealed with the other is left, drop
	// that. Required.
	Secrets [][]byte
	// Timeout is how long one operation may wait for Redis. Default: 250 ms.
	Timeout time.Duration
}

// Cache is a searchtoken.Cache, Claimer and RenewalLimiter on Redis. It is safe for concurrent use.
type Cache struct {
	prefix  string
	secrets []*secret
	timeout time.Duration
	watched watched

	connected  chan struct{}  // closed when redis is there
	redis      rueidis.Client // not read before
	connectErr atomic.Pointer[error]
	outage     atomic.Pointer[outage] // nil: Redis answers

	closed  chan struct{}
	close   sync.Once
	running sync.WaitGroup
}

var (
	_ searchtoken.Cache          = (*Cache)(nil)
	_ searchtoken.Claimer        = (*Cache)(nil)
	_ searchtoken.RenewalLimiter = (*Cache)(nil)
)

// New returns a Cache, or one error (errors.Join) that names every field of cfg
// that is missing or wrong. It does not wait for Redis: a process that starts
// while Redis is down serves without, and connects when it can. Close it when
// done.
func New(cfg Config) (*Cache, error) {
	var errs []error
	bad := func(field, why string) { errs = append(errs, fmt.Errorf("rediscache: %s: %s", field, why)) }
	option := cfg.Client
	if len(option.InitAddress) == 0 {
		bad("Client.InitAddress", `is required; "localhost:6379" for example`)
	}
	if option.DisableCache || option.AlwaysRESP2 {
		bad("Client.DisableCache, Client.AlwaysRESP2", "must be false: Redis has to say what changes")
	}
	if option.SendToReplicas != nil || option.ReplicaOnly || len(option.Standalone.ReplicaAddress) > 0 {
		bad("Client.SendToReplicas, Client.ReplicaOnly, Client.Standalone.ReplicaAddress",
			"must not be set: a replica may not know yet who was forgotten")
	}
	if option.ClientTrackingOptions != nil || option.NewCacheStoreFn != nil || option.DisableAutoPipelining {
		bad("Client.ClientTrackingOptions, Client.NewCacheStoreFn, Client.DisableAutoPipelining", "must not be set")
	}
	if option.Dialer.KeepAlive < 0 || option.ConnWriteTimeout < 0 {
		bad("Client.Dialer.KeepAlive, Client.ConnWriteTimeout", "must not be negative: they bound how long a token outlives a Forget")
	}
	if cfg.Timeout < 0 {
		bad("Timeout", "must not be negative; 0 is the default, 250ms")
	}
	if len(cfg.Secrets) == 0 {
		bad("Secrets", "is required: at least one key of 32 random bytes")
	}
	c := &Cache{
		prefix:    cmp.Or(cfg.Prefix, defaultPrefix),
		timeout:   cmp.Or(cfg.Timeout, defaultTimeout),
		connected: make(chan struct{}),
		closed:    make(chan struct{}),
	}
	for i, key := range cfg.Secrets {
		if len(key) != secretSize {
			bad(fmt.Sprintf("Secrets[%d]", i), fmt.Sprintf("has %d bytes; %d are required", len(key), secretSize))
			continue
		}
		c.secrets = append(c.secrets, newSecret(key))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	option.PipelineMultiplex = -1 // one connection, so that answers and invalidations are in order
	option.Dialer.KeepAlive = cmp.Or(option.Dialer.KeepAlive, defaultKeepAlive)
	option.ConnWriteTimeout = cmp.Or(option.ConnWriteTimeout, defaultWriteTimeout)
	option.OnInvalidations = c.watched.changed
	if also := cfg.Client.OnInvalidations; also != nil {
		option.OnInvalidations = func(keys []rueidis.RedisMessage) {
			c.watched.changed(keys)
			also(keys)
		}
	}
	c.running.Go(func() { c.connect(option) })
	return c, nil
}

// connect connects for the first time; after that, rueidis does by itself.
func (c *Cache) connect(option rueidis.ClientOption) {
	for {
		client, err := rueidis.NewClient(option)
		if err == nil {
			c.redis = client
			close(c.connected)
			return
		}
		if client != nil {
			client.Close()
		}
		c.connectErr.Store(&err)
		select {
		case <-time.After(retryInterval):
		case <-c.closed:
			return
		}
	}
}

// client waits until there is one.
func (c *Cache) client(ctx context.Context) (rueidis.Client, error) {
	select {
	case <-c.connected:
		return c.redis, nil
	default:
	}
	select {
	case <-c.connected:
		return c.redis, nil
	case <-ctx.Done():
		if err := c.connectErr.Load(); err != nil {
			return nil, *err
		}
		return nil, ctx.Err()
	}
}

// outage is that Redis did not answer of late.
type outage struct {
	err   error
	retry time.Time // no attempt before
}

// do carries out op if Redis answers.
func (c *Cache) do(ctx context.Context, op func(context.Context, rueidis.Client) error) error {
	if o := c.outage.Load(); o != nil {
		now := time.Now()
		if now.Before(o.retry) || !c.outage.CompareAndSwap(o, &outage{o.err, now.Add(retryInterval)}) {
			return fmt.Errorf("rediscache: Redis is out of reach: %w", o.err)
		}
	}
	return c.try(ctx, c.timeout, op)
}

// try carries out op, and learns from it whether Redis answers.
func (c *Cache) try(ctx context.Context, timeout time.Duration, op func(context.Context, rueidis.Client) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := c.client(limited)
	if err == nil {
		err = op(limited, client)
	}
	_, answered := rueidis.IsRedisErr(err)
	switch {
	case err == nil || answered:
		if c.outage.Load() != nil {
			c.outage.Store(nil)
		}
	case ctx.Err() == nil && !errors.Is(err, context.Canceled): // else a caller's time was up, not Redis's
		c.outage.Store(&outage{err, time.Now().Add(retryInterval)})
	}
	if err != nil {
		return fmt.Errorf("rediscache: %w", err)
	}
	return nil
}

// Close ends the claims that are held and closes the connections. Close the
// Middlewares first. It may be called again; the error is always nil.
func (c *Cache) Close() error {
	c.close.Do(func() {
		close(c.closed)
		c.running.Wait()
		select {
		case <-c.connected:
			c.redis.Close()
		default:
		}
	})
	return nil
}
