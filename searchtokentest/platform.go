package searchtokentest

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"time"
)

const (
	// DefaultOrganizationID is the default of [Config.OrganizationID].
	DefaultOrganizationID = "acme"

	// DefaultAPIKey is the default of [Config.APIKey]. It has the format of a
	// Coveo API key, but gives access to nothing.
	DefaultAPIKey = "xx00000000-0000-4000-8000-000000000000"

	// EmailSecurityProvider is the security identity provider of the names in
	// [Document.Allowed].
	EmailSecurityProvider = "Email Security Provider"
)

// maxBody is the limit of a request body, in bytes. It is many times what a
// search interface sends.
const maxBody = 1 << 20

// Config configures a [Platform]. The zero Config is ready to use.
type Config struct {
	// OrganizationID is the only organization of the platform. Default:
	// [DefaultOrganizationID].
	OrganizationID string

	// APIKey is the only API key that the token call accepts. Default:
	// [DefaultAPIKey].
	APIKey string

	// Secret is the key that signs tokens. Platforms with the same Secret
	// accept each other's tokens, but a token that is rejected by one is not
	// rejected by the others. Default: a random key.
	Secret []byte

	// Documents is the index. [New] copies it. Default if nil:
	// [DefaultDocuments]. An empty slice that is not nil makes an empty index.
	Documents []Document

	// MaxRequests is the number of requests that the platform remembers. The
	// oldest one is dropped first. Default, also for negative values: 1000.
	MaxRequests int

	// ClockSkew is how far the platform's clock is ahead of time.Now; a
	// negative value puts it behind. The clock determines a token's iat and
	// exp, and when it expires. Default: 0.
	ClockSkew time.Duration
}

// Platform does in memory what the Coveo platform does: it issues search
// tokens, runs queries with them, streams generated answers, accepts analytics
// events and serves the loaders of In-Product Experiences. It is an
// [http.Handler], and an [http.RoundTripper] for clients that should not use a
// socket.
//
// The zero Platform does not work; use [New]. All methods are safe for
// concurrent use. A Platform starts no goroutine that outlives the request it
// serves, and its clock is time.Now plus [Config.ClockSkew], so it works inside
// a testing/synctest bubble.
//
// Platform has more methods than other types, because everything that a test
// does with it is in one place: serve requests, make tokens and requests fail,
// and read the recorded requests. Smaller types do the work.
type Platform struct {
	tokens   *issuer
	requests *requestLog
	faults   faultQueue
	answers  *generator
	router   *router
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
	tokens := newIssuer(cmp.Or(cfg.OrganizationID, DefaultOrganizationID), cfg.Secret, cfg.ClockSkew)
	answers := new(generator)
	return &Platform{
		tokens:   tokens,
		requests: newRequestLog(maxRequests),
		answers:  answers,
		router:   newRouter(cmp.Or(cfg.APIKey, DefaultAPIKey), documents, tokens, answers),
	}
}

// ServeHTTP serves one request. It panics with [http.ErrAbortHandler] if the
// connection should close without a whole response: a [Fault] drops it, or the
// client leaves during a delay. http.Server and [Platform.RoundTrip] recover
// from that and close the connection.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind, handle := p.router.route(r)
	body, bodyErr := readBody(w, r)
	c := p.requests.add(kind, r, body, p.tokens.decode(tokenOf(r)))
	defer c.watchClient()()
	w = &statusWriter{ResponseWriter: w, call: c}

	w.Header().Set("X-Request-ID", newID())
	allowOrigin(w.Header(), r)

	if f, ok := p.faults.take(kind, c.recorded); ok && f.serve(w, c.withBody()) {
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

// readBody reads the whole body first, because net/http notices that a client
// has left only after the body has been read.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
}
