// Package searchtoken gives every request that passes through an http.Handler
// its user's Coveo search token, ready for the search page that the handler
// renders.
//
// A secured Coveo index shows each user only what that user may see. To query it
// from a browser, a page needs a search token: a JWT of at most 24 hours that a
// server gets for one user with a secret API key
// (https://docs.coveo.com/en/56). This package asks for it, keeps it, refreshes
// it ahead of its expiry, and renders it into the page.
//
// # A search page
//
// A Middleware is made of what it has to know: the organization, a key of the
// "Authenticated search" template, and how to tell who makes a request. Here,
// the session "session" of a gorilla sessions.Store holds the user's e-mail
// address under "email":
//
//	coveo, err := searchtoken.New(searchtoken.Config{
//		OrganizationID: os.Getenv("COVEO_ORGANIZATION_ID"),
//		APIKey:         os.Getenv("COVEO_API_KEY"),
//		Identify:       searchtoken.SessionEmail(store, "session", "email"),
//		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
//	})
//
// Its Handler wraps the page's, in any mux; RenewHandler is where the page gets
// its next token when it stays open for longer than the first one lives:
//
//	mux.Handle("GET /search", coveo.Handler(searchPage))
//	mux.Handle("/coveo/token", coveo.RenewHandler())
//
// The page's handler finds all that it needs in the request's context, and hands
// it to a template that was parsed with FuncMap:
//
//	page, _ := searchtoken.FromContext(r.Context())
//	tmpl.Execute(w, map[string]any{"Coveo": page})
//
// where one line loads and starts Coveo's front end, here Atomic:
//
//	<head>{{coveoAtomic .Coveo}}</head>
//	<body><atomic-search-interface>…</atomic-search-interface></body>
//
// A handler that queries Coveo on the server uses Token.SetAuthHeader instead.
// At log-out, call Forget.
//
// # What a token grants
//
// Route.Params say what the tokens of a page enforce, its search hub or a filter
// for example; Route.Prepare adds what differs from request to request; With
// makes another route of the same Middleware. Tokens of different grants are
// never mixed up, nor are those of different users.
//
// # When there is no token
//
// A visitor who is not logged in gets 401, unless FirstIdentity ends with
// AnonymousIdentity. 502 means that Coveo refuses, 503 that it cannot be reached;
// both are told from memory until it is time to ask again, and a token that is
// still good is served meanwhile. Route.Optional serves the page all the same,
// Route.ErrorHandler another one.
//
// # Tests
//
// Package searchtokentest has a stand-in for the Coveo platform; NewContext puts
// a Page of your own before a handler.
package searchtoken

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Errors that a caller branches on, by way of errors.Is.
var (
	// ErrNoIdentity means that nobody is logged in: 401.
	ErrNoIdentity = errors.New("searchtoken: nobody is logged in")
	// ErrSession means that the session store failed: 500. It wraps the
	// store's error.
	ErrSession = errors.New("searchtoken: the session store failed")
	// ErrUnavailable means that there is no token to be had at the moment:
	// 503, or 502 if Coveo refuses. It wraps the cause, an *APIError if Coveo
	// gave an answer.
	ErrUnavailable = errors.New("searchtoken: no search token to be had at the moment")
)

