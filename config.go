package searchtoken

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken/internal/redact"
)

const (
	defaultMaxInFlight  = 64
	defaultMinRemaining = 2 * time.Minute
)

// Config configures a [Middleware]: what all its routes share, and the default
// Route.
type Config struct {
	// OrganizationID is the Coveo organization. Required. It must be a DNS
	// label.
	OrganizationID string
	// Environment selects the platform. Default: EnvProduction.
	Environment Environment
	// APIKey is a key created from the "Authenticated search" template
	// (https://docs.coveo.com/en/1718). Exactly one of APIKey, Credential and
	// Issuer is required.
	APIKey string
	// Credential returns the API key for each call of the platform, for keys
	// that rotate. White space around the key is removed. It must be safe for
	// concurrent use. Its errors are logged.
	Credential func(context.Context) (string, error)
	// PlatformURL is the base URL of Coveo's APIs, for this server and for the
	// browser: https, or http on loopback. Default: the organization's own
	// endpoint, https://<org>.org.coveo.com in production
	// (https://docs.coveo.com/en/mcc80216). Set it for a stand-in or a proxy.
	PlatformURL string
	// AnalyticsURL is the base URL of Coveo's analytics, under the same rules.
	// Default: the organization's own endpoint,
	// https://<org>.analytics.org.coveo.com in production, even if PlatformURL
	// is set.
	AnalyticsURL string
	// Issuer gets the tokens. Default: a [Client] made of the fields above.
	Issuer Issuer
	// Identify returns the user of a request. Required. [SessionEmail] makes
	// the most common one.
	Identify IdentityFunc
	// Cache stores the tokens. Default: NewMemoryCache(0). Middlewares of
	// several organizations may share a Cache: its keys contain the
	// organization and its endpoint. Middlewares of one organization may share
	// it if their API keys have the same privileges. [Middleware.Forget]
	// removes the tokens of one organization only. If the Cache is a [Claimer],
	// only one process at a time fetches a given token. While the Cache fails,
	// each process serves the tokens that it fetched itself for a minute.
	Cache Cache
	// HTTPClient makes the token calls. See [ClientConfig]. Its Transport also
	// makes the calls of a [Middleware.ProxyHandler]. Default: a client with a
	// timeout of 10 seconds that honors HTTPS_PROXY.
	HTTPClient *http.Client
	// MaxInFlight is the maximum number of concurrent token calls, if the
	// Issuer returns when its context is done. One user has at most a quarter
	// of them, but at least one; all anonymous visitors are one user. Further
	// requests queue, each within its context, and the users take turns. A
	// refresh in the background starts only if a call is free. Default: 64.
	MaxInFlight int
	// Logger gets what an operator should know: failures of Coveo, of the Cache
	// and of the session store, at most one line per minute about each, with
	// the number of lines left out. At debug level, it gets the reasons why
	// nobody was identified. API keys, tokens, email addresses and the names of
	// the request's user are redacted from errors. Other secrets in errors that
	// your own code returns are not recognized. Default: slog.Default().
	Logger *slog.Logger
	// Observe is called for every [Event], for metrics. The context is the
	// request's, or has its values. Observe must be fast, and safe for
	// concurrent use. Default: none.
	Observe func(context.Context, Event)

	// Route is the default route, the one of the Middleware that [New] returns.
	// [Middleware.With] makes other routes.
	Route
}

