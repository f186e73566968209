package searchtoken_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// A test of something that takes time runs in a bubble, where time passes only
// while everybody waits. A test without a bubble uses newMiddleware, request
// and get.

// harness is a Middleware with a fake for each part around it, in a synctest
// bubble.
type harness struct {
	*testing.T
	middleware *searchtoken.Middleware
	issuer     *issuer
	memory     *searchtoken.MemoryCache // the Cache, unless configure sets another one
	cache      *cache                   // a fake over memory: pass it to configure to use it
	events     *events
	log        *logLines

	names   *sync.Map // the token of each name, as nameOf returns it
	running *sync.WaitGroup
}

// timed is what one request got, and how long it waited for that.
type timed struct {
	Status int
	Token  string // its name, if the status is 200
	Waited time.Duration
}

// bubble runs test in a synctest bubble, with a Middleware that identifies
// users by the header User. At the end it waits for all requests in the
// background. test must use h instead of t: t and its context belong to the
// world outside.
func bubble(t *testing.T, test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		defer h.wait()
		test(h)
	})
}

func newHarness(t *testing.T) *harness {
	memory := searchtoken.NewMemoryCache(0)
	h := &harness{
		T: t, issuer: &issuer{}, memory: memory, cache: &cache{Cache: memory},
		events: &events{}, log: &logLines{}, names: &sync.Map{}, running: &sync.WaitGroup{},
	}
	h.configure(searchtoken.Config{})
	return h
}

// configure replaces the Middleware by one with cfg. h's fakes stand for the
// parts that cfg leaves out.
func (h *harness) configure(cfg searchtoken.Config) {
	h.Helper()
	if cfg.Issuer == nil && cfg.APIKey == "" {
		cfg.Issuer = h.issuer
	}
	if cfg.Cache == nil {
		cfg.Cache = h.memory
	}
	if cfg.Observe == nil {
		cfg.Observe = h.events.observe
	}
	if cfg.Logger == nil {
		cfg.Logger = h.log.logger()
	}
	h.middleware = newMiddleware(h.T, cfg)
}

// instance returns another process of the same site: it shares h's memory and
// issuer, and has its own Middleware, cache, events and log.
func (h *harness) instance() *harness {
	h.Helper()
	other := *h
	other.cache, other.events, other.log = &cache{Cache: h.memory}, &events{}, &logLines{}
	other.configure(searchtoken.Config{})
	return &other
}

// get returns the answer to a GET by user. If the status is 200, Body is the
// token's name.
func (h *harness) get(user string) answer { return h.serve(request(user)) }

// serve returns the answer to r, as get does.
func (h *harness) serve(r *http.Request) answer { return h.named(seen(get(h.middleware, r))) }

// visit has user ask for a token. The user leaves after patience.
func (h *harness) visit(user string, patience time.Duration) (v timed) {
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	began := time.Now()
	a := h.serve(request(user).WithContext(ctx))
	v = timed{Status: a.Status, Waited: time.Since(began)}
	if a.Status == http.StatusOK {
		v.Token = a.Body
	}
	return v
}

// renew returns the answer to a renewal by user, as get does. rejected is the
// name or the value of a token.
func (h *harness) renew(user, rejected string) answer {
	if value, ok := h.names.Load(rejected); ok {
		rejected = value.(string)
	}
	return h.named(seen(renew(h.middleware, renewal(user, rejected))))
}

// named replaces the token in a by its name.
func (h *harness) named(a answer) answer {
	if a.Status == http.StatusOK {
		name := nameOf(a.Body)
		h.names.Store(name, a.Body)
		a.Body = name
	}
	return a
}

// forget has the Middleware forget user.
func (h *harness) forget(user string) {
	h.Helper()
	if err := h.middleware.Forget(h.Context(), searchtoken.Email(user)); err != nil {
		h.Errorf("Forget: %v", err)
	}
}

// elapse lets time pass. Afterwards, everything that is due has happened.
func (h *harness) elapse(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// background starts f, and returns as soon as f waits for something.
func (h *harness) background(f func()) {
	h.running.Go(f)
	synctest.Wait()
}

// together runs f(0) to f(n-1) at once, and waits for all of them.
func (h *harness) together(n int, f func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { f(i) })
	}
	group.Wait()
}

// wait waits for everything that runs in the background.
func (h *harness) wait() {
	h.running.Wait()
	synctest.Wait()
}

