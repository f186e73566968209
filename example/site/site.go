// Package site is a small search site with login, written to be copied from. It
// shows the same documents through each of Coveo's front ends (JSUI, Atomic,
// Headless, IPX) and on a page without JavaScript. Each visitor searches with
// their own search token.
package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/sessions"
	"github.com/searchtoken/searchtoken"
	"golang.org/x/time/rate"
)

// Site is the search site, an [http.Handler]. It has a method for each page and
// form. It is safe for concurrent use.
type Site struct {
	base         view // the fields that are equal on every page
	logger       *slog.Logger
	store        *sessions.CookieStore
	cookieUser   searchtoken.IdentityFunc // reads the session cookie only; see loggedIn
	ended        EndedSessions
	lookupFailed rate.Sometimes // limits the log lines about failed lookups in ended
	coveo        *searchtoken.Middleware
	searchClient *http.Client // sends the queries of the plain page
	browserURL   string
	templates    map[string]*template.Template
	handler      http.Handler
}

// New returns a site. Call [Site.Shutdown] when it is no longer needed. The
// error names the field of cfg that is wrong.
func New(cfg Config) (*Site, error) {
	if len(cfg.SessionKey) < minSessionKey {
		return nil, fmt.Errorf("site: SessionKey: has %d bytes; at least %d are required", len(cfg.SessionKey), minSessionKey)
	}
	s := &Site{
		base: view{
			Pages:          searchPages,
			Notice:         cfg.Notice,
			Proxy:          cfg.Proxy,
			Users:          slices.Clone(cfg.Users),
			Assets:         strings.TrimRight(cmp.Or(cfg.Assets, DefaultAssets), "/"),
			IPXPageID:      cfg.IPXPageID,
			IPXInterfaceID: cfg.IPXInterfaceID,
		},
		logger:       cmp.Or(cfg.Coveo.Logger, slog.Default()),
		store:        newStore(cfg.SessionKey, cfg.Secure),
		ended:        cfg.EndedSessions,
		lookupFailed: rate.Sometimes{Interval: time.Minute},
		browserURL:   cfg.BrowserURL,
	}
	if s.ended == nil {
		s.ended = newMemorySessions()
	}
	s.cookieUser = searchtoken.SessionEmail(s.store, sessionName, emailKey)

	coveo := cfg.Coveo
	coveo.Identify = searchtoken.FirstIdentity(s.loggedIn, searchtoken.AnonymousIdentity)
	coveo.Params.ValidFor = cmp.Or(coveo.Params.ValidFor, tokenLife)
	coveo.RenewURL, coveo.ProxyURL = RenewURL, ""
	if cfg.Proxy {
		// A RenewURL would give a script in the page a token to take away.
		coveo.RenewURL, coveo.ProxyURL = "", ProxyURL
	}
	coveo.Nonce = nonce
	coveo.Optional = false
	coveo.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		s.fail(w, r, searchtoken.HTTPStatus(err))
	}
	var err error
	if s.coveo, err = searchtoken.New(coveo); err != nil {
		return nil, err
	}
	s.searchClient = newSearchClient(s.coveo, cfg.Coveo.HTTPClient)
	// The home page does not search, so it is served without a token as well.
	home, homeErr := s.coveo.With(func(route *searchtoken.Route) { route.Optional = true })
	ipx, ipxErr := s.coveo.With(func(route *searchtoken.Route) {
		route.Params.ValidFor = ipxTokenLife
		route.MinRemaining = ipxMinRemaining
		route.RefreshBefore = 0
	})
	var templatesErr error
	s.templates, templatesErr = parseTemplates(s.base)
	if err := errors.Join(homeErr, ipxErr, templatesErr); err != nil {
		return nil, err
	}
	s.handler = s.routes(home, ipx)
	return s, nil
}

// ServeHTTP answers one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Check asks Coveo for a token, and returns an error that says what is wrong
// with the configuration, if anything is.
func (s *Site) Check(ctx context.Context) error { return s.coveo.Check(ctx) }

// errNoTokens is shown to everybody who probes the site.
var errNoTokens = errors.New("no tokens from Coveo at the moment")

// Ready returns an error if the site has no token for any visitor, and gets
// none: calls of Coveo are held back. With tokens in the cache, the site is
// ready even so, because it serves the users who have them.
func (s *Site) Ready() error {
	stats := s.coveo.Stats()
	// When HeldBackUntil is over, a request must come to try again.
	if stats.HeldBack && time.Now().Before(stats.HeldBackUntil) && stats.CachedTokens == 0 {
		return errNoTokens
	}
	return nil
}

// Shutdown stops the refreshing of tokens and waits for token fetches in flight
// until ctx is done. Then it returns the error of ctx, else nil. Shut down the
// HTTP server first.
func (s *Site) Shutdown(ctx context.Context) error { return s.coveo.Shutdown(ctx) }
