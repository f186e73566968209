package searchtoken

import (
	"cmp"
	"time"
)

const (
	minRefreshBefore = 5 * time.Minute

	// A token that was issued further in the future than this is expired: the
	// clock was set back, so the token's age is not known.
	clockSlack = time.Minute

	// A token that replaces a rejected one of the same second must have been
	// requested within this time.
	sameSecondTolerance = 10 * time.Second
)

// freshness says what a token may be used for.
type freshness int

const (
	expired freshness = iota // not for this request: wait for another token
	stale                    // for this request: refresh it in the background
	fresh                    // for this request
)

// tokenRequest describes the token that one HTTP request needs. Its pointers
// are shared: clone before handing them to other code.
type tokenRequest struct {
	key        Key
	route      *Route
	params     *TokenParams // without UserIDs, which are in userIDs
	userIDs    []UserID
	sessionEnd time.Time // zero if it is not known
	rejected   string    // a token that the browser reports as rejected; may be empty

	renewalAllowed bool // this process has counted the renewal that the request forces
	renewalCounted bool // the RenewalLimiter has counted it
}

// names returns the names in r, to redact them in an error.
func (r *tokenRequest) names() []string {
	params := *r.params
	params.UserIDs = r.userIDs
	return namesIn(params)
}

// freshness returns what r may use t for.
func (r *tokenRequest) freshness(t Token, now time.Time) freshness {
	if r.rejected != "" && !replaces(t, r.rejected, now) {
		return expired
	}
	return r.freshnessIgnoringRejection(t, now)
}

// freshnessIgnoringRejection is like freshness, but ignores r.rejected.
func (r *tokenRequest) freshnessIgnoringRejection(t Token, now time.Time) freshness {
	if t.Value == "" || r.outlivesSession(t) {
		return expired
	}
	return r.freshnessByTime(t, now)
}

// freshnessByTime looks only at the times of t.
func (r *tokenRequest) freshnessByTime(t Token, now time.Time) freshness {
	// UnixNano, because Sub checks for overflow, which takes as long as the
	// rest.
	issued, expiry, at := t.Issued.UnixNano(), t.Expiry.UnixNano(), now.UnixNano()
	life, remaining := time.Duration(expiry-issued), time.Duration(expiry-at)
	switch {
	case t.Issued.IsZero(): // the Cache lost it
		life = r.params.validFor()
		if remaining > life+clockSlack {
			return expired
		}
	case issued-at > int64(clockSlack):
		return expired
	}
	// The clamps leave time to refresh a token that lives shorter than the
	// margins ask for.
	minRemaining := min(cmp.Or(r.route.MinRemaining, defaultMinRemaining), life/2)
	refreshBefore := r.route.RefreshBefore
	if refreshBefore == 0 {
		refreshBefore = max(minRemaining+(life-minRemaining)/10, minRefreshBefore)
	}
	refreshBefore = min(refreshBefore, life/4*3)
	// The jitter spreads the refreshes of tokens that were issued together.
	refreshBefore -= (refreshBefore - minRemaining) / 10 / (1 << 16) * r.key.jitter()
	switch {
	case remaining <= minRemaining:
		return expired
	case remaining <= refreshBefore:
		return stale
	}
	return fresh
}

// outlivesSession reports whether t expires more than 15 minutes after the
// session. Coveo's shortest tokens live that long.
func (r *tokenRequest) outlivesSession(t Token) bool {
	return !r.sessionEnd.IsZero() && t.Expiry.After(r.sessionEnd.Add(minValidFor))
}

// sessionEnded reports whether the session has ended.
func (r *tokenRequest) sessionEnded(now time.Time) bool {
	return !r.sessionEnd.IsZero() && !now.Before(r.sessionEnd)
}

// issueParams returns the parameters for the Issuer. ValidFor is cut to the
// rest of the session.
func (r *tokenRequest) issueParams(now time.Time) TokenParams {
	p := *r.params
	p.UserIDs = r.userIDs
	if left := r.sessionEnd.Sub(now); !r.sessionEnd.IsZero() && left < p.validFor() {
		p.ValidFor = max(left.Truncate(time.Millisecond), minValidFor)
	}
	return p
}

// replaces reports whether t may replace the token that a browser reports as
// rejected: t differs from it and was issued later. Otherwise two processes
// could hand out each other's rejected tokens without end.
func replaces(t Token, rejected string, now time.Time) bool {
	if t.Value == rejected {
		return false
	}
	rejectedAt, _ := jwtTimes(rejected)
	issuedAt, _ := jwtTimes(t.Value)
	return issuedAt > rejectedAt || issuedAt == rejectedAt && now.Sub(t.Issued) < sameSecondTolerance
}

// completeTimes fills in the times of a token from an Issuer that was called at
// requested. The error is that of a token that is too old. An Issued in the
// future says nothing about the age.
func completeTimes(t Token, requested time.Time, validFor time.Duration) (Token, error) {
	if t.Issued.IsZero() || t.Issued.After(time.Now()) {
		var err error
		if t.Issued, err = issuedAt(t.Value, requested, ""); err != nil {
			return Token{}, err
		}
	}
	t.Issued, t.Expiry = t.Issued.Round(0), t.Expiry.Round(0)
	if t.Expiry.IsZero() {
		t.Expiry = expiry(t.Value, t.Issued, validFor)
	}
	if latest := t.Issued.Add(validFor); t.Expiry.After(latest) {
		t.Expiry = latest
	}
	return t, nil
}