// issuer is an Issuer that notes its calls.
type issuer struct {
	// answer makes the answer to call n, counted from 1. Nil: after delay, the
	// error that err returns, or else a token for ValidFor.
	answer func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error)

	mu    sync.Mutex // guards the fields below
	delay time.Duration
	err   func(user string) error // may be nil
	calls []searchtoken.TokenParams
	taken int // how many of calls take has returned
}

// Issue implements searchtoken.Issuer.
func (i *issuer) Issue(ctx context.Context, p searchtoken.TokenParams) (searchtoken.Token, error) {
	i.mu.Lock()
	i.calls = append(i.calls, p)
	n, delay, failure := len(i.calls), i.delay, i.err
	i.mu.Unlock()
	if i.answer != nil {
		return i.answer(ctx, n, p)
	}
	if delay > 0 {
		if err := pause(ctx, delay); err != nil {
			return searchtoken.Token{}, err
		}
	}
	if failure != nil {
		if err := failure(p.UserIDs[0].Name); err != nil {
			return searchtoken.Token{}, err
		}
	}
	return tokenFor(n, p), nil
}

// slow makes later calls take d.
func (i *issuer) slow(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.delay = d
}

// fail makes later calls fail with err; nil ends that.
func (i *issuer) fail(err error) { i.failBy(func(string) error { return err }) }

// failBy makes later calls for a user fail with err(user), unless that is nil.
func (i *issuer) failBy(err func(user string) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

// params returns the parameters of all calls.
func (i *issuer) params() []searchtoken.TokenParams {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.calls)
}

// count returns the number of all calls.
func (i *issuer) count() int { return len(i.params()) }

// take returns the users of the calls since the last take.
func (i *issuer) take() (users []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, p := range i.calls[i.taken:] {
		users = append(users, p.UserIDs[0].Name)
	}
	i.taken = len(i.calls)
	return users
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slowly returns an answer of an issuer that takes d.
func slowly(d time.Duration) func(context.Context, int, searchtoken.TokenParams) (searchtoken.Token, error) {
	return func(ctx context.Context, n int, p searchtoken.TokenParams) (searchtoken.Token, error) {
		if err := pause(ctx, d); err != nil {
			return searchtoken.Token{}, err
		}
		return tokenFor(n, p), nil
	}
}

// tokenFor returns the token of call n. It contains the name of its user.
func tokenFor(n int, p searchtoken.TokenParams) searchtoken.Token {
	life := p.ValidFor
	if life == 0 {
		life = 24 * time.Hour
	}
	now := time.Now()
	value := jwt(map[string]any{"n": n, "user": p.UserIDs[0].Name, "iat": now.Unix(), "exp": now.Add(life).Unix()})
	return searchtoken.Token{Value: value, Issued: now, Expiry: now.Add(life)}
}

// nameOf returns the name of a token from tokenFor: "ann 3" is the token of
// call 3, for ann. Any other text is its own name.
func nameOf(value string) string {
	parts := strings.Split(value, ".")
	if len(parts) != 3 {
		return value
	}
	var claims struct {
		N    int
		User string
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.N == 0 {
		return value
	}
	return fmt.Sprint(claims.User, " ", claims.N)
}

// jwt returns an unsigned token with these claims.
func jwt(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return "eyJhbGciOiJIUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(payload) + ".c2lnbmF0dXJl"
}

// byHeader identifies the user by the header User, for tests of something else
// than sessions.
func byHeader(r *http.Request) (searchtoken.Identity, error) {
	if email := r.Header.Get("User"); email != "" {
		return searchtoken.Email(email), nil
	}
	return searchtoken.Identity{}, searchtoken.ErrNoIdentity
}

// newMiddleware returns a Middleware with cfg, and fills in what New requires.
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

// request returns a GET of / by user. If user is empty, nobody is logged in.
func request(user string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if user != "" {
		r.Header.Set("User", user)
	}
	return r
}

// get serves r through m to a handler that answers with the token.
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

// pageOf returns the Page that a handler behind m gets for r. If the handler is
// not called, the Page is empty.
func pageOf(m *searchtoken.Middleware, r *http.Request) (page searchtoken.Page, status int) {
	w := httptest.NewRecorder()
	m.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if p, ok := searchtoken.FromContext(r.Context()); ok {
			page = *p
		}
	})).ServeHTTP(w, r)
	return page, w.Code
}

