package searchtokentest

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultOrganizationID is the organization of a platform whose Config names none.
	DefaultOrganizationID = "acme"

	// DefaultAPIKey is the API key of a platform whose Config names none. It has the shape of a real one and opens nothing.
	DefaultAPIKey = "xx00000000-0000-4000-8000-000000000000"

	// EmailSecurityProvider is the security identity provider whose users the documents' permissions name.
	EmailSecurityProvider = "Email Security Provider"
)

// maxBody is what a request body may have, in bytes. It is many times what a search interface sends.
const maxBody = 1 << 20

// Config says what a Platform holds. The zero Config is ready to use.
type Config struct {
	// OrganizationID is the only organization that the platform knows. Default: DefaultOrganizationID.
	OrganizationID string

	// APIKey is the only key that the token call accepts. Default: DefaultAPIKey.
	APIKey string

	// Secret signs the tokens. Platforms with the same Secret accept each other's tokens, but each rejects on its own.
	// Default, when empty: a random one.
	Secret []byte

	// Documents is the index, which New copies. Default, when nil: DefaultDocuments. An empty slice is an empty index.
	Documents []Document

	// MaxRequests is how many requests the platform remembers; older ones make room. Default, when not positive: 1000.
	MaxRequests int

	// ClockSkew is how far the platform's clock is ahead of time.Now, behind when negative. It moves the iat and exp of
	// tokens and the moment at which they expire. Default: none.
	ClockSkew time.Duration
}

// Platform answers as the Coveo platform does, in memory: it issues search tokens, runs queries with them, takes
// analytics events and serves the loaders of In-Product Experiences. It is an http.Handler, and an http.RoundTripper
// for clients that shall reach it without a socket.
//
// All methods are safe for concurrent use. A Platform starts no goroutine that outlives the call which it answers, and
// takes the time from time.Now, so it works inside a testing/synctest bubble.
type Platform struct {
	organization string
	apiKey       string
	skew         time.Duration
	documents    []*entry
	tokens       *tokens
	requests     *requestLog
	faults       faultQueue
}

// New returns a platform for cfg.
func New(cfg Config) *Platform {
	documents := cfg.Documents
	if documents == nil {
		documents = DefaultDocuments()
	}
	maxRequests := cfg.MaxRequests
	if maxRequests <= 0 {
		maxRequests = 1000
	}
	return &Platform{
		organization: cmp.Or(cfg.OrganizationID, DefaultOrganizationID),
		apiKey:       cmp.Or(cfg.APIKey, DefaultAPIKey),
		skew:         cfg.ClockSkew,
		documents:    index(documents),
		tokens:       newTokens(cfg.Secret),
		requests:     newRequestLog(maxRequests),
	}
}

// now is the platform's clock.
func (p *Platform) now() time.Time { return time.Now().Add(p.skew) }

// call is one request on its way through the platform.
type call struct {
	*http.Request
	body   []byte
	record *Request // guarded by the request log
}

type handlerFunc func(w http.ResponseWriter, c *call)

// ServeHTTP answers one request. Where the connection shall end without a whole answer (a Fault that drops it, a client
// that leaves during a delay) it panics with http.ErrAbortHandler, as net/http asks of handlers; http.Server and
// RoundTrip turn that into a connection that ends.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, handle := p.route(r)
	body, bodyErr := readBody(w, r)
	c := &call{Request: r, body: body}
	c.record = p.requests.add(kind, r, body, p.tokens.decode(tokenOf(r)))
	w = &statusWriter{ResponseWriter: w, log: p.requests, record: c.record}

	w.Header().Set("X-Request-ID", newID())
	allowOrigin(w.Header(), r)

	if f, ok := p.faults.take(kind); ok && f.serve(w, r) {
		return
	}
	if bodyErr != nil {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(bodyErr, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		writeError(w, status, "The request body could not be read.")
		return
	}
	handle(w, c)
}