// Route holds what may differ from page to page.
type Route struct {
	// Name names the route in events and log lines, for example "search". It
	// must be UTF-8 without control characters. Default: empty.
	Name string
	// Params are the parameters of the route's tokens: search hub, pipeline,
	// filter, life and so on. UserIDs must be empty, because Identify decides
	// who the user is. The Identity's DisplayName and Groups, if set, replace
	// UserDisplayName and UserGroups.
	Params TokenParams
	// Prepare changes the parameters of one request's token, for example to add
	// the filter of a tenant. It gets a deep copy that it may change, with the
	// user's identities. It must be safe for concurrent use.
	//
	// Prepare runs for pages, for renewals and for proxied calls. It may depend
	// only on what all of them carry (session, host, cookie). It must return an
	// error if that is missing, and never a wider grant. Each new grant is a
	// call of the platform, so check the Host against the known tenants: a
	// visitor can send any. Its errors are logged and answered with 500, or
	// with the status of the error of this package that they wrap. Parameters
	// that Coveo would refuse are a 500. Default: none.
	Prepare func(*http.Request, *TokenParams) error
	// MinRemaining is the shortest remaining life of a token that a page gets.
	// A token with less is expired: the request waits for another one. Default:
	// 2 minutes, because Coveo's libraries renew a token in its last minute.
	// Use hours for pages with IPX, which cannot renew. At most half of
	// Params.ValidFor.
	MinRemaining time.Duration
	// RefreshBefore is how long before its expiry a token is refreshed in the
	// background. It must be more than MinRemaining. Default: MinRemaining plus
	// a tenth of the rest of the token's life, at least 5 minutes. At most
	// three quarters of Params.ValidFor.
	RefreshBefore time.Duration
	// RenewURL is the path of the route's RenewHandler as the browser sees it,
	// for example "/coveo/token". Default: none, and pages do not renew their
	// tokens.
	RenewURL string
	// ProxyURL is the path under which the route's ProxyHandler is mounted, as
	// the browser sees it and without a slash at its end, for example "/coveo".
	// The pages of the route then hold no token: their front ends send their
	// calls there. Default: none, and pages call Coveo themselves.
	ProxyURL string
	// TrustedOrigins are other origins whose pages may call the route's
	// RenewHandler and ProxyHandler, for example "https://app.example.com". The
	// CORS headers for their answers are the business of a CORS middleware.
	// Default: none, and only pages of the site itself may call them.
	TrustedOrigins []string
	// ClientIP returns the IP address of the visitor, which the ProxyHandler
	// sends to Coveo and tells anonymous visitors apart by. It must be safe for
	// concurrent use. Return a header of your own reverse proxy only if
	// visitors cannot set it. A text that is not an IP address is not sent.
	// Default: the address in [http.Request.RemoteAddr], which behind a reverse
	// proxy is the proxy's: all anonymous visitors then share the limits of one
	// user.
	ClientIP func(*http.Request) string
	// Nonce returns the Content-Security-Policy nonce of a request. Every
	// script and style tag of a snippet then carries it. Default: none.
	Nonce func(*http.Request) string
	// Optional serves a page even if there is no token for it. Page.Err then
	// says why. Default: the ErrorHandler answers instead of the page.
	Optional bool
	// ErrorHandler answers a request for which there is no token. [HTTPStatus]
	// returns the status for the error. The caching headers, and Retry-After if
	// it is known, are set before ErrorHandler is called. The error's text is
	// for operators, not for visitors. Default: a handler that answers with the
	// status and its standard text.
	ErrorHandler func(http.ResponseWriter, *http.Request, error)
}

// Format prints cfg without its APIKey, for every verb. Package fmt does not
// call it for an unexported field of another struct: do not print a struct that
// holds a Config in such a field.
func (cfg Config) Format(f fmt.State, _ rune) {
	type config Config // without Format
	if cfg.APIKey != "" {
		cfg.APIKey = "[redacted]"
	}
	fmt.Fprintf(f, "%+v", config(cfg))
}

// validate returns an error that names every bad field of cfg, and the base
// URLs.
func (cfg *Config) validate() (platformURL, analyticsURL string, err error) {
	platformURL, analyticsURL, err = endpoints(cfg.OrganizationID, cfg.Environment, cfg.PlatformURL, cfg.AnalyticsURL)
	faults := []error{err, cfg.Route.validate()}
	switch {
	case cfg.Issuer == nil:
		faults = append(faults, checkCredential(cfg.APIKey, cfg.Credential))
	case cfg.APIKey != "" || cfg.Credential != nil:
		faults = append(faults, fault("Issuer, APIKey, Credential", "exclude each other; set one of them"))
	}
	faults = append(faults, nilFault("Issuer", cfg.Issuer), nilFault("Cache", cfg.Cache))
	if cfg.Identify == nil {
		faults = append(faults, fault("Identify", "is required; SessionEmail makes the most common one"))
	}
	if cfg.MaxInFlight < 0 {
		faults = append(faults, fault("MaxInFlight", "must not be negative; 0 is the default, 64"))
	}
	return platformURL, analyticsURL, joinFaults(faults...)
}