// Config is what all routes of a Middleware share, and the default Route.
type Config struct {
	// OrganizationID is the Coveo organization. Required; a DNS label.
	OrganizationID string
	// Environment selects the platform. Default: EnvProduction.
	Environment Environment
	// APIKey is an "Authenticated search" key
	// (https://docs.coveo.com/en/1718). It, Credential or Issuer is required,
	// and only one of them.
	APIKey string
	// Credential returns the API key at each call of the platform, for keys
	// that rotate. It must be safe for concurrent use. Its errors are logged.
	Credential func(context.Context) (string, error)
	// PlatformURL is the base URL of Coveo's APIs, for this server and for the
	// browser: https, or http on loopback. Default: the organization's own
	// endpoint, https://<org>.org.coveo.com in production
	// (https://docs.coveo.com/en/mcc80216). Set it for a stand-in or a proxy.
	PlatformURL string
	// AnalyticsURL is the same for analytics. Default: the organization's own,
	// https://<org>.analytics.org.coveo.com in production, whatever
	// PlatformURL is.
	AnalyticsURL string
	// Issuer gets the tokens. Default: a Client made of the fields above.
	Issuer Issuer
	// Identify says who makes a request. Required.
	Identify IdentityFunc
	// Cache keeps the tokens. Default: NewMemoryCache(0). Middlewares may
	// share one if their API keys grant the same. If it is a Claimer, the
	// processes of a fleet agree on who makes a call. While a cache fails, a
	// process serves each token that it fetches itself for a minute.
	Cache Cache
	// HTTPClient makes the calls for tokens. Default: a client with a time-out
	// of 10 seconds that honours HTTPS_PROXY. See ClientConfig.
	HTTPClient *http.Client
	// MaxInFlight is how many calls for tokens are under way at a time, at most,
	// with an Issuer that heeds its context. Requests beyond that wait for
	// their turn, each within its own context's deadline; refreshes ahead of
	// an expiry wait for a quieter moment. Default: 64.
	MaxInFlight int
	// Logger gets what an operator should know: failures of Coveo, the cache
	// and the session store, each of a kind at most once a minute, and why an
	// identity was not found at debug level.
	// What looks like a key, a token or an e-mail address is taken out of the
	// errors first; another secret in an error of your own parts is not known
	// to be one. Default: slog.Default().
	Logger *slog.Logger
	// Observe is called for everything that happens to tokens, for metrics. It
	// must be fast and safe for concurrent use. Default: none.
	Observe func(Event)

	// Route is the default route, that of Middleware.Handler. With makes
	// others.
	Route
}

// Route is what may differ from page to page.
type Route struct {
	// Params is what the route's tokens enforce: search hub, pipeline, filter,
	// life and so on. Its UserIDs must be empty; the Identity's DisplayName
	// and Groups replace UserDisplayName and UserGroups where they are set.
	Params TokenParams
	// Prepare has the last word on the parameters of a request's token: it may
	// add a tenant's filter, for example. It gets a copy of its own to change,
	// identity included. It runs for pages and for renewals, so it may depend
	// only on what both requests carry (session, host, cookie), and must
	// return an error where that is missing, never a wider grant. Its errors
	// are logged, and answered as HTTPStatus says: with 500, unless they wrap
	// one of this package's. Parameters that Coveo would refuse are a 500. It
	// must be safe for concurrent use. Default: none.
	Prepare func(*http.Request, *TokenParams) error
	// MinRemaining is the least life that the token of a page has left. A
	// token with less is not used. Default: 2 minutes, since Coveo's libraries
	// renew a token in its last one; make it hours for pages with IPX, which
	// cannot renew. At most half of a token's life.
	MinRemaining time.Duration
	// RefreshBefore is how long before its expiry a token is fetched anew, in
	// the background. Default: MinRemaining and a tenth of the rest of its
	// life, at least 5 minutes. At most three quarters of a token's life. Must
	// be more than MinRemaining.
	RefreshBefore time.Duration
	// RenewURL is the path on this site where the route's RenewHandler is
	// mounted, "/coveo/token" for example. Default: none, and pages do not
	// renew their tokens.
	RenewURL string
	// Nonce returns the Content-Security-Policy nonce of a request, which
	// every script and style tag of a snippet then carries. Default: none.
	Nonce func(*http.Request) string
	// Optional serves a page without a token, too; Page.Err says why it has
	// none. Default: the ErrorHandler answers in the page's place.
	Optional bool
	// ErrorHandler answers in the place of the page if there is no token for
	// it; HTTPStatus says with which status. The caching headers, and
	// Retry-After where it is known, are set before it is called. The error's
	// text is for operators, not for visitors. Default: the status and its
	// text, nothing else.
	ErrorHandler func(http.ResponseWriter, *http.Request, error)
}

// EventKind is what happened to a token.
type EventKind int

// The kinds of events.
const (
	// EventHit: a request was answered from the cache.
	EventHit EventKind = iota + 1
	// EventMiss: a request waited Elapsed for a token, or failed with Err.
	EventMiss
	// EventFetch: a call of the Issuer for requests that wait took Elapsed.
	EventFetch
	// EventRefresh: a call of the Issuer ahead of a token's expiry took Elapsed.
	EventRefresh
	// EventRenew: a call of the Issuer for a browser whose token was rejected
	// took Elapsed.
	EventRenew
	// EventForget: a user's tokens were removed.
	EventForget
	// EventCacheError: the Cache failed with Err, and was done without.
	EventCacheError
)