// route tells what a request is and who answers it.
func (p *Platform) route(r *http.Request) (Kind, handlerFunc) {
	if r.Method == http.MethodOptions {
		return KindPreflight, servePreflight
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch path {
	case "/rest/search/v2/token":
		return KindToken, p.serveToken
	case "/rest/search/v2":
		return KindSearch, p.authenticated(p.serveSearch)
	case "/rest/search/v2/querySuggest":
		return KindSuggest, p.authenticated(p.serveSuggest)
	case "/rest/search/v2/plan":
		return KindOther, p.authenticated(p.servePlan)
	case "/rest/search/v2/facet":
		return KindOther, p.authenticated(p.serveFacetSearch)
	case "/rest/search/v2/html":
		return KindOther, p.authenticated(p.serveHTML)
	}
	if event, ok := analyticsEvent(path); ok {
		return KindAnalytics, func(w http.ResponseWriter, c *call) { p.serveAnalytics(w, c, event) }
	}
	if e, ok := parseExperience(path); ok {
		return KindIPX, func(w http.ResponseWriter, c *call) { p.serveExperience(w, c, e) }
	}
	return KindOther, func(w http.ResponseWriter, _ *call) {
		writeError(w, http.StatusNotFound, "There is nothing at this path.")
	}
}

// authenticated wraps what a search token opens: the query API.
func (p *Platform) authenticated(next func(http.ResponseWriter, *call, *Claims)) handlerFunc {
	return func(w http.ResponseWriter, c *call) {
		if c.Method != http.MethodGet && c.Method != http.MethodPost {
			w.Header().Set("Allow", "GET, POST")
			writeError(w, http.StatusMethodNotAllowed, "Use GET or POST.")
			return
		}
		claims, err := p.tokens.verify(tokenOf(c.Request), p.now())
		switch {
		case errors.Is(err, errExpiredToken):
			writeError(w, statusExpiredToken, "Expired token")
		case err != nil:
			writeError(w, http.StatusUnauthorized, "Invalid access token.")
		case !p.ownOrganization(c.Request):
			writeUnknownOrganization(w)
		default:
			next(w, c, claims)
		}
	}
}

// ownOrganization reports whether the request is for the platform's organization. The platform knows it from the key
// or the token too, so the parameter may be missing.
func (p *Platform) ownOrganization(r *http.Request) bool {
	for name, values := range r.URL.Query() {
		// Clients spell it organizationid as well.
		if strings.EqualFold(name, "organizationId") {
			for _, v := range values {
				if v != p.organization {
					return false
				}
			}
		}
	}
	return true
}

// allowOrigin lets pages of every origin call, with credentials, as the platform does.
func allowOrigin(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "X-Request-ID")
	}
}

func servePreflight(w http.ResponseWriter, c *call) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	if names := c.Header.Get("Access-Control-Request-Headers"); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	w.WriteHeader(http.StatusNoContent)
}

// readBody reads the whole body first: only then does net/http notice a client that leaves.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
}

// statusExpiredToken is Coveo's own status for a search token that has expired; net/http has no name for it.
const statusExpiredToken = 419

// apiError is the error of the Search API.
type apiError struct {
	StatusCode int    `json:"statusCode"`
	Message    string `json:"message"`
	Type       string `json:"type"`
}

// errorType is the exception that the Search API names beside a status.
func errorType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "InvalidRequestException"
	case http.StatusUnauthorized:
		return "InvalidTokenException"
	case http.StatusForbidden:
		return "AccessDeniedException"
	case http.StatusNotFound:
		return "NotFoundException"
	case statusExpiredToken:
		return "ExpiredTokenException"
	case http.StatusTooManyRequests:
		return "TooManyRequestsException"
	}
	if status >= http.StatusInternalServerError {
		return "InternalServerErrorException"
	}
	return "RequestException"
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, apiError{StatusCode: status, Message: message, Type: errorType(status)})
}

func writeUnknownOrganization(w http.ResponseWriter) {
	writeJSON(w, http.StatusNotFound, apiError{
		StatusCode: http.StatusNotFound,
		Message:    "The organization does not exist.",
		Type:       "OrganizationNotFoundException",
	})
}

// writeJSON announces the length, as the platform does, so that a client can tell a whole answer from a part.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	// No value of this package can fail to encode.
	_ = json.NewEncoder(&b).Encode(v)
	defaultContentType(w.Header(), "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// defaultContentType leaves the type that a Fault has set as it is.
func defaultContentType(h http.Header, contentType string) {
	if _, ok := h["Content-Type"]; !ok {
		h.Set("Content-Type", contentType)
	}
}

// newID returns a random UUID, which is what Coveo's identifiers look like.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
