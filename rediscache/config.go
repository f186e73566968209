package rediscache

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	defaultPrefix  = "searchtoken:"
	defaultTimeout = 250 * time.Millisecond

	// A connection that shows no sign of life is replaced after twice the first
	// plus the second.
	defaultKeepAlive    = 500 * time.Millisecond
	defaultWriteTimeout = time.Second

	// A node that does not answer makes hits on all nodes ask Redis, until the
	// cluster no longer names it.
	defaultShardsRefresh = 10 * time.Second
)

// Config configures a [Cache].
type Config struct {
	// Client configures the connection to Redis: addresses, TLS, ACL, Sentinel,
	// Cluster. Client.InitAddress is required. Three defaults differ from
	// rueidis's. Dialer.KeepAlive is 500 ms and ConnWriteTimeout is 1 s, so
	// that a dead connection is replaced after 2 seconds.
	// ClusterOption.ShardsRefreshInterval is 10 s, so that a process soon
	// learns which nodes have left.
	//
	// A Cache has one connection to each node, so that answers and invalidation
	// messages arrive in order. PipelineMultiplex therefore has no effect, and
	// options that change how the client caches or reads from replicas are
	// errors.
	Client rueidis.ClientOption
	// Prefix starts the name of every key in Redis. Middlewares of one
	// organization whose API keys have different privileges must have different
	// prefixes. Default: "searchtoken:".
	Prefix string
	// Secrets are keys of 32 random bytes, the same in all processes. The first
	// one encrypts tokens and names Redis keys; all of them are tried when a
	// token is read or forgotten. The package documentation says how to rotate
	// them. Required.
	Secrets [][]byte
	// Timeout limits how long one operation waits for Redis. Forget waits for
	// up to 5 seconds instead. Default: 250 ms.
	Timeout time.Duration
}

// validate returns one error with a line for each invalid field, or nil.
func (cfg *Config) validate() error {
	var errs []error
	bad := func(field, why string) { errs = append(errs, fmt.Errorf("%s: %s", field, why)) }
	option := &cfg.Client
	if len(option.InitAddress) == 0 {
		bad("Client.InitAddress", `is required, for example "localhost:6379"`)
	}
	dials := option.DialFn != nil || option.DialCtxFn != nil // another network than TCP
	for i, address := range option.InitAddress {
		// The address may be a URL with a password.
		if _, port, err := net.SplitHostPort(address); !dials && (err != nil || port == "" || strings.Contains(address, "/")) {
			bad(fmt.Sprintf("Client.InitAddress[%d]", i), `is not host:port, for example "localhost:6379"; rueidis.ParseURL reads a URL`)
		}
	}
	if option.DisableCache || option.AlwaysRESP2 {
		bad("Client.DisableCache, Client.AlwaysRESP2", "must be false: Redis has to send invalidation messages")
	}
	if option.SendToReplicas != nil || option.ReplicaOnly || len(option.Standalone.ReplicaAddress) > 0 {
		bad("Client.SendToReplicas, Client.ReplicaOnly, Client.Standalone.ReplicaAddress",
			"must not be set: a replica may still have a token that was forgotten")
	}
	if option.ClientTrackingOptions != nil || option.NewCacheStoreFn != nil || option.DisableAutoPipelining {
		bad("Client.ClientTrackingOptions, Client.NewCacheStoreFn, Client.DisableAutoPipelining",
			"must not be set: rediscache sets up client-side caching itself")
	}
	if option.Dialer.KeepAlive < 0 || option.ConnWriteTimeout < 0 {
		bad("Client.Dialer.KeepAlive, Client.ConnWriteTimeout",
			"must not be negative: they bound how long a dead connection is used")
	}
	if cfg.Timeout < 0 {
		bad("Timeout", "must not be negative; 0 means the default of 250ms")
	}
	if len(cfg.Secrets) == 0 {
		bad("Secrets", "is required: at least one key of 32 random bytes")
	}
	for i, key := range cfg.Secrets {
		if len(key) != secretSize {
			bad(fmt.Sprintf("Secrets[%d]", i), fmt.Sprintf("has %d bytes, must have %d; decode hexadecimal or base64 text first", len(key), secretSize))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("rediscache: %w", errors.Join(errs...))
}

// clientOption returns cfg.Client with the options that a Cache relies on.
// onInvalidation is called before the application's own OnInvalidations.
func (cfg *Config) clientOption(onInvalidation func([]rueidis.RedisMessage)) rueidis.ClientOption {
	option := cfg.Client
	option.PipelineMultiplex = -1 // one connection: answers and invalidation messages stay in order
	option.Dialer.KeepAlive = cmp.Or(option.Dialer.KeepAlive, defaultKeepAlive)
	option.ConnWriteTimeout = cmp.Or(option.ConnWriteTimeout, defaultWriteTimeout)
	option.ClusterOption.ShardsRefreshInterval = cmp.Or(option.ClusterOption.ShardsRefreshInterval, defaultShardsRefresh)
	option.OnInvalidations = onInvalidation
	if application := cfg.Client.OnInvalidations; application != nil {
		option.OnInvalidations = func(keys []rueidis.RedisMessage) {
			onInvalidation(keys)
			application(keys)
		}
	}
	return option
}