var eventNames = [...]string{
	EventHit: "hit", EventMiss: "miss", EventFetch: "fetch", EventRefresh: "refresh",
	EventRenew: "renew", EventForget: "forget", EventCacheError: "cache error",
}

// String is the kind's name in lower case.
func (k EventKind) String() string {
	if k < EventHit || int(k) >= len(eventNames) {
		return "EventKind(" + strconv.Itoa(int(k)) + ")"
	}
	return eventNames[k]
}

// Event is reported to Config.Observe. It says nothing about the user.
type Event struct {
	Kind EventKind
	// Elapsed is how long it took; 0 where nothing was waited for.
	Elapsed time.Duration
	// Err is nil where it succeeded.
	Err error
}

// Middleware gives each request that passes through its Handler a search token
// of the request's user. It is made by New, and safe for concurrent use.
type Middleware struct {
	*site
	route  Route
	params [sha256.Size]byte // the hash of route.Params as they stand
}

// site is what the routes of a Middleware share.
type site struct {
	source    *source
	identify  IdentityFunc
	logger    *slog.Logger
	page      Page     // what is the same on every page
	keyPrefix [16]byte // the part of Key.User that is
}

// New returns a Middleware, or one error (errors.Join) that names every field
// of cfg that is missing or wrong, and the remedy. It makes no call of Coveo.
func New(cfg Config) (*Middleware, error) {
	platform, analytics, err := endpoints(cfg.OrganizationID, cfg.Environment, cfg.PlatformURL, cfg.AnalyticsURL)
	errs := []error{err, cfg.Route.validate()}
	switch {
	case cfg.Issuer == nil:
		errs = append(errs, checkCredential(cfg.APIKey, cfg.Credential))
	case cfg.APIKey != "" || cfg.Credential != nil:
		errs = append(errs, errors.New("searchtoken: Issuer, APIKey, Credential: exclude each other; set one of them"))
	}
	if cfg.Identify == nil {
		errs = append(errs, errors.New("searchtoken: Identify: is required; SessionEmail is the common one"))
	}
	if cfg.MaxInFlight < 0 {
		errs = append(errs, errors.New("searchtoken: MaxInFlight: must not be negative; 0 is the default, 64"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Issuer == nil {
		cfg.Issuer = newClient(platform, ClientConfig{
			OrganizationID: cfg.OrganizationID, APIKey: cfg.APIKey, Credential: cfg.Credential, HTTPClient: cfg.HTTPClient,
		})
	}
	if cfg.Cache == nil {
		cfg.Cache = NewMemoryCache(0)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &site{
		source:    newSource(&cfg),
		identify:  cfg.Identify,
		logger:    cfg.Logger,
		keyPrefix: keyPrefix(cfg.OrganizationID, platform),
		page: Page{
			OrganizationID: cfg.OrganizationID, Environment: cmp.Or(cfg.Environment, EnvProduction),
			PlatformURL: platform, AnalyticsURL: analytics,
		},
	}
	return s.middleware(cfg.Route), nil
}

// validate names every bad field of r.
func (r *Route) validate() error {
	errs := []error{r.Params.validateGrant("Params.")}
	bad := func(field, why string) { errs = append(errs, fmt.Errorf("searchtoken: %s: %s", field, why)) }
	if len(r.Params.UserIDs) > 0 {
		bad("Params.UserIDs", "must be empty; Identify says who searches")
	}
	if r.MinRemaining < 0 {
		bad("MinRemaining", "must not be negative; 0 is the default, 2m")
	}
	if r.RefreshBefore < 0 {
		bad("RefreshBefore", "must not be negative; 0 is the default")
	}
	if least := cmp.Or(r.MinRemaining, defaultMinRemaining); r.RefreshBefore > 0 && r.RefreshBefore <= least {
		bad("RefreshBefore", fmt.Sprintf("must be more than MinRemaining, %v", least))
	}
	if r.RenewURL != "" && !isLocalPath(r.RenewURL) {
		bad("RenewURL", `must be a path on this site, "/coveo/token" for example`)
	}
	return errors.Join(errs...)
}

// isLocalPath reports whether a browser takes s for a path on the page's own
// site. It takes a backslash for a slash, and does not see tabs and newlines.
func isLocalPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '\\' || r == '#' || r == 0x7f })
}

func (s *site) middleware(route Route) *Middleware {
	route.Params = route.Params.clone()
	return &Middleware{s, route, paramsHash(&route.Params, nil)}
}

// With returns the Middleware of another route, with the same cache and client.
// change gets a copy of m's route, and may write to all of it; nil changes nothing. The copy's
// RenewURL is empty: tokens that enforce something else need a RenewHandler of
// their own, mounted under a URL of its own behind the same access control as
// the pages. The error names every bad field, as New's does.
func (m *Middleware) With(change func(*Route)) (*Middleware, error) {
	route := m.route
	route.Params = route.Params.clone()
	route.RenewURL = ""
	if change != nil {
		change(&route)
	}
	if err := route.validate(); err != nil {
		return nil, err
	}
	return m.middleware(route), nil
}

// Handler wraps next, so that FromContext finds a *Page with the token of the
// request's user in the context of every request that next gets. Where there is
// no token, the route's ErrorHandler answers, unless the route is Optional.
//
// Before next it sets Cache-Control to "private, no-store" and appends Cookie
// to Vary, since the page that next renders is one user's. It does not wrap the
// ResponseWriter, and does nothing after next.
func (m *Middleware) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := &pageContext{page: m.page}
		ctx.setHeaders(w.Header())
		if err := m.fill(&ctx.page, r); err != nil && !m.route.Optional {
			setRetryAfter(w.Header(), err)
			if m.route.ErrorHandler != nil {
				m.route.ErrorHandler(w, r, err)
			} else {
				answerError(w, err)
			}
			return
		}
		// Not before Identify and Prepare have run: gorilla's registry
		// replaces the request's context.
		ctx.Context = r.Context()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// fill completes the page of r with a token, or with Err, which is returned as
// well.
func (m *Middleware) fill(page *Page, r *http.Request) error {
	page.RenewURL = m.route.RenewURL
	if m.route.Nonce != nil {
		page.Nonce = m.route.Nonce(r)
	}
	var o order
	if page.Err = m.order(r, &page.Identity, &o); page.Err == nil {
		page.SearchHub = o.params.SearchHub
		page.Token, page.Err = m.source.token(r.Context(), &o)
	}
	return page.Err
}

// order says who makes r, and what the user's token is to be.
func (m *Middleware) order(r *http.Request, id *Identity, o *order) (err error) {
	*id, err = m.identify(r)
	switch {
	case err == nil && !id.Expires.IsZero() && !time.Now().Before(id.Expires):
		err = noIdentity("the session has ended")
	case err == nil:
		err = m.orderFor(r, id, o)
	}
	switch {
	case err == nil:
	case errors.Is(err, ErrNoIdentity):
		logNoIdentity(r, m.logger, err)
	case r.Context().Err() == nil:
		m.source.refused(r.Context(), err)
	}
	return err
}

// orderFor says what the token of id is to be.
func (m *Middleware) orderFor(r *http.Request, id *Identity, o *order) error {
	o.route, o.params, o.userIDs, o.sessionEnd = &m.route, &m.route.Params, id.UserIDs, id.Expires
	o.key = Key{User: userHash(&m.keyPrefix, id.UserIDs), Params: m.params}
	described := id.DisplayName != "" || len(id.Groups) > 0
	if !described && m.route.Prepare == nil {
		return nil
	}
	params := m.route.Params
	params.UserIDs = id.UserIDs
	params.UserDisplayName = cmp.Or(id.DisplayName, params.UserDisplayName)
	if len(id.Groups) > 0 {
		params.UserGroups = id.Groups
	}
	if err := params.Validate(); err != nil {
		return badIdentity(err)
	}
	if m.route.Prepare != nil {
		params = params.clone()
		if err := m.route.Prepare(r, &params); err != nil {
			return fmt.Errorf("searchtoken: Prepare: %w", err)
		}
		if err := params.Validate(); err != nil {
			return fmt.Errorf("searchtoken: Prepare made parameters that Coveo would refuse: %w", err)
		}
	}
	o.params, o.userIDs = &params, params.UserIDs
	o.key.Params = paramsHash(&params, id.UserIDs)
	return nil
}

func badIdentity(err error) error {
	return fmt.Errorf("searchtoken: Identify returned an identity that Coveo would refuse: %w", err)
}

// Forget removes the cached tokens of a user, for all routes: at log-out, or
// when the user's rights have changed. It goes by id.UserIDs alone. No request
// that begins after it has returned gets one of these tokens, nor one that was
// being fetched meanwhile. Other processes know of it if they share the Cache; a
// MemoryCache is one process's own. A token that a browser holds already stays
// good until it expires: Coveo cannot revoke it.
//
// The error is that of the Cache, whose tokens may then still be there, or says
// that id has no UserIDs.
func (m *Middleware) Forget(ctx context.Context, id Identity) error {
	if len(id.UserIDs) == 0 {
		return errors.New("searchtoken: Forget: the identity has no UserIDs")
	}
	if err := m.source.forget(ctx, userHash(&m.keyPrefix, id.UserIDs)); err != nil {
		return fmt.Errorf("searchtoken: Forget: %w", err)
	}
	return nil
}

// Shutdown stops refreshing tokens, and waits for the fetches in flight until ctx is
// done. Then it returns ctx's error, else nil. Call it after http.Server.Shutdown. It
// covers all routes made by With. A Middleware that was shut down still serves
// requests, but refreshes no token. Shutdown may be called again, and is safe for
// concurrent use.
func (m *Middleware) Shutdown(ctx context.Context) error { return m.source.shutdown(ctx) }

// contextKey is the key of the *Page in a request's context.
type contextKey struct{}

// pageContext is what a request that gets a page needs, in one allocation: its
// context, the page in it, and the values of the page's headers.
type pageContext struct {
	context.Context
	page    Page
	headers [2]string
}

// Value finds the page.
func (c *pageContext) Value(key any) any {
	if key == (contextKey{}) {
		return &c.page
	}
	return c.Context.Value(key)
}

// String and GoString keep fmt from looking into the page, and its token.
func (c *pageContext) String() string   { return fmt.Sprintf("%v.searchtoken", c.Context) }
func (c *pageContext) GoString() string { return c.String() }

// setHeaders keeps one user's page out of every shared cache.
func (c *pageContext) setHeaders(h http.Header) {
	c.headers = [2]string{"private, no-store", "Cookie"}
	// Without room, so that appending to one copies it.
	h["Cache-Control"] = c.headers[0:1:1]
	vary, ok := h["Vary"]
	if !ok {
		h["Vary"] = c.headers[1:2:2]
		return
	}
	for _, line := range vary {
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, "Cookie") {
				return
			}
		}
	}
	h["Vary"] = append(vary, "Cookie")
}

