package searchtoken_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
)

// issuer is an Issuer that counts its calls.
type issuer struct {
	// answer makes the answer to call n, counted from 1. Nil: a token for
	// ValidFor.
	answer func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error)

	mu    sync.Mutex
	calls []searchtoken.TokenParams
}

func (i *issuer) Issue(ctx context.Context, p searchtoken.TokenParams) (searchtoken.Token, error) {
	i.mu.Lock()
	i.calls = append(i.calls, p)
	n := len(i.calls)
	i.mu.Unlock()
	if i.answer != nil {
		return i.answer(ctx, n, p)
	}
	return tokenFor(n, p), nil
}

func (i *issuer) params() []searchtoken.TokenParams {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls
}

func (i *issuer) count() int { return len(i.params()) }

// tokenFor is the n-th token, with the name of its user to recognize it by.
func tokenFor(n int, p searchtoken.TokenParams) searchtoken.Token {
	life := p.ValidFor
	if life == 0 {
		life = 24 * time.Hour
	}
	now := time.Now()
	value := jwt(map[string]any{"n": n, "user": p.UserIDs[0].Name, "iat": now.Unix(), "exp": now.Add(life).Unix()})
	return searchtoken.Token{Value: value, Issued: now, Expiry: now.Add(life)}
}

// jwt is an unsigned token with these claims.
func jwt(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return "eyJhbGciOiJIUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(payload) + ".c2lnbmF0dXJl"
}

// byHeader identifies the user by a header of the request, for tests that are
// about something else than sessions.
func byHeader(r *http.Request) (searchtoken.Identity, error) {
	if email := r.Header.Get("User"); email != "" {
		return searchtoken.Email(email), nil
	}
	return searchtoken.Identity{}, searchtoken.ErrNoIdentity
}

// newMiddleware is New with what a test does not care about.
func newMiddleware(t testing.TB, cfg searchtoken.Config) *searchtoken.Middleware {
	t.Helper()
	if cfg.OrganizationID == "" {
		cfg.OrganizationID = "acme"
	}
	if cfg.Identify == nil {
		cfg.Identify = byHeader
	}
	if cfg.Issuer == nil && cfg.APIKey == "" && cfg.Credential == nil {
		cfg.Issuer = &issuer{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := searchtoken.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Shutdown(context.Background()) })
	return m
}

// request is a GET of / by user; an empty user is nobody.
func request(user string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if user != "" {
		r.Header.Set("User", user)
	}
	return r
}

// get serves r through m to a handler that answers with the token alone.
func get(m *searchtoken.Middleware, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := searchtoken.FromContext(r.Context())
		if !ok {
			http.Error(w, "no page", http.StatusTeapot)
			return
		}
		io.WriteString(w, page.Token.Value)
	})).ServeHTTP(w, r)
	return w
}

// answer is what a client sees of a response that matters to most tests.
type answer struct {
	Status     int
	Body       string
	RetryAfter string
}

func seen(w *httptest.ResponseRecorder) answer {
	return answer{w.Code, w.Body.String(), w.Header().Get("Retry-After")}
}

// roundTripper is an upstream without a network, which synctest needs.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// cache is a Cache of which any method may be replaced.
type cache struct {
	searchtoken.Cache
	get    func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error)
	set    func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error)
	forget func(context.Context, searchtoken.UserKey) error
}

func (c *cache) Get(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
	if c.get != nil {
		return c.get(ctx, key)
	}
	return c.Cache.Get(ctx, key)
}

func (c *cache) Set(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
	if c.set != nil {
		return c.set(ctx, key, t, epoch)
	}
	return c.Cache.Set(ctx, key, t, epoch)
}

func (c *cache) Forget(ctx context.Context, user searchtoken.UserKey) error {
	if c.forget != nil {
		return c.forget(ctx, user)
	}
	return c.Cache.Forget(ctx, user)
}

// events collects what Observe is told, as text.
type events struct {
	mu   sync.Mutex
	seen []string
}

func (e *events) observe(_ context.Context, event searchtoken.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := string(event.Kind)
	if event.Err != nil {
		s += fmt.Sprint(" ", searchtoken.HTTPStatus(event.Err))
	}
	e.seen = append(e.seen, s)
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}
