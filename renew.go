package searchtoken

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	maxRenewBody = 16 << 10 // bytes

	// Renewals that a user may force: three at once, then one in 20 seconds.
	renewalInterval = 20 * time.Second
	renewalBurst    = 3
)

// RenewHandler returns the handler that a page's renewAccessToken calls when its
// token was rejected, mounted at the route's RenewURL. It answers with a token
// of the same grant as the page's: the same Identify, Params and Prepare.
//
// It takes a GET, or a POST of {"rejected": "<token>"}, from the page's own
// origin. The answer is {"token": "<token>"}, or the bare token where the Accept
// header prefers text/plain. A token that was named as rejected is never
// answered; to replace one that is still cached, a user may have three fetched
// at once and one in 20 seconds after that. All anonymous visitors are one user.
//
// Errors have a status and its text alone, whatever the route's ErrorHandler:
// 401 without a user, 403 for another origin, 405, 413 for a body of over 16 KiB,
// 400 for one that is not the JSON above, 429 with Retry-After beyond the limit,
// and 500, 502 and 503 as HTTPStatus says.
func (m *Middleware) RenewHandler() http.Handler {
	var origin http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		new(pageContext).setHeaders(h)
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodPost {
			h.Set("Allow", "GET, POST")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		if origin.Check(asPost(r)) != nil {
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
			o     order
			token Token
		)
		err := m.order(r, &id, &o)
		if err == nil {
			o.rejected = rejected
			token, err = m.source.token(r.Context(), &o)
		}
		if err != nil {
			setRetryAfter(h, err)
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

// asPost is r for CrossOriginProtection, which lets every GET pass: this one
// answers with a secret.
func asPost(r *http.Request) *http.Request {
	post := *r
	post.Method = http.MethodPost
	return &post
}

// readRejected returns the token that the request says was rejected; a GET names
// none.
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

// prefersText reports whether an Accept header ranks text/plain before
// application/json.
func prefersText(accept []string) bool {
	text, json := rank(accept, "text/plain"), rank(accept, "application/json")
	return text.quality > json.quality || text.quality == json.quality && text.named > json.named
}

// ranking is what an Accept header says of a media type.
type ranking struct {
	quality float64
	named   int // 2: in full, 1: its half, 0: only among all
}

func rank(accept []string, mediaType string) ranking {
	half, _, _ := strings.Cut(mediaType, "/")
	best := ranking{0, -1}
	for media := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, err := mime.ParseMediaType(media)
		named := slices.Index([]string{"*/*", half + "/*", mediaType}, name)
		if err != nil || named <= best.named {
			continue
		}
		quality, err := strconv.ParseFloat(cmp.Or(params["q"], "1"), 64)
		if err == nil && quality >= 0 && quality <= 1 {
			best = ranking{quality, named}
		}
	}
	return best
}

// renewals are the limits of the users who have forced fetches of late.
type renewals map[UserKey]*rate.Limiter

// allow counts a forced fetch, and refuses it if there were too many.
func (r renewals) allow(user UserKey, now time.Time) error {
	limiter := r[user]
	if limiter == nil {
		makeRoom(r, func(l *rate.Limiter) bool { return l.TokensAt(now) >= renewalBurst })
		limiter = rate.NewLimiter(rate.Every(renewalInterval), renewalBurst)
		r[user] = limiter
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

func (*renewalLimitError) Error() string { return "searchtoken: too many renewals of one user" }
