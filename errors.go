package searchtoken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken/internal/breaker"
	"github.com/searchtoken/searchtoken/internal/redact"
)

// Errors to test for with errors.Is.
//
// The errors of a [Middleware] and of a [Client] are redacted: their texts
// contain no API key, token, name or email address of the request, in any
// spelling, and no errors.Unwrap leads to another text. errors.Is also finds
// the errors of your own code in them, and those of packages context and net.
// errors.As finds an *[APIError] and, for a timeout, a net.Error, but no type
// of another package or of your own: its text would not be redacted.
var (
	// ErrNoIdentity means that nobody is logged in: 401.
	ErrNoIdentity = errors.New("searchtoken: nobody is logged in")
	// ErrSession means that the session store failed: 500. It wraps the store's
	// error.
	ErrSession = errors.New("searchtoken: the session store failed")
	// ErrUnavailable means that no token is available right now: 503. Coveo
	// could not be reached, failed, or asked for fewer calls. It wraps the
	// cause, an *[APIError] if Coveo answered.
	ErrUnavailable = errors.New("searchtoken: no search token available")
	// ErrRefused means that Coveo refuses the token request: 502. It wraps the
	// *[APIError]. An ErrRefused is not an ErrUnavailable.
	ErrRefused = errors.New("searchtoken: Coveo refuses the token request")
)

// Causes of an ErrUnavailable that do not come from the platform.
var (
	errAborted    = errors.New("the fetch of the token was aborted")
	errUnsuitable = errors.New("no token that was fetched is of use for the request")
	errRejected   = errors.New("the issuer returned the rejected token again")
)

// APIError is an answer of Coveo that contains no token. In the errors of a
// [Middleware] or a [Client], its texts are shortened and redacted: they
// contain no API key, token, name or email address. They are for operators, not
// for visitors.
type APIError struct {
	// StatusCode is the HTTP status. It is 200 if the answer was malformed.
	StatusCode int
	// Type is Coveo's type or errorCode, for example "AccessDeniedException".
	Type string
	// Message is Coveo's message, or says what is wrong with the answer.
	Message string
	// RequestID is the answer's X-Request-ID, for Coveo's support.
	RequestID string
	// RetryAfter is the answer's Retry-After, at most 5 minutes. 0: none.
	RetryAfter time.Duration
}

// Error returns all fields in one line.
func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "searchtoken: Coveo answered %d", e.StatusCode)
	if s := http.StatusText(e.StatusCode); s != "" {
		b.WriteString(" " + s)
	}
	for _, s := range []string{e.Type, e.Message} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	if e.RequestID != "" {
		b.WriteString(" (X-Request-ID " + e.RequestID + ")")
	}
	return b.String()
}

// redacted returns e with redacted texts: e itself if they need no change.
func (e *APIError) redacted(secrets ...string) *APIError {
	clean := *e
	for _, text := range []*string{&clean.Type, &clean.Message, &clean.RequestID} {
		*text = redact.Text(*text, secrets...)
	}
	if clean == *e {
		return e
	}
	return &clean
}

// temporary reports whether the same request may succeed later.
func (e *APIError) temporary() bool {
	return e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500
}

// tokenError is an ErrUnavailable or an ErrRefused with its cause.
type tokenError struct {
	cause      error
	retryAfter time.Duration
	outcome    Outcome
}

// newTokenError returns the error of a request that gets no token because of
// cause, which must be redacted.
func newTokenError(cause error, retryAfter time.Duration) *tokenError {
	outcome := OutcomeUnavailable
	if isRefusal(cause) {
		outcome = OutcomeRefused
	}
	return &tokenError{cause, retryAfter, outcome}
}

// newCanceledError returns the error of a request that left before it got a
// token. The names are those of its user.
func newCanceledError(ctx context.Context, names []string) *tokenError {
	return &tokenError{redacted(context.Cause(ctx), names...), breaker.FirstRetry, OutcomeCanceled}
}

// newHeldBackError returns the error of a request for which the breaker allows
// no call.
func newHeldBackError(open *breaker.Open) *tokenError {
	return &tokenError{open.Err, open.RetryAfter, OutcomeHeldBack}
}

