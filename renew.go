package searchtoken

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
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
// its token was rejected. Mount it at the route's RenewURL. It answers with a
// token of the same grant as the page's token: it uses the same Identify,
// Params and Prepare.
//
// It accepts a GET, or a POST of {"rejected": "<token>"}, from the page's own
// origin. The answer is {"token": "<token>"}, or the bare token if the Accept
// header prefers text/plain. The rejected token is never the answer. If the
// rejected token is still cached, the renewal forces a fetch: a user may force
// three at once and one per 20 seconds after that. All anonymous visitors are
// one user.
//
// An error is answered with its status and standard text, even if the route has
// an ErrorHandler: 401 without a user, 403 for another origin, 405 for another
// method, 413 for a body of over 16 KiB, 400 for another body, 429 with
// Retry-After beyond the limit, and otherwise as [HTTPStatus] says. On plain
// http, where browsers do not name the origin of a GET, a Referer of another
// host is a 403 as well.
func (m *Middleware) RenewHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		new(pageContext).setHeaders(h)
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodPost {
			h.Set("Allow", "GET, POST")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		if !sameOrigin(m.origin, r) {
			http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
			return
		}
		rejected, status := readRejected(w, r)
		if status != http.StatusOK {
			http.Error(w, http.StatusText(status), status)
			return
		}
		var (
			id    Identity
			req   tokenRequest
			token Token
		)
		err := m.identifyRequest(r, &id, &req)
		if err == nil {
			req.rejected = rejected
			token, _, err = m.tokens.find(r.Context(), &req)
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
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token.Value})
	})
}

// sameOrigin reports whether r comes from the page's own origin, as far as the
// browser says. A GET is checked like a POST, because it is answered with a
// secret. On plain http, browsers send neither Sec-Fetch-Site nor, for a GET,
// Origin. Then the Referer must not name another host.
func sameOrigin(origin *http.CrossOriginProtection, r *http.Request) bool {
	post := *r
	post.Method = http.MethodPost
	if origin.Check(&post) != nil {
		return false
	}
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" || r.Referer() == "" {
		return true
	}
	referer, err := url.Parse(r.Referer())
	return err == nil && strings.EqualFold(referer.Host, r.Host)
}

// readRejected returns the token that the request reports as rejected. A GET
// reports none.
func readRejected(w http.ResponseWriter, r *http.Request) (rejected string, status int) {
	if r.Method == http.MethodGet {
		return "", http.StatusOK
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRenewBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return "", http.StatusRequestEntityTooLarge
	}
	var body struct {
		Rejected *string `json:"rejected"`
	}
	if err != nil || json.Unmarshal(data, &body) != nil || body.Rejected == nil {
		return "", http.StatusBadRequest
	}
	return *body.Rejected, http.StatusOK
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