// renewal returns a POST of rejected by user. If rejected is empty, it is a
// GET.
func renewal(user, rejected string) *http.Request {
	r := request(user)
	if rejected != "" {
		r = httptest.NewRequest("POST", "/", strings.NewReader(fmt.Sprintf(`{"rejected":%q}`, rejected)))
		r.Header.Set("User", user)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "text/plain")
	return r
}

// renew serves r by m's RenewHandler.
func renew(m *searchtoken.Middleware, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	m.RenewHandler().ServeHTTP(w, r)
	return w
}

// answer is the part of a response that matters to most tests.
type answer struct {
	Status     int
	Body       string
	RetryAfter string
}

func seen(w *httptest.ResponseRecorder) answer {
	return answer{w.Code, w.Body.String(), w.Header().Get("Retry-After")}
}

// roundTripper is an upstream without a network: a goroutine that waits for a
// network would stop the time of a bubble.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// errDown is the error of a part that fails.
var errDown = errors.New("down")

// cache is a Cache of which any method may be replaced.
type cache struct {
	searchtoken.Cache
	get    func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error)
	set    func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error)
	forget func(context.Context, searchtoken.UserKey) error
}

// Get implements searchtoken.Cache.
func (c *cache) Get(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
	if c.get != nil {
		return c.get(ctx, key)
	}
	return c.Cache.Get(ctx, key)
}

// Set implements searchtoken.Cache.
func (c *cache) Set(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
	if c.set != nil {
		return c.set(ctx, key, t, epoch)
	}
	return c.Cache.Set(ctx, key, t, epoch)
}

// Forget implements searchtoken.Cache.
func (c *cache) Forget(ctx context.Context, user searchtoken.UserKey) error {
	if c.forget != nil {
		return c.forget(ctx, user)
	}
	return c.Cache.Forget(ctx, user)
}

// fail makes these methods fail with err.
func (c *cache) fail(err error, methods ...string) {
	for _, method := range methods {
		switch method {
		case "Get":
			c.get = func(context.Context, searchtoken.Key) (searchtoken.Token, uint64, error) {
				return searchtoken.Token{}, 0, err
			}
		case "Set":
			c.set = func(context.Context, searchtoken.Key, searchtoken.Token, uint64) (bool, error) {
				return false, err
			}
		case "Forget":
			c.forget = func(context.Context, searchtoken.UserKey) error { return err }
		default:
			panic("cache has no method " + method)
		}
	}
}

// slowGet makes Get return what it found after d, or earlier if its context is
// done.
func (c *cache) slowGet(d time.Duration) {
	c.get = func(ctx context.Context, key searchtoken.Key) (searchtoken.Token, uint64, error) {
		t, epoch, err := c.Cache.Get(ctx, key)
		return t, epoch, errors.Join(err, pause(ctx, d))
	}
}

// slowSet makes Set store the token after d.
func (c *cache) slowSet(d time.Duration) {
	c.set = func(ctx context.Context, key searchtoken.Key, t searchtoken.Token, epoch uint64) (bool, error) {
		if err := pause(ctx, d); err != nil {
			return false, err
		}
		return c.Cache.Set(ctx, key, t, epoch)
	}
}

// inFetch reports whether a method of a Cache was called by a fetch: its
// context has a deadline, unlike that of a request.
func inFetch(ctx context.Context) bool {
	_, ok := ctx.Deadline()
	return ok
}

// events records the events that Observe gets.
type events struct {
	mu   sync.Mutex // guards seen
	seen []searchtoken.Event
}

func (e *events) observe(_ context.Context, event searchtoken.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, event)
}

// takeAll returns the events since the last take.
func (e *events) takeAll() []searchtoken.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}

// take returns the kinds of the events since the last take. After the kind of
// an event with an error stands the error's HTTP status.
func (e *events) take() (kinds []string) {
	for _, event := range e.takeAll() {
		kind := string(event.Kind)
		if event.Err != nil {
			kind += fmt.Sprint(" ", searchtoken.HTTPStatus(event.Err))
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// logLines records the lines of a Logger.
type logLines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// logger returns a Logger whose lines l records, without their time.
func (l *logLines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// take returns the lines since the last take.
func (l *logLines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := slices.Collect(strings.Lines(l.text.String()))
	l.text.Reset()
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\n")
	}
	return lines
}

// check reports a difference between what a test wants and what it got.
func check[T any](t testing.TB, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
