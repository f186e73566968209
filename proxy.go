package searchtoken

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/searchtoken/searchtoken/internal/limit"
	"github.com/searchtoken/searchtoken/internal/redact"
)

const (
	maxProxyBody = 1 << 20          // bytes
	callTimeout  = 30 * time.Second // of a call, except a stream
	maxSilence   = 60 * time.Second // of a stream
	maxPatience  = time.Second      // of a call that waits for its turn

	// The limits for calls at the same time, in all and for one user.
	// Suggestions and events have the same limits as the other calls, and do
	// not share them.
	maxCalls, maxUserCalls     = 64, 8
	maxStreams, maxUserStreams = 256, 4
)

// proxyResources are what the ProxyHandlers of all routes share.
type proxyResources struct {
	transport                           http.RoundTripper
	calls, suggestions, events, streams *limit.Limit[proxyUser]
}

// proxyUser identifies a user in a limit. Anonymous visitors differ by their
// addresses.
type proxyUser struct {
	user    UserKey
	network netip.Prefix
}

func newProxyResources(transport http.RoundTripper) *proxyResources {
	return &proxyResources{
		transport:   transport,
		calls:       limit.New[proxyUser](maxCalls, maxUserCalls),
		suggestions: limit.New[proxyUser](maxCalls, maxUserCalls),
		events:      limit.New[proxyUser](maxCalls, maxUserCalls),
		streams:     limit.New[proxyUser](maxStreams, maxUserStreams),
	}
}

// ProxyHandler returns the handler that answers the calls of the front ends of
// a page with a ProxyURL. It sends each call to Coveo with the token of the
// request's user, so that no token is in the browser. Mount it at the route's
// ProxyURL, with a slash at its end:
//
//	mux.Handle("/coveo/", coveo.ProxyHandler())
//
// It forwards the GETs and POSTs that Coveo's front ends need: queries,
// suggestions, facets, previews of documents, analytics events, generated
// answers, recommendations, commerce, insight and case assist. Everything else
// is answered with 404. Of the request's headers, it forwards none but content
// type, accepted types, languages and encodings, and the browser's name; Coveo
// also gets the visitor's address (see Route.ClientIP). A body may have 1 MiB.
//
// Requests must come from a page of the site itself or of Route.TrustedOrigins.
// The answer is a page's own: it is never cached, sets no cookie and redirects
// nowhere, and its markup runs no scripts.
//
// Errors are JSON objects with statusCode, type and message, even if the route
// has an ErrorHandler: 400 for malformed parameters or an incomplete body, 401
// without a user, 403 for another origin or another organization, 404, 413, 415
// for a body that is neither JSON nor a form, 429 with Retry-After beyond the
// limits, 500 if a handler before this one has read the body, 504 after 30
// seconds, and otherwise as [HTTPStatus] says. Coveo's own 400, 404, 422 and 429
// are passed on. One that may contain the token is replaced by an error with
// the same status.
//
// 64 calls run at a time, and 8 of one user; as many for suggestions, and for
// analytics events; and 256 streams, 4 of one user. Others wait for a second.
// The limits hold for all routes of the Middleware together. All anonymous
// visitors from one address (of IPv6: a /64) are one user.
func (m *Middleware) ProxyHandler() http.Handler {
	once := &transport{m, m.proxy.transport}
	repeating := &transport{m, repeatOnce{m.proxy.transport}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &proxyCall{Middleware: m, w: w, in: r, transport: repeating}
		c.op, c.path = findOperation(r.Method, r.URL.EscapedPath(), m.route.ProxyURL, m.page.OrganizationID)
		if c.op != nil && c.op.host == analyticsHost {
			c.transport = once // an event that is sent twice would count twice
		}
		began := time.Now()
		err := c.serve()
		m.tokens.reporter.proxied(r.Context(), m.route.Name, c.operation(), time.Since(began), err)
		switch {
		case err == nil:
		case !c.answered:
			c.answerError(err)
		case c.cutOff && r.Context().Value(http.ServerContextKey) != nil: // a server that recovers
			panic(http.ErrAbortHandler) // the browser must not take the answer for a whole one
		}
	})
}

// proxyCall is one request to a ProxyHandler.
type proxyCall struct {
	*Middleware
	w         http.ResponseWriter
	in        *http.Request
	op        *operation // nil: it is not in operations
	path      string     // of op
	address   netip.Addr // the visitor's; not valid if it is not known
	transport *transport
	answered  bool // the answer has begun
	cutOff    bool // the answer has begun and will not be whole
}

// proxyError says why a call is not forwarded, or its answer is not passed on.
type proxyError struct {
	status     int
	outcome    Outcome
	reason     string // for the visitor, too
	retryAfter time.Duration
	err        error
}

