// Package searchtoken gives every request that passes through an http.Handler
// its user's Coveo search token, ready for the page that the handler renders.
//
// A secured Coveo index shows each user only what that user may see. To query
// it from a browser, a page needs a search token: a JWT for one user, valid for
// at most 24 hours, that a server gets with a secret API key
// (https://docs.coveo.com/en/56). This package requests the token, caches it,
// refreshes it before it expires, and renders it into the page.
//
// # A search page
//
// [New] needs three things: your Coveo organization, an API key created from
// the "Authenticated search" template, and a function that identifies the user.
// Here, the session "session" of a gorilla sessions.Store holds the user's
// email address under the key "email":
//
//	coveo, err := searchtoken.New(searchtoken.Config{
//		OrganizationID: os.Getenv("COVEO_ORGANIZATION_ID"),
//		APIKey:         os.Getenv("COVEO_API_KEY"),
//		Identify:       searchtoken.SessionEmail(store, "session", "email"),
//		Route:          searchtoken.Route{RenewURL: "/coveo/token"},
//	})
//
// [Middleware.Handler] wraps the handler of the page, in any mux.
// [Middleware.RenewHandler] gives an open page a new token when its first one
// expires:
//
//	mux.Handle("GET /search", coveo.Handler(searchPage))
//	mux.Handle("/coveo/token", coveo.RenewHandler())
//
// The page's handler takes the [Page] from the request's context, and passes it
// to a template that was parsed with [FuncMap]:
//
//	page, _ := searchtoken.FromContext(r.Context())
//	tmpl.Execute(w, map[string]any{"Coveo": page})
//
// One line of the template loads and starts a Coveo front end, for example
// Atomic:
//
//	<head>{{coveoAtomic .Coveo}}</head>
//	<body><atomic-search-interface>…</atomic-search-interface></body>
//
// With a [Route.ProxyURL] the token stays on the server: the front ends call
// [Middleware.ProxyHandler], which adds it. A handler that queries Coveo itself
// uses [Middleware.Transport]. At logout, call [Middleware.Forget].
//
// # What a token grants
//
// [Route.Params] are what the tokens of a page enforce, for example its search
// hub or a filter. [Route.Prepare] adds what differs from request to request.
// [Middleware.With] makes another route of the same Middleware. Tokens of
// different grants or of different users are never mixed up.
//
// # When there is no token
//
// A visitor who is not logged in gets 401, unless [FirstIdentity] ends with
// [AnonymousIdentity]. A 502 means that Coveo refused the request, a 503 that
// it could not be reached. Failures are remembered, with backoff, so that not
// every request calls Coveo. A token that is still good is served meanwhile.
// Set Route.Optional to serve the page without a token, or Route.ErrorHandler
// to serve an error page.
//
// # Tests
//
// Package searchtokentest is a stand-in for the Coveo platform. [NewContext]
// puts a Page of your own into a request's context.
package searchtoken

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// Middleware gives every request that passes through its Handler a search token
// of the request's user. [New] makes one; the zero Middleware does not work. It
// is safe for concurrent use.
type Middleware struct {
	*shared
	route      Route
	paramsHash [sha256.Size]byte // of route.Params, for requests without Prepare
	origin     *http.CrossOriginProtection
}

// shared is what the routes of a Middleware have in common.
type shared struct {
	tokens    *tokenSource
	identify  IdentityFunc
	page      Page            // fields that are equal on every page
	hosts     map[string]bool // those that may get tokens, as hostOf returns them
	proxy     *proxyResources
	keyPrefix [16]byte // prefix of every user's hash
	anonymous UserKey  // of all anonymous visitors
}

// New returns a Middleware. It makes no call of Coveo. The error (errors.Join)
// names every field of cfg that is missing or wrong, and the remedy.
func New(cfg Config) (*Middleware, error) {
	platform, analytics, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	cfg.HTTPClient = withTransport(cfg.HTTPClient)
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
	s := &shared{
		tokens:    newTokenSource(&cfg),
		identify:  cfg.Identify,
		keyPrefix: keyPrefix(cfg.OrganizationID, platform),
		hosts:     ownHosts(cfg.OrganizationID, cfg.Environment, platform, analytics),
		proxy:     newProxyResources(cfg.HTTPClient.Transport),
		page: Page{
			OrganizationID: cfg.OrganizationID, Environment: cmp.Or(cfg.Environment, EnvProduction),
			PlatformURL: platform, AnalyticsURL: analytics,
		},
	}
	s.anonymous = userHash(&s.keyPrefix, Anonymous().UserIDs)
	return s.middleware(cfg.Route), nil
}

