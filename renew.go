package searchtoken

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxRenewBody = 16 << 10 // bytes

	// Renewals that a user may force: three at once, then one per 20 seconds.
	renewalInterval = 20 * time.Second
	renewalBurst    = 3
)

// RenewHandler returns the handler that a page's renewAccessToken calls when
// its token was rejected. Mount it at the route's RenewURL, for GET and POST.
// It answers with a token of the same grant as the page's token: it uses the
// same Identify, Params and Prepare. Do not mount it for pages with a ProxyURL,
// which need no token: it would give one to every script of the site.
//
//	mux.Handle("/coveo/token", coveo.RenewHandler())
//
// A ServeMux panics if it also has the pattern "GET /", which conflicts with
// this one. Then mount it as "GET /coveo/token" and as "POST /coveo/token".
//
// It accepts a GET, or a POST of {"rejected": "<token>"}, from a page of the
// site itself or of Route.TrustedOrigins. A POST without a body, of {} or of
// {"rejected": null} names no token. The rejected token is never the answer. If
// it is still cached, the renewal forces a fetch: a user may force three at
// once and one per 20 seconds after that. All anonymous visitors are one user.
//
// The answer is a JSON object with all that a front end needs to start:
//
//	{
//	  "token": "<token>", "expiresAt": "2030-01-31T23:59:59Z",
//	  "organizationId": "acme", "environment": "prod", "searchHub": "products",
//	  "platformUrl": "https://acme.org.coveo.com",
//	  "analyticsUrl": "https://acme.analytics.org.coveo.com"
//	}
//
// expiresAt is in UTC, by this server's clock. searchHub is missing if the
// token has none. If the Accept header prefers text/plain, the answer is the
// token alone.
//
// An error is answered with its status and standard text, even if the route has
// an ErrorHandler: 401 without a user, 403 for another origin, 405 for another
// method, 413 for a body of over 16 KiB, 400 for another body, 500 if a handler
// before this one has read the body, 429 with Retry-After beyond the limit, and
// otherwise as [HTTPStatus] says. On plain http, where browsers do not name the
// origin of a GET, a Referer of another origin is a 403 as well.
func (m *Middleware) RenewHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		new(pageContext).setHeaders(h)
		h.Set("X-Content-Type-Options", "nosniff")
		rejected, refusal := m.readRenewal(w, r)
		if refusal != nil {
			m.tokens.reporter.renewalRefused(r.Context(), m.route.Name, refusal.reason, refusal)
			http.Error(w, http.StatusText(refusal.status), refusal.status)
			return
		}
		var (
			id    Identity
			req   tokenRequest
			token Token
			limit *renewalLimitError
		)
		err := m.identifyRequest(r, &id, &req)
		if err == nil {
			req.rejected = rejected
			token, _, err = m.tokens.find(r.Context(), &req)
			if errors.As(err, &limit) {
				m.tokens.reporter.renewalRefused(r.Context(), m.route.Name, "limit", limit)
			}
		}
		if err != nil {
			setRetryAfter(h, RetryAfter(err))
			answerError(w, err)
			return
		}
		h.Add("Vary", "Accept")
		if prefersText(r.Header.Values("Accept")) {
			h.Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, token.Value)
			return
		}
		h.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(renewal{
			token.Value, token.Expiry.UTC().Format(time.RFC3339),
			m.page.OrganizationID, m.page.Environment, m.page.PlatformURL, m.page.AnalyticsURL, req.params.SearchHub,
		})
	})
}

// renewal is an answer of the RenewHandler.
type renewal struct {
	Token          string      `json:"token"`
	ExpiresAt      string      `json:"expiresAt"`
	OrganizationID string      `json:"organizationId"`
	Environment    Environment `json:"environment"`
	PlatformURL    string      `json:"platformUrl"`
	AnalyticsURL   string      `json:"analyticsUrl"`
	SearchHub      string      `json:"searchHub,omitempty"`
}

// renewalRefusal is a request that the RenewHandler refuses.
type renewalRefusal struct {
	status int
	reason string // one of a few words, for the log
	err    error
}

