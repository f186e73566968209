package rediscache_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
)

// The first part of the harness: caches, keys and tokens.

func newSecret() []byte {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// testKey returns the key of a user's token with a grant.
func testKey(user, grant string) searchtoken.Key {
	return searchtoken.Key{User: sha256.Sum256([]byte(user)), Params: sha256.Sum256([]byte(grant))}
}

func newToken(value string, life time.Duration) searchtoken.Token {
	issued := time.Now()
	return searchtoken.Token{Value: value, Issued: issued, Expiry: issued.Add(life)}
}

// defaultConfig returns a configuration with the default timeouts.
func defaultConfig(addr string, secrets ...[]byte) rediscache.Config {
	return rediscache.Config{Client: rueidis.ClientOption{InitAddress: []string{addr}}, Secrets: secrets}
}

// patientConfig returns a configuration for tests in which Redis works: on a
// busy machine it may take longer than the default timeout.
func patientConfig(addr string, secrets ...[]byte) rediscache.Config {
	cfg := defaultConfig(addr, secrets...)
	cfg.Timeout = 10 * time.Second
	return cfg
}

// newCache returns the cache of one process. The test closes it.
func newCache(t testing.TB, cfg rediscache.Config) *rediscache.Cache {
	t.Helper()
	c, err := rediscache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustSet stores a token in the current epoch.
func mustSet(t testing.TB, c *rediscache.Cache, key searchtoken.Key, token searchtoken.Token) {
	t.Helper()
	_, epoch, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := c.Set(t.Context(), key, token, epoch); !kept || err != nil {
		t.Fatalf("Set: kept %v, error %v", kept, err)
	}
}

// cached returns the value of the token under key, or "".
func cached(t testing.TB, c *rediscache.Cache, key searchtoken.Key) string {
	t.Helper()
	token, _, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token.Value
}

// answers reports whether c reaches Redis.
func answers(t testing.TB, c *rediscache.Cache) func() bool {
	return func() bool {
		_, _, err := c.Get(t.Context(), testKey("somebody", ""))
		return err == nil
	}
}

// The second part: what is in Redis.

// newAdmin returns a client that reads and writes Redis without rediscache.
func newAdmin(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// do runs one command. An error answer fails the test.
func do(t testing.TB, admin rueidis.Client, command ...string) rueidis.RedisResult {
	t.Helper()
	answer := admin.Do(context.Background(), admin.B().Arbitrary(command...).Build())
	if err := answer.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%s: %v", command[0], err)
	}
	return answer
}

// redisKeys returns the names of all keys in Redis.
func redisKeys(t testing.TB, admin rueidis.Client) []string {
	t.Helper()
	keys, err := do(t, admin, "KEYS", "*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// onlyKey returns the name of the only key in Redis.
func onlyKey(t testing.TB, admin rueidis.Client) string {
	t.Helper()
	keys := redisKeys(t, admin)
	if len(keys) != 1 {
		t.Fatalf("Redis has the keys %q, want one", keys)
	}
	return keys[0]
}

// tokenFields returns the names of an entry's token fields.
func tokenFields(t testing.TB, admin rueidis.Client, entry string) (tokens []string) {
	t.Helper()
	fields, err := do(t, admin, "HKEYS", entry).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range fields {
		if field[0] == 't' {
			tokens = append(tokens, field)
		}
	}
	return tokens
}

// onlyTokenField returns the name of an entry's only token field.
func onlyTokenField(t testing.TB, admin rueidis.Client, entry string) string {
	t.Helper()
	fields := tokenFields(t, admin, entry)
	if len(fields) != 1 {
		t.Fatalf("the entry has the token fields %q, want one", fields)
	}
	return fields[0]
}

// fieldValue returns the value of a field of an entry.
func fieldValue(t testing.TB, admin rueidis.Client, entry, field string) string {
	t.Helper()
	value, err := do(t, admin, "HGET", entry, field).ToString()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// The third part: Middlewares.

// countingIssuer issues random tokens. Each call takes delay.
type countingIssuer struct {
	calls   atomic.Int64
	delay   time.Duration
	minSize int // of a token, in bytes
}

func (i *countingIssuer) Issue(ctx context.Context, p searchtoken.TokenParams) (searchtoken.Token, error) {
	i.calls.Add(1)
	select {
	case <-time.After(i.delay):
		value := rand.Text() + " of " + p.UserIDs[0].Name
		return newToken(strings.Repeat("t", max(i.minSize-len(value), 0))+value, 24*time.Hour), nil
	case <-ctx.Done():
		return searchtoken.Token{}, ctx.Err()
	}
}

// instance is a Middleware with its own cache, as each process of a site
// has one. Its page is the user's token.
type instance struct {
	*searchtoken.Middleware
	handler     http.Handler
	log         lockedBuffer
	cacheErrors atomic.Int64 // events of this kind
}

// newInstance returns an instance that takes the user's email address from the
// request header User.
func newInstance(t testing.TB, c searchtoken.Cache, issuer searchtoken.Issuer) *instance {
	t.Helper()
	i := &instance{}
	m, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme", Issuer: issuer, Cache: c, Logger: slog.New(slog.NewTextHandler(&i.log, nil)),
		Observe: func(_ context.Context, e searchtoken.Event) {
			if e.Kind == searchtoken.EventCacheError {
				i.cacheErrors.Add(1)
			}
		},
		Identify: func(r *http.Request) (searchtoken.Identity, error) {
			return searchtoken.Email(r.Header.Get("User")), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown(context.Background()) })
	i.Middleware, i.handler = m, m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		_, _ = io.WriteString(w, page.Token.Value)
	}))
	return i
}

// newFleet returns n instances that share one Redis.
func newFleet(t testing.TB, n int, cfg rediscache.Config, issuer searchtoken.Issuer) []*instance {
	t.Helper()
	var fleet []*instance
	for range n {
		fleet = append(fleet, newInstance(t, newCache(t, cfg), issuer))
	}
	return fleet
}

// page returns the token on a page that user requests. A status other than 200
// fails the test.
func (i *instance) page(t testing.TB, user string) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("User", user)
	w := httptest.NewRecorder()
	i.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("%s: status %d", user, w.Code)
	}
	return w.Body.String()
}

// renew sends a renewal of user's rejected token, and returns the status.
func (i *instance) renew(rejected, user string) int {
	r := httptest.NewRequest("POST", "/", strings.NewReader(`{"rejected":"`+rejected+`"}`))
	r.Header.Set("User", user)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	i.RenewHandler().ServeHTTP(w, r)
	return w.Code
}

// share reports whether all instances show user the same token.
func share(t testing.TB, fleet []*instance, user string) bool {
	t.Helper()
	first := fleet[0].page(t, user)
	for _, i := range fleet[1:] {
		if i.page(t, user) != first {
			return false
		}
	}
	return true
}

// lockedBuffer is a buffer that is safe for concurrent use.
type lockedBuffer struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