func (s *shared) middleware(route Route) *Middleware {
	route = route.clone()
	origin := http.NewCrossOriginProtection()
	for _, trusted := range route.TrustedOrigins {
		_ = origin.AddTrustedOrigin(trusted) // validate has checked it
	}
	return &Middleware{s, route, paramsHash(&route.Params, nil), origin}
}

// With returns the Middleware of another route, which shares the cache, the
// limits and the Issuer of m. change gets a copy of m's route and may modify
// all of it; nil changes nothing. The error names every bad field, as New's
// does.
//
// The copy's RenewURL and ProxyURL are empty. A route with another grant needs
// its own RenewHandler or ProxyHandler, at another path, behind the same access
// control as its pages.
func (m *Middleware) With(change func(*Route)) (*Middleware, error) {
	route := m.route.clone()
	route.RenewURL, route.ProxyURL = "", ""
	if change != nil {
		change(&route)
	}
	if err := joinFaults(route.validate()); err != nil {
		return nil, err
	}
	return m.middleware(route), nil
}

// Handler wraps next. In the context of every request that next gets,
// [FromContext] finds a [Page] with the token of the request's user. If there
// is no token, the route's ErrorHandler answers, unless the route is Optional.
//
// Before it calls next, Handler sets Cache-Control to "private, no-store" and
// adds Cookie to Vary, because the page is for one user. It removes Expires and
// the headers that control the caches of CDNs. It does not wrap the
// ResponseWriter, and does nothing after next.
func (m *Middleware) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := &pageContext{page: m.page}
		ctx.setHeaders(w.Header())
		if err := m.fill(&ctx.page, &ctx.request, r); err != nil && !m.route.Optional {
			setRetryAfter(w.Header(), RetryAfter(err))
			if m.route.ErrorHandler != nil {
				m.route.ErrorHandler(w, r, err)
			} else {
				answerError(w, err)
			}
			return
		}
		// After Identify and Prepare: gorilla's registry replaces the request's
		// context.
		ctx.Context = r.Context()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Page returns the [Page] that [Middleware.Handler] would put into r's context:
// for frameworks with contexts of their own, for pages that need a token only
// sometimes, and for handlers that run long and need a token again. The error
// is the one that ErrorHandler would get. On an Optional route it is nil, and
// Page.Err says why there is no token.
//
// Page sets no header: mark an answer that contains the token with
// Cache-Control: private, no-store. Each call returns another Page. It is safe
// for concurrent use.
//
// gorilla's registry keeps a session for the whole request. A handler that runs
// long, outside of Handler, passes r.Clone(r.Context()). Then each call reads
// the session again, and finds out that it has ended.
func (m *Middleware) Page(r *http.Request) (*Page, error) {
	page := m.page
	if err := m.fill(&page, new(tokenRequest), r); err != nil && !m.route.Optional {
		return nil, err
	}
	return &page, nil
}

// Token returns a token of the user id without a request: for workers and
// websockets, and to fetch the token when the user logs in. It uses the cache
// and the limits that requests use, and waits at most until ctx is done. The
// errors are those of [Middleware.Handler], and one for an identity that Coveo
// would refuse. If the route has a Prepare, which needs a request, Token
// returns an error: make a route with other Params by [Middleware.With]
// instead.
func (m *Middleware) Token(ctx context.Context, id Identity) (Token, error) {
	if m.route.Prepare != nil {
		return Token{}, errors.New("searchtoken: Token: the route has a Prepare, which needs a request; " +
			"use Page, or a route from With that has Params instead")
	}
	if err := validateUserIDs(id.UserIDs); err != nil {
		return Token{}, wrap("Token: Coveo would refuse the identity", err)
	}
	var req tokenRequest
	if step, err := m.buildRequest(nil, &id, &req); err != nil {
		m.tokens.reporter.requestRefused(ctx, m.route.Name, step, err)
		return Token{}, err
	}
	return m.tokens.token(ctx, &req)
}

