package rediscache_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"log/slog"
	"net"
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

func newSecret() []byte {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	return secret
}

// keyOf is the key of a user's token with a grant.
func keyOf(user, grant string) searchtoken.Key {
	return searchtoken.Key{User: sha256.Sum256([]byte(user)), Params: sha256.Sum256([]byte(grant))}
}

func tokenOf(value string, life time.Duration) searchtoken.Token {
	issued := time.Now()
	return searchtoken.Token{Value: value, Issued: issued, Expiry: issued.Add(life)}
}

// newCache is the cache of a process of its own, with patience: the machine that
// tests run on may be busy.
func newCache(t testing.TB, addr string, secrets ...[]byte) *rediscache.Cache {
	t.Helper()
	return newCacheOf(t, rediscache.Config{
		Client: rueidis.ClientOption{InitAddress: []string{addr}}, Secrets: secrets, Timeout: 10 * time.Second,
	})
}

func newCacheOf(t testing.TB, cfg rediscache.Config) *rediscache.Cache {
	t.Helper()
	c, err := rediscache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newClient is for looking into Redis, and for writing what others would.
func newClient(t testing.TB, addr string) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// do is one command, whose answer is no error.
func do(t testing.TB, client rueidis.Client, command ...string) rueidis.RedisResult {
	t.Helper()
	answer := client.Do(context.Background(), client.B().Arbitrary(command...).Build())
	if err := answer.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%s: %v", command[0], err)
	}
	return answer
}

// names are those of all keys in Redis.
func names(t testing.TB, client rueidis.Client) []string {
	t.Helper()
	names, err := do(t, client, "KEYS", "*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// set keeps a token under key, of the epoch that c knows.
func set(t testing.TB, c *rediscache.Cache, key searchtoken.Key, token searchtoken.Token) {
	t.Helper()
	_, epoch, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := c.Set(t.Context(), key, token, epoch); !kept || err != nil {
		t.Fatalf("not kept: %v", err)
	}
}

// got is the value of the token under key; "" is none.
func got(t testing.TB, c *rediscache.Cache, key searchtoken.Key) string {
	t.Helper()
	token, _, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return token.Value
}

// issuer counts its calls. Each takes as long as delay says.
type issuer struct {
	calls atomic.Int64
	delay time.Duration
	size  int // of a token, at least
}

func (i *issuer) Issue(ctx context.Context, p searchtoken.TokenParams) (searchtoken.Token, error) {
	i.calls.Add(1)
	select {
	case <-time.After(i.delay):
		value := rand.Text() + " of " + p.UserIDs[0].Name
		return tokenOf(strings.Repeat("t", max(i.size-len(value), 0))+value, 24*time.Hour), nil
	case <-ctx.Done():
		return searchtoken.Token{}, ctx.Err()
	}
}

// instance is one process of a site.
type instance struct {
	*searchtoken.Middleware
	handler http.Handler
	log     *records
}

// records are what an instance logged, and how often its cache failed.
type records struct {
	mu     sync.Mutex
	text   strings.Builder
	errors atomic.Int64
}

func (l *records) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *records) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newInstance is an instance whose pages are their user's token. A request's header
// User says who that is.
func newInstance(t testing.TB, c searchtoken.Cache, issuer searchtoken.Issuer) *instance {
	t.Helper()
	i := &instance{log: &records{}}
	m, err := searchtoken.New(searchtoken.Config{
		OrganizationID: "acme", Issuer: issuer, Cache: c, Logger: slog.New(slog.NewTextHandler(i.log, nil)),
		Observe: func(_ context.Context, e searchtoken.Event) {
			if e.Kind == searchtoken.EventCacheError {
				i.log.errors.Add(1)
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

// fleet are n instances on one Redis.
func fleet(t testing.TB, n int, addr string, issuer searchtoken.Issuer) []*instance {
	t.Helper()
	secret := newSecret()
	var list []*instance
	for range n {
		list = append(list, newInstance(t, newCache(t, addr, secret), issuer))
	}
	return list
}

// page is the token on a page that user asks for.
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

// renew is the status of a renewal of user's token that was rejected.
func (i *instance) renew(rejected, user string) int {
	r := httptest.NewRequest("POST", "/", strings.NewReader(`{"rejected":"`+rejected+`"}`))
	r.Header.Set("User", user)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	i.RenewHandler().ServeHTTP(w, r)
	return w.Code
}

// proxy is a way to Redis that can be blocked, as by a firewall that drops what it
// gets, be slow, and break.
type proxy struct {
	addr string

	mu    sync.Mutex
	gate  chan struct{} // nil: open
	delay time.Duration
	conns []net.Conn
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{addr: listener.Addr().String()}
	t.Cleanup(func() {
		listener.Close()
		p.open()
		p.cut()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			go p.pass(client, server)
			go p.pass(server, client)
		}
	}()
	return p
}

func (p *proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		gate, delay := p.gate, p.delay
		p.mu.Unlock()
		if delay > 0 {
			<-time.After(delay)
		}
		if gate != nil {
			<-gate
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// block lets nothing pass, and tells nobody.
func (p *proxy) block() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// open is the end of block.
func (p *proxy) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil {
		close(p.gate)
		p.gate = nil
	}
}

// slow makes everything take so much longer, each way.
func (p *proxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}