func (e *tokenError) Error() string        { return withContext(e.sentinel().Error(), e.cause) }
func (e *tokenError) Is(target error) bool { return target == e.sentinel() }
func (e *tokenError) Unwrap() error        { return e.cause }

func (e *tokenError) sentinel() error {
	if isRefusal(e.cause) {
		return ErrRefused
	}
	return ErrUnavailable
}

// isRefusal reports whether err is an answer of Coveo that refuses the request.
func isRefusal(err error) bool {
	var api *APIError
	return errors.As(err, &api) && !api.temporary() || errors.Is(err, ErrRefused)
}

// redacted returns err with a redacted text, without the given secrets.
// errors.Is finds what it finds in err; errors.As finds the types of this
// package, redacted, and timeouts only. [ErrNoIdentity] alone needs no change.
func redacted(err error, secrets ...string) error {
	if err == ErrNoIdentity {
		return err
	}
	var (
		visible []error
		noToken *tokenError
		limit   *renewalLimitError
		api     *APIError
	)
	if errors.As(err, &noToken) {
		visible = append(visible, &tokenError{redacted(noToken.cause, secrets...), noToken.retryAfter, noToken.outcome})
	}
	if errors.As(err, &limit) {
		visible = append(visible, limit)
	}
	if errors.As(err, &api) {
		visible = append(visible, api.redacted(secrets...))
	}
	return redact.Error(err, visible, secrets...)
}

// withContext returns the text of err after text, without the "searchtoken: "
// that err may have.
func withContext(text string, err error) string {
	return text + ": " + strings.ReplaceAll(err.Error(), "searchtoken: ", "")
}

// contextError adds text in front of an error that may already start with
// "searchtoken: ".
type contextError struct {
	text string
	err  error
}

// wrap returns err with "searchtoken: " and text in front.
func wrap(text string, err error) error { return &contextError{"searchtoken: " + text, err} }

func (e *contextError) Error() string { return withContext(e.text, e.err) }
func (e *contextError) Unwrap() error { return e.err }

// fault says what is wrong with a field.
func fault(field, reason string) error { return errors.New(field + ": " + reason) }

// joinFaults returns one error that has a line for each error that is not nil,
// or nil. It starts with "searchtoken: ".
func joinFaults(faults ...error) error {
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("searchtoken: %w", err)
	}
	return nil
}

// HTTPStatus returns the status with which the default ErrorHandler answers
// err: 401 for [ErrNoIdentity], 502 for [ErrRefused], 503 for [ErrUnavailable],
// 429 if a browser renews too often, and 500 for every other error. An
// *[APIError] alone is a 502 or a 503. For an error of a RenewHandler or of a
// ProxyHandler it returns the status of the handler's answer. For nil it
// returns 200.
func HTTPStatus(err error) int {
	var noToken *tokenError
	var api *APIError
	var limit *renewalLimitError
	var proxy *proxyError
	var renewal *renewalRefusal
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &renewal):
		return renewal.status
	case errors.As(err, &proxy):
		return proxy.status
	case errors.As(err, &noToken) && isRefusal(noToken):
		return http.StatusBadGateway
	case noToken != nil: // even if the cause is an error of this package
		return http.StatusServiceUnavailable
	case errors.Is(err, ErrNoIdentity):
		return http.StatusUnauthorized
	case errors.Is(err, ErrSession):
		return http.StatusInternalServerError
	case errors.As(err, &limit):
		return http.StatusTooManyRequests
	case isRefusal(err):
		return http.StatusBadGateway
	case errors.As(err, &api), errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// RetryAfter returns how long to wait before the next request, as the
// Retry-After header of an error response says it. It is at most 5 minutes, and
// 0 if it is not known.
func RetryAfter(err error) time.Duration {
	var (
		noToken *tokenError
		limit   *renewalLimitError
		proxy   *proxyError
		api     *APIError
		after   time.Duration
	)
	switch {
	case errors.As(err, &proxy):
		after = proxy.retryAfter
	case errors.As(err, &noToken):
		after = noToken.retryAfter
	case errors.As(err, &limit):
		after = limit.retryAfter
	case errors.As(err, &api):
		after = api.RetryAfter
	}
	return min(max(after, 0), maxRetryAfter)
}