// fill sets the fields of page that depend on r, and req to the request for its
// token. It returns page.Err.
func (m *Middleware) fill(page *Page, req *tokenRequest, r *http.Request) error {
	page.RenewURL, page.ProxyURL = m.route.RenewURL, m.route.ProxyURL
	if m.route.Nonce != nil {
		page.Nonce = m.route.Nonce(r)
	}
	if page.Err = m.identifyRequest(r, &page.Identity, req); page.Err == nil {
		page.SearchHub = req.params.SearchHub
		page.Token, page.Err = m.tokens.token(r.Context(), req)
	}
	return page.Err
}

// identifyRequest sets id to the user of r, and req to the user's token
// request.
func (m *Middleware) identifyRequest(r *http.Request, id *Identity, req *tokenRequest) (err error) {
	step := stepIdentify
	if *id, err = m.identify(r); err != nil {
		err = redacted(err, id.names()...)
	} else {
		step, err = m.buildRequest(r, id, req)
	}
	if err != nil {
		m.tokens.reporter.requestRefused(r.Context(), m.route.Name, step, err)
	}
	return err
}

// buildRequest sets req to the token request of id. It passes r to Prepare. If
// it fails, it also returns the step that failed.
func (m *Middleware) buildRequest(r *http.Request, id *Identity, req *tokenRequest) (requestStep, error) {
	if !id.Expires.IsZero() && !time.Now().Before(id.Expires) {
		return stepIdentify, noIdentity("the session has ended")
	}
	req.route, req.params, req.userIDs, req.sessionEnd = &m.route, &m.route.Params, id.UserIDs, id.Expires
	req.key = Key{User: userHash(&m.keyPrefix, id.UserIDs), Params: m.paramsHash}
	described := id.DisplayName != "" || len(id.Groups) > 0
	if !described && m.route.Prepare == nil {
		return "", nil
	}
	params := m.route.Params
	params.UserIDs = id.UserIDs
	params.UserDisplayName = cmp.Or(id.DisplayName, params.UserDisplayName)
	if len(id.Groups) > 0 {
		params.UserGroups = id.Groups
	}
	if err := params.Validate(); err != nil {
		return stepIdentify, identityFault(err)
	}
	if m.route.Prepare != nil {
		params = params.clone()
		if err := m.route.Prepare(r, &params); err != nil {
			return stepPrepare, wrap("Prepare", redacted(err, append(id.names(), namesIn(params)...)...))
		}
		if err := params.Validate(); err != nil {
			return stepPrepare, wrap("Prepare returned parameters that Coveo would refuse", err)
		}
	}
	req.params, req.userIDs = &params, params.UserIDs
	req.key.Params = paramsHash(&params, id.UserIDs)
	return "", nil
}

func identityFault(err error) error {
	return wrap("Identify returned an identity that Coveo would refuse", err)
}

// Forget removes the cached tokens of a user, for all routes: at logout, or
// when the user's rights have changed. No request that begins after Forget has
// returned gets one of these tokens, or one that was in flight meanwhile.
//
// Forget uses only id.UserIDs. Pass exactly the identity that Identify
// returned: another spelling of a name, or a part of the identities, is another
// user, for whom Forget removes nothing and returns nil.
//
// Other processes forget the user only if they share the Cache; a [MemoryCache]
// belongs to one process. A token that a browser already has stays valid until
// it expires, because Coveo cannot revoke it.
//
// The error is that of the Cache, which may still hold the tokens, or says that
// id has no UserIDs. If the Cache fails, this process ignores the user's tokens
// that were issued before.
func (m *Middleware) Forget(ctx context.Context, id Identity) error {
	if len(id.UserIDs) == 0 {
		return errors.New("searchtoken: Forget: the identity has no UserIDs")
	}
	if err := m.tokens.forget(ctx, userHash(&m.keyPrefix, id.UserIDs)); err != nil {
		return wrap("Forget", err)
	}
	return nil
}

// Shutdown stops refreshing tokens, and waits for the fetches in flight until
// ctx is done. Then it returns an error that wraps ctx's, else nil. It cancels
// fetches that nobody waits for. Call it after http.Server.Shutdown. A fetch
// takes at most 10 seconds, or 20 if it has to wait for another process.
//
// Shutdown covers all routes made by [Middleware.With]. Afterwards, the
// Middleware still serves requests, but refreshes no token. Shutdown may be
// called again.
func (m *Middleware) Shutdown(ctx context.Context) error { return m.tokens.shutdown(ctx) }

// Stats returns the state of the Middleware's fetches, of its cache and of its
// upstream, for all routes. It makes no call, and is cheap enough for every
// scrape of metrics.
func (m *Middleware) Stats() Stats { return m.tokens.stats() }
