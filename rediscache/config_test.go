package rediscache_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

func TestNewReportsEveryInvalidField(t *testing.T) {
	type config = rediscache.Config
	const (
		caching  = "Client.DisableCache, Client.AlwaysRESP2: must be false: Redis has to send invalidation messages"
		replicas = "Client.SendToReplicas, Client.ReplicaOnly, Client.Standalone.ReplicaAddress: " +
			"must not be set: a replica may still have a token that was forgotten"
		tracking = "Client.ClientTrackingOptions, Client.NewCacheStoreFn, Client.DisableAutoPipelining: " +
			"must not be set: rediscache sets up client-side caching itself"
		liveness = "Client.Dialer.KeepAlive, Client.ConnWriteTimeout: " +
			"must not be negative: they bound how long a dead connection is used"
		noAddress = `Client.InitAddress: is required, for example "localhost:6379"`
		noPort    = `]: is not host:port, for example "localhost:6379"; rueidis.ParseURL reads a URL`
		decode    = "; decode hexadecimal or base64 text first"
		noSecrets = "Secrets: is required: at least one key of 32 random bytes"
		timeout   = "Timeout: must not be negative; 0 means the default of 250ms"
	)
	for _, tt := range []struct {
		name   string
		change func(*config)
		want   []string // lines of the error
	}{
		{"valid", func(*config) {}, nil},
		{"zero Config", func(c *config) { *c = config{} }, []string{noAddress, noSecrets}},
		{"URL as address", func(c *config) {
			c.Client.InitAddress = append(c.Client.InitAddress, "redis://:hunter2@localhost:6379")
		}, []string{"Client.InitAddress[1" + noPort}},
		{"URL without a port", func(c *config) { c.Client.InitAddress = []string{"rediss://cache.example.com/0"} },
			[]string{"Client.InitAddress[0" + noPort}},
		{"IPv6", func(c *config) { c.Client.InitAddress = []string{"[::1]:6379"} }, nil},
		{"address without a port", func(c *config) { c.Client.InitAddress = []string{"localhost"} },
			[]string{"Client.InitAddress[0" + noPort}},
		{"empty address", func(c *config) { c.Client.InitAddress = []string{""} },
			[]string{"Client.InitAddress[0" + noPort}},
		{"socket", func(c *config) {
			c.Client.InitAddress = []string{"/run/redis.sock"}
			c.Client.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
				return nil, errors.New("no socket")
			}
		}, nil},
		{"short secret", func(c *config) { c.Secrets = append(c.Secrets, []byte("hunter2")) },
			[]string{"Secrets[1]: has 7 bytes, must have 32" + decode}},
		{"long secret", func(c *config) { c.Secrets[0] = make([]byte, 33) },
			[]string{"Secrets[0]: has 33 bytes, must have 32" + decode}},
		{"DisableCache", func(c *config) { c.Client.DisableCache = true }, []string{caching}},
		{"AlwaysRESP2", func(c *config) { c.Client.AlwaysRESP2 = true }, []string{caching}},
		{"SendToReplicas", func(c *config) { c.Client.SendToReplicas = func(rueidis.Completed) bool { return true } },
			[]string{replicas}},
		{"ReplicaOnly", func(c *config) { c.Client.ReplicaOnly = true }, []string{replicas}},
		{"ReplicaAddress", func(c *config) { c.Client.Standalone.ReplicaAddress = []string{"127.0.0.1:2"} },
			[]string{replicas}},
		{
			name:   "ClientTrackingOptions",
			change: func(c *config) { c.Client.ClientTrackingOptions = []string{"BCAST"} },
			want:   []string{tracking},
		},
		{"NewCacheStoreFn", func(c *config) {
			c.Client.NewCacheStoreFn = func(rueidis.CacheStoreOption) rueidis.CacheStore { return nil }
		}, []string{tracking}},
		{"DisableAutoPipelining", func(c *config) { c.Client.DisableAutoPipelining = true }, []string{tracking}},
		{"negative KeepAlive", func(c *config) { c.Client.Dialer.KeepAlive = -1 }, []string{liveness}},
		{"negative ConnWriteTimeout", func(c *config) { c.Client.ConnWriteTimeout = -1 }, []string{liveness}},
		{"negative Timeout", func(c *config) { c.Timeout = -1 }, []string{timeout}},
		{"several fields", func(c *config) { c.Client.InitAddress, c.Timeout = nil, -1 }, []string{noAddress, timeout}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := defaultConfig("127.0.0.1:1", newSecret())
			tt.change(&cfg)
			c, err := rediscache.New(cfg)
			if err == nil {
				defer c.Close()
			}
			var want, got string
			if tt.want != nil {
				want = "rediscache: " + strings.Join(tt.want, "\n")
			}
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// A Cache uses OnInvalidations itself.
func TestOnInvalidationsOfTheApplicationIsCalled(t *testing.T) {
	redis := redisserver.Start(t)
	cfg, key := patientConfig(redis.Addr, newSecret()), testKey("ann", "")
	writer := newCache(t, cfg)
	var calls atomic.Int64
	cfg.Client.OnInvalidations = func([]rueidis.RedisMessage) { calls.Add(1) }
	reader := newCache(t, cfg)
	mustSet(t, writer, key, newToken("secret", time.Hour))
	redisserver.Eventually(t, "the token is in memory", func() bool { return cached(t, reader, key) != "" })
	before := calls.Load()
	if err := writer.Forget(t.Context(), key.User); err != nil {
		t.Fatal(err)
	}
	redisserver.Eventually(t, "the application is called", func() bool { return calls.Load() > before })
}

// rueidis's own default is 1 s: a dead connection would be used for longer.
func TestKeepAliveIsHalfASecondByDefault(t *testing.T) {
	for _, tt := range []struct{ set, want time.Duration }{
		{0, 500 * time.Millisecond},
		{3 * time.Second, 3 * time.Second},
	} {
		t.Run(tt.set.String(), func(t *testing.T) {
			redis := redisserver.Start(t)
			got := make(chan time.Duration, 100)
			cfg := patientConfig(redis.Addr, newSecret())
			cfg.Client.Dialer.KeepAlive = tt.set
			cfg.Client.DialCtxFn = func(
				ctx context.Context, addr string, d *net.Dialer, _ *tls.Config,
			) (net.Conn, error) {
				got <- d.KeepAlive
				return d.DialContext(ctx, "tcp", addr)
			}
			newCache(t, cfg)
			if diff := cmp.Diff(tt.want, <-got); diff != "" {
				t.Errorf("KeepAlive (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPrefixStartsEveryKey(t *testing.T) {
	for _, tt := range []struct{ prefix, want string }{
		{"", "searchtoken:"},
		{"shop:", "shop:"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			redis := redisserver.Start(t)
			cfg := patientConfig(redis.Addr, newSecret())
			cfg.Prefix = tt.prefix
			site := newInstance(t, newCache(t, cfg), &countingIssuer{})
			site.renew(site.page(t, "ann"), "ann")
			keys := redisKeys(t, newAdmin(t, redis.Addr))
			if len(keys) != 2 { // the entry, and the count of renewals
				t.Errorf("Redis has the keys %q, want two", keys)
			}
			for _, key := range keys {
				if !strings.HasPrefix(key, tt.want) {
					t.Errorf("key %q has not the prefix %q", key, tt.want)
				}
			}
		})
	}
}