func (e *renewalRefusal) Error() string { return withContext("searchtoken: renewal refused", e.err) }
func (e *renewalRefusal) Unwrap() error { return e.err }

var (
	errMethod   = errors.New("the method is neither GET nor POST")
	errTooLong  = errors.New("the body is longer than 16 KiB")
	errBody     = errors.New(`the body is not {"rejected": "<token>"}`)
	errBodyRead = errors.New("a handler before this one has read the body")
)

// readRenewal returns the token that the request reports as rejected, if it
// reports one.
func (m *Middleware) readRenewal(w http.ResponseWriter, r *http.Request) (rejected string, refusal *renewalRefusal) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return "", &renewalRefusal{http.StatusMethodNotAllowed, "method", errMethod}
	}
	if err := m.checkOrigin(r); err != nil {
		return "", &renewalRefusal{http.StatusForbidden, "origin", err}
	}
	if r.Method == http.MethodGet {
		return "", nil
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRenewBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return "", &renewalRefusal{http.StatusRequestEntityTooLarge, "too_large", errTooLong}
	}
	if wasRead(r, data, err) {
		return "", &renewalRefusal{http.StatusInternalServerError, "body_read", errBodyRead}
	}
	if err != nil || !parseRejected(data, &rejected) {
		return "", &renewalRefusal{http.StatusBadRequest, "body", errBody}
	}
	return rejected, nil
}

// wasRead reports whether a handler before this one has read the body of r.
// body and err are what reading it returned.
func wasRead(r *http.Request, body []byte, err error) bool {
	return errors.Is(err, http.ErrBodyReadAfterClose) || err == nil && len(body) == 0 && r.ContentLength > 0
}

// parseRejected sets rejected to the token in the body of a renewal, if it has
// one. It returns false if the body is malformed.
func parseRejected(body []byte, rejected *string) bool {
	if len(bytes.TrimSpace(body)) == 0 {
		return true
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(body, &object) != nil || object == nil {
		return false
	}
	token, ok := object["rejected"]
	if !ok {
		return len(object) == 0 // a token under another name would be given out again
	}
	return json.Unmarshal(token, rejected) == nil // null changes nothing
}

// prefersText reports whether an Accept header ranks text/plain above
// application/json.
func prefersText(accept []string) bool {
	text, json := rank(accept, "text/plain"), rank(accept, "application/json")
	return text.quality > json.quality || text.quality == json.quality && text.specific > json.specific
}

// ranking is what an Accept header says about a media type.
type ranking struct {
	quality  float64
	specific int // 2: type/subtype, 1: type/*, 0: */*
}

// rank returns the ranking of a media type. The most specific range counts.
func rank(accept []string, mediaType string) ranking {
	half, _, _ := strings.Cut(mediaType, "/")
	best := ranking{0, -1}
	for media := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, err := mime.ParseMediaType(media)
		specific := slices.Index([]string{"*/*", half + "/*", mediaType}, name)
		if err != nil || specific <= best.specific {
			continue
		}
		quality, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
		if err == nil && quality >= 0 && quality <= 1 {
			best = ranking{quality, specific}
		}
	}
	return best
}

// renewalLimits limits the renewals that each user forces in this process. The
// zero value is ready for use, and safe for concurrent use.
type renewalLimits struct {
	mu    sync.Mutex // guards users
	users map[UserKey]*rate.Limiter
}

// allow counts a forced renewal, or returns a renewalLimitError.
func (l *renewalLimits) allow(user UserKey, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.users[user]
	if limiter == nil {
		if l.users == nil {
			l.users = map[UserKey]*rate.Limiter{}
		}
		makeRoom(l.users, func(other *rate.Limiter) bool { return other.TokensAt(now) >= renewalBurst })
		limiter = rate.NewLimiter(rate.Every(renewalInterval), renewalBurst)
		l.users[user] = limiter
	}
	reservation := limiter.ReserveN(now, 1)
	if wait := reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return &renewalLimitError{wait}
	}
	return nil
}

// renewalLimitError says that a user forces too many renewals.
type renewalLimitError struct{ retryAfter time.Duration }

func (*renewalLimitError) Error() string { return "searchtoken: the user forces too many renewals" }
