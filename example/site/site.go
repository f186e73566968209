// Package site is a small search site with log-in, to be read and taken from:
// the same documents through each of Coveo's front ends (JSUI, Atomic,
// Headless, IPX) and through a page that needs no JavaScript at all, each
// visitor with a search token of their own.
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

const (
	// DefaultAssets is where Coveo publishes its front-end libraries.
	DefaultAssets = "https://static.cloud.coveo.com"

	// RenewURL is where the pages get their next token.
	RenewURL = "/coveo/token"

	// The libraries renew a token in the page, so that it may be short-lived:
	// Coveo cannot revoke one that a browser has.
	tokenLife = time.Hour

	// IPX cannot renew: its tokens have to last for a working day.
	ipxTokenLife    = 24 * time.Hour
	ipxMinRemaining = 8 * time.Hour
)

// Config configures a Site.
type Config struct {
	// Coveo is how the site gets its tokens. Identify, RenewURL, Nonce,
	// Optional and ErrorHandler are the site's own, whatever they are here.
	// Params.ValidFor defaults to an hour.
	Coveo searchtoken.Config
	// SessionKey authenticates the session cookies. Required: 32 bytes or more,
	// and the same in every process that serves the site.
	SessionKey []byte
	// EndedSessions remembers who has logged out, for all processes that serve
	// the site. Default: each for itself; a copy of a session's cookie then
	// stays good in the others.
	EndedSessions EndedSessions
	// Secure keeps the session cookie off plain http. Set it wherever the site
	// is reached by https.
	Secure bool
	// BrowserURL is where browsers find Coveo's APIs, analytics among them, if
	// they reach them by another address than this server. Default: they do
	// not, and Coveo.PlatformURL and Coveo.AnalyticsURL are theirs, too.
	BrowserURL string
	// Users are the e-mail addresses that a visitor may log in as. There are no
	// passwords: a real site asks its identity provider. Default: none, and
	// everybody searches as anonymous.
	Users []string
	// Assets is the origin of Coveo's front-end libraries, under the paths that
	// they have on Coveo's CDN. Default: DefaultAssets.
	Assets string
	// IPXPageID and IPXInterfaceID are the In-Product Experiences on the IPX
	// page, of the classic kind and of the IPX builder's. Default: none.
	IPXPageID, IPXInterfaceID string
	// Notice stands on every page. Default: none.
	Notice string
}

// Site is the search site, an http.Handler. It is safe for concurrent use.
type Site struct {
	base        view // what is the same on every page
	logger      *slog.Logger
	store       *sessions.CookieStore
	cookieUser  searchtoken.IdentityFunc // whoever the session cookie is of
	ended       EndedSessions
	lookFailure rate.Sometimes // logs that a look-up in them failed
	coveo       *searchtoken.Middleware
	client      *http.Client // for the queries of the plain page
	browserURL  string
	templates   map[string]*template.Template
	handler     http.Handler
}

// New returns the site of cfg, or an error that says what is wrong with cfg.
// Close it when done.
func New(cfg Config) (*Site, error) {
	if len(cfg.SessionKey) < minSessionKey {
		return nil, fmt.Errorf("site: SessionKey: has %d bytes; at least %d are required", len(cfg.SessionKey), minSessionKey)
	}
	s := &Site{
		base: view{
			Pages:          searchPages,
			Notice:         cfg.Notice,
			Users:          slices.Clone(cfg.Users),
			Assets:         strings.TrimRight(cmp.Or(cfg.Assets, DefaultAssets), "/"),
			IPXPageID:      cfg.IPXPageID,
			IPXInterfaceID: cfg.IPXInterfaceID,
		},
		logger:      cmp.Or(cfg.Coveo.Logger, slog.Default()),
		store:       newStore(cfg.SessionKey, cfg.Secure),
		ended:       cfg.EndedSessions,
		lookFailure: rate.Sometimes{Interval: time.Minute},
		client:      newClient(cfg.Coveo.HTTPClient),
		browserURL:  cfg.BrowserURL,
	}
	if s.ended == nil {
		s.ended = &localSessions{until: make(map[string]time.Time)}
	}
	s.cookieUser = searchtoken.SessionEmail(s.store, sessionName, sessionEmail)

	coveo := cfg.Coveo
	coveo.Identify = searchtoken.FirstIdentity(s.loggedIn, searchtoken.AnonymousIdentity)
	coveo.Params.ValidFor = cmp.Or(coveo.Params.ValidFor, tokenLife)
	coveo.RenewURL = RenewURL
	coveo.Nonce = nonce
	coveo.Optional = false
	coveo.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
		s.fail(w, r, searchtoken.HTTPStatus(err))
	}
	var err error
	if s.coveo, err = searchtoken.New(coveo); err != nil {
		return nil, err
	}
	// The home page has no search, and is there when Coveo is not.
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

// routes says who answers what.
func (s *Site) routes(home, ipx *searchtoken.Middleware) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, http.StatusNotFound) })
	mux.Handle(RenewURL, s.coveo.RenewHandler())
	// With a pattern for all paths, ServeMux has no 405 of its own.
	handle := func(method, allow, path string, h http.Handler) {
		mux.Handle(method+" "+path, h)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.fail(w, r, http.StatusMethodNotAllowed)
		})
	}
	get := func(path string, h http.Handler) { handle("GET", "GET, HEAD", path, h) }
	post := func(path string, h http.HandlerFunc) { handle("POST", "POST", path, h) }
	get("/{$}", home.Handler(s.page("home")))
	get("/jsui", s.coveo.Handler(s.page("jsui", searchtoken.JSUI)))
	get("/atomic", s.coveo.Handler(s.page("atomic", searchtoken.Atomic)))
	get("/headless", s.coveo.Handler(s.page("headless", searchtoken.Headless)))
	get("/ipx", ipx.Handler(s.page("ipx", s.experiences()...)))
	get("/plain", s.coveo.Handler(http.HandlerFunc(s.plain)))
	get("/static/{file}", http.HandlerFunc(serveStatic))
	post("/login", s.logIn)
	post("/logout", s.logOut)

	var forms http.CrossOriginProtection
	forms.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusForbidden)
	}))
	return withHeaders(forms.Handler(mux))
}

// experiences are the In-Product Experiences that are configured.
func (s *Site) experiences() []searchtoken.FrontEnd {
	var list []searchtoken.FrontEnd
	if s.base.IPXPageID != "" {
		list = append(list, searchtoken.IPX)
	}
	if s.base.IPXInterfaceID != "" {
		list = append(list, searchtoken.IPXBuilder)
	}
	return list
}

// serveStatic serves one file; a file server would list the directory, too.
func serveStatic(w http.ResponseWriter, r *http.Request) {
	http.ServeFileFS(w, r, staticFiles, "static/"+r.PathValue("file"))
}

// ServeHTTP answers one request.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Shutdown waits for the site's background work until ctx is done. Shut down the
// server first.
func (s *Site) Shutdown(ctx context.Context) error { return s.coveo.Shutdown(ctx) }