// validate returns an error that names every bad field of r. It has no
// "searchtoken: ".
func (r *Route) validate() error {
	faults := []error{r.Params.validateGrant("Params.")}
	bad := func(field, reason string) { faults = append(faults, fault(field, reason)) }
	if reason := nameFault(r.Name); r.Name != "" && reason != "" {
		bad("Name", reason)
	}
	if len(r.Params.UserIDs) > 0 {
		bad("Params.UserIDs", "must be empty; Identify returns the user")
	}
	life := min(max(r.Params.validFor(), minValidFor), maxValidFor) // a bad ValidFor is its own fault
	switch {
	case r.MinRemaining < 0:
		bad("MinRemaining", "must not be negative; 0 is the default, 2m")
	case r.MinRemaining > life/2:
		bad("MinRemaining", fmt.Sprintf("%v is more than half of Params.ValidFor, %v", r.MinRemaining, life))
	}
	switch minRemaining := cmp.Or(r.MinRemaining, defaultMinRemaining); {
	case r.RefreshBefore < 0:
		bad("RefreshBefore", "must not be negative; 0 is the default")
	case r.RefreshBefore > life/4*3:
		bad("RefreshBefore", fmt.Sprintf("%v is more than three quarters of Params.ValidFor, %v", r.RefreshBefore, life))
	case r.RefreshBefore > 0 && r.RefreshBefore <= minRemaining:
		bad("RefreshBefore", fmt.Sprintf("must be more than MinRemaining, %v", minRemaining))
	}
	if r.RenewURL != "" && !isLocalPath(r.RenewURL) {
		bad("RenewURL", `must be a path on this site that browsers ask for, not a pattern and without the segments . and .., for example "/coveo/token"`)
	}
	if r.ProxyURL != "" && (!isLocalPath(r.ProxyURL) || strings.HasSuffix(r.ProxyURL, "/") || strings.Contains(r.ProxyURL, "?")) {
		bad("ProxyURL", `must be a path on this site that browsers ask for, not a pattern, without the segments . and .. and without a slash at its end, for example "/coveo"`)
	}
	for _, origin := range r.TrustedOrigins {
		if !isOrigin(origin) {
			bad("TrustedOrigins", fmt.Sprintf("%q is not an origin as browsers spell it, such as https://app.example.com: "+
				"in lower case, without a wildcard, a default port or a slash at its end", redact.Text(origin)))
		}
	}
	return errors.Join(faults...)
}

// nilFault returns an error if the value of a field is a nil pointer, whose
// methods would panic in every request.
func nilFault(field string, value any) error {
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && v.IsNil() {
		return fault(field, fmt.Sprintf("is a nil %T; check the error of the function that made it, or leave the field out", value))
	}
	return nil
}

// clone returns a copy that shares nothing with r.
func (r Route) clone() Route {
	r.Params = r.Params.clone()
	r.TrustedOrigins = slices.Clone(r.TrustedOrigins)
	return r
}

// isOrigin reports whether s is an http or https origin in the spelling of an
// Origin header, which is compared with it.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && hostOf(u) == s && isHost(u.Hostname())
}

// isHost reports whether s is a host name or an IP address.
func isHost(s string) bool { return net.ParseIP(s) != nil || hostName.MatchString(s) }

// isLocalPath reports whether a browser takes s for a path on the page's own
// site, and asks for exactly that path. A browser reads a backslash as a slash,
// ignores tabs and newlines, and resolves the segments . and .. itself. A path
// with a wildcard is the pattern of a router.
func isLocalPath(s string) bool {
	path, _, _ := strings.Cut(s, "?")
	path = strings.ReplaceAll(strings.ToLower(path), "%2e", ".")
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '\\' || r == '#' || r == 0x7f }) &&
		!strings.Contains(path+"/", "/./") && !strings.Contains(path+"/", "/../") &&
		!strings.ContainsAny(path, "*{}") && !strings.Contains(path, "/:")
}