// FromContext returns the page of a request that came through a Handler, by its
// context; without a Handler, nil and false. With an Optional route the page
// may have no token: Page.Err says why.
func FromContext(ctx context.Context) (*Page, bool) {
	page, ok := ctx.Value(contextKey{}).(*Page)
	return page, ok && page != nil
}

// NewContext returns a context in which FromContext finds p, for tests of your
// own handlers.
func NewContext(ctx context.Context, p *Page) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// setRetryAfter sets the header in whole seconds, where it is known.
func setRetryAfter(h http.Header, err error) {
	if after := RetryAfter(err); after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
}

// answerError answers with the status of err, and tells no more.
func answerError(w http.ResponseWriter, err error) {
	status := HTTPStatus(err)
	http.Error(w, http.StatusText(status), status)
}

// HTTPStatus is the status with which the default ErrorHandler answers err: 401
// where nobody is logged in, 502 where Coveo refuses, 503 where it cannot be
// reached, fails or asks for patience, 429 where a browser asks for renewals too
// often, else 500; 200 for nil.
func HTTPStatus(err error) int {
	var api *APIError
	var limit *renewalLimitError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, ErrNoIdentity):
		return http.StatusUnauthorized
	case errors.Is(err, ErrSession):
		return http.StatusInternalServerError
	case errors.As(err, &limit):
		return http.StatusTooManyRequests
	case errors.As(err, &api) && !api.temporary():
		return http.StatusBadGateway
	case api != nil, errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// RetryAfter is how long to wait before asking again, as the Retry-After header
// of an error response says it: at most 5 minutes; 0: not known.
func RetryAfter(err error) time.Duration {
	var (
		unavailable *unavailableError
		limit       *renewalLimitError
		api         *APIError
		after       time.Duration
	)
	switch {
	case errors.As(err, &unavailable):
		after = unavailable.retryAfter
	case errors.As(err, &limit):
		after = limit.retryAfter
	case errors.As(err, &api):
		after = api.RetryAfter
	}
	return min(max(after, 0), maxRetryAfter)
}