func (e *proxyError) Error() string {
	if e.err != nil {
		return withContext("searchtoken: "+e.reason, e.err)
	}
	return "searchtoken: " + e.reason
}

func (e *proxyError) Unwrap() error { return e.err }

var errTooSlow = errors.New("no answer in time")

// serve forwards the request and passes the answer on. If it returns an error
// before the answer has begun, the error is the answer.
func (c *proxyCall) serve() error {
	c.setHeaders()
	c.address = c.clientIP()
	if c.op == nil {
		return &proxyError{status: http.StatusNotFound, outcome: OutcomeRefused, reason: "the site forwards no such call to Coveo"}
	}
	if err := c.checkPage(); err != nil {
		return &proxyError{http.StatusForbidden, OutcomeRefused, "the call does not come from a page of this site", 0, err}
	}
	var call pageContext // the context of the call of Coveo
	call.page = c.page
	if err := c.identifyRequest(c.in, &call.page.Identity, &call.request); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(c.in.Context())
	defer cancel(nil)
	patience := callTimeout
	if c.op.answer == streamAnswer {
		patience = maxSilence
	}
	timer := time.AfterFunc(patience, func() { cancel(errTooSlow) })
	defer timer.Stop()
	call.Context = ctx
	// In place of the server's deadline, and for a browser that does not read.
	// The server ends it after the answer.
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(patience + maxPatience))

	err := c.forward(&call, timer)
	switch {
	case err == nil:
		return nil
	case c.in.Context().Err() != nil: // the browser has left, or sends or reads too slowly
		return newCanceledError(c.in.Context(), call.request.names())
	case errors.Is(context.Cause(ctx), errTooSlow) && HTTPStatus(err) >= 500:
		return &proxyError{http.StatusGatewayTimeout, OutcomeUnavailable, "Coveo did not answer in time", 0, err}
	}
	return err
}

// forward calls Coveo within the limits, and passes the answer on.
func (c *proxyCall) forward(call *pageContext, timer *time.Timer) error {
	// First, so that calls that wait for a token keep no slot from others, and
	// no body in memory.
	var err error
	if call.page.Token, _, err = c.tokens.find(call, &call.request); err != nil {
		return err
	}
	out, err := c.newRequest(call)
	if err != nil {
		return err
	}
	release, err := c.acquire(call)
	if err != nil {
		return err
	}
	defer release()
	resp, token, err := c.transport.send(out)
	if err != nil {
		err = redacted(err, append(call.request.names(), out.URL.RawQuery)...) // a transport may name the URL
		return &proxyError{http.StatusServiceUnavailable, OutcomeUnavailable, "Coveo could not be reached", 0, err}
	}
	defer resp.Body.Close()
	answer := &APIError{
		StatusCode: resp.StatusCode,
		RequestID:  redact.Text(resp.Header.Get("X-Request-ID")),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
	switch {
	case rejectsToken(resp):
		return &proxyError{http.StatusBadGateway, OutcomeRefused, "Coveo rejects the token", 0, answer}
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return c.pass(resp, timer)
	case !slices.Contains(passedStatuses, resp.StatusCode):
		return answer
	}
	switch hidden, err := mayContain(resp, token); {
	case err != nil:
		return newCutOffError(err)
	case hidden:
		const reason = "the error of Coveo is not shown, because it may contain the token"
		return &proxyError{resp.StatusCode, outcomeOf(answer), reason, answer.RetryAfter, answer}
	}
	return cmp.Or(c.pass(resp, timer), error(answer))
}

// acquire waits for the call's turn.
func (c *proxyCall) acquire(call *pageContext) (release func(), err error) {
	l := c.proxy.calls
	switch {
	case c.op.answer == streamAnswer:
		l = c.proxy.streams
	case c.op.host == analyticsHost:
		l = c.proxy.events
	case c.op.suggests(): // after each letter that the user types
		l = c.proxy.suggestions
	}
	user := proxyUser{user: call.request.key.User}
	if user.user == c.anonymous && c.address.IsValid() {
		// A visitor may have all addresses of a /64.
		user.network, _ = c.address.Prefix(min(c.address.BitLen(), 64))
	}
	release, err = l.Acquire(call, user, maxPatience)
	if errors.Is(err, limit.ErrTimeout) {
		err = &proxyError{http.StatusTooManyRequests, OutcomeLimited, "too many calls at the same time", maxPatience, nil}
	}
	return release, err
}

// operation names the operation in log lines.
func (c *proxyCall) operation() string {
	if c.op != nil {
		return c.op.method + " " + c.op.path
	}
	return redact.Text(c.in.Method + " " + c.in.URL.EscapedPath())
}
