package searchtoken

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Coveo's bounds of validFor. The maximum is also its default.
const (
	minValidFor = 15 * time.Minute
	maxValidFor = 24 * time.Hour
)

// Token is a Coveo search token. It is a value: copies are independent of each
// other.
//
// Value is the only secret in it. String, GoString, Format, LogValue and
// MarshalText leave it out, so a Token in a log line or in an error does no
// harm. Package fmt does not call them for an unexported field of another
// struct: do not print a struct that holds a Token in such a field.
type Token struct {
	// Value is the token itself. Coveo's tokens are JWTs.
	Value string
	// Issued is when the token was issued, on this machine's clock: the moment
	// before it was requested, minus the age that it had then.
	Issued time.Time
	// Expiry is Issued plus the life of the token, on this machine's clock. It
	// does not depend on the platform's clock.
	Expiry time.Time
}

// SetAuthHeader sets the Authorization header that Coveo's APIs expect. The
// zero Token sets nothing.
func (t Token) SetAuthHeader(r *http.Request) {
	if t.Value != "" {
		r.Header.Set("Authorization", "Bearer "+t.Value)
	}
}

// AddToQuery sets the query parameter access_token of u, which Coveo's APIs
// accept instead of the Authorization header. URLs end up in logs: prefer
// [Token.SetAuthHeader]. The zero Token sets nothing.
func (t Token) AddToQuery(u *url.URL) {
	if t.Value != "" {
		q := u.Query()
		q.Set("access_token", t.Value)
		u.RawQuery = q.Encode()
	}
}

// String describes the token without its Value.
func (t Token) String() string {
	if t.Value == "" {
		return "search token (none)"
	}
	return "search token (redacted) until " + t.Expiry.UTC().Format(time.RFC3339)
}

// GoString returns String, so that %#v does not show the Value.
func (t Token) GoString() string { return t.String() }

// Format writes String for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue returns String, for log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText returns String, for encoding/json and others. They cannot be used
// to store or send a Token.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// TokenParams are the parameters of a token request: the model RestTokenParams
// of https://docs.coveo.com/en/56/#request-body-properties. A field with its
// zero value is left out of the request. TokenParams marshal to the JSON that
// Coveo expects.
type TokenParams struct {
	// UserIDs are the security identities to impersonate. At least one is
	// required.
	UserIDs []UserID `json:"userIds"`
	// UserDisplayName is the user's name in analytics events.
	UserDisplayName string `json:"userDisplayName,omitempty"`
	// UserGroups are the user's groups in analytics events, and $groups in the
	// conditions of query pipelines.
	UserGroups []string `json:"userGroups,omitempty"`
	// SearchHub is enforced on every query. It overrides the hub of the query.
	SearchHub string `json:"searchHub,omitempty"`
	// Pipeline is the query pipeline of every query. It overrides all routing.
	Pipeline string `json:"pipeline,omitempty"`
	// Filter is a query expression that restricts the results of every query.
	Filter string `json:"filter,omitempty"`
	// ValidFor is the life of the token, 15 minutes to 24 hours. It is sent in
	// milliseconds. 0: Coveo's default, 24 hours.
	ValidFor time.Duration `json:"-"`
	// DictionaryFieldContext maps each dictionary field to the key to query in
	// it. It cannot be combined with AllowedDictionaryFieldKeys.
	DictionaryFieldContext map[string]string `json:"dictionaryFieldContext,omitempty"`
	// AllowedDictionaryFieldKeys maps each dictionary field to the keys that
	// field aliases may read. At most 100 fields; Coveo accepts only ["*"].
	AllowedDictionaryFieldKeys map[string][]string `json:"allowedDictionaryFieldKeys,omitempty"`
	// CanSeeUserProfileOf are the users whose profiles may be read.
	CanSeeUserProfileOf []string `json:"canSeeUserProfileOf,omitempty"`
	// Commerce restricts the token to a catalog of Coveo for Commerce. Coveo's
	// OpenAPI description and its platform client have this property; the
	// documentation of the request does not. nil: no restriction.
	Commerce *CommerceParams `json:"commerce,omitempty"`
}

// CommerceParams are the commerce parameters of a token request. The zero value
// of a field is left out of the request.
type CommerceParams struct {
	// CatalogID is the ID of the catalog to query.
	CatalogID string `json:"catalogId,omitempty"`
	// Filter is a query expression that restricts the products.
	Filter string `json:"filter,omitempty"`
	// Operation is the commerce operation that the token is for.
	Operation string `json:"operation,omitempty"`
}

// MarshalJSON encodes p with Coveo's property names, and ValidFor in
// milliseconds.
func (p TokenParams) MarshalJSON() ([]byte, error) {
	if p.commerce() == (CommerceParams{}) {
		p.Commerce = nil
	}
	type params TokenParams // without MarshalJSON
	return json.Marshal(struct {
		params
		ValidFor int64 `json:"validFor,omitempty"`
	}{params(p), p.ValidFor.Milliseconds()})
}

// Validate returns an error for parameters that Coveo would refuse. The error
// (errors.Join) names every bad field and the remedy. It contains no value,
// since values may be names or email addresses.
func (p TokenParams) Validate() error {
	return joinFaults(validateUserIDs(p.UserIDs), p.validateGrant(""))
}

// validateUserIDs is the part of Validate that differs from user to user. Its
// error has no "searchtoken: ".
func validateUserIDs(ids []UserID) error {
	if len(ids) == 0 {
		return fault("UserIDs", "at least one security identity is required")
	}
	var faults []error
	bad := func(i int, field, reason string) {
		faults = append(faults, fault(fmt.Sprintf("UserIDs[%d].%s", i, field), reason))
	}
	for i, id := range ids {
		if reason := nameFault(id.Name); reason != "" {
			bad(i, "Name", reason)
		}
		if reason := nameFault(id.Provider); reason != "" {
			bad(i, "Provider", reason)
		}
		switch id.Type {
		case "", UserTypeUser, UserTypeGroup, UserTypeVirtualGroup, UserTypeUnknown:
		default:
			bad(i, "Type", "must be User, Group, VirtualGroup or Unknown; empty is User")
		}
	}
	return errors.Join(faults...)
}

// nameFault says what is wrong with the name of an identity, of its provider or
// of a route. encoding/json would turn invalid UTF-8 into another name, and so
// impersonate another user.
func nameFault(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "must not be empty"
	case !utf8.ValidString(s):
		return "must be valid UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "must not contain control characters"
	}
	return ""
}

// validateGrant is the part of Validate that does not depend on the user.
// prefix stands in front of each field's name. Its error has no "searchtoken:
// ".
func (p TokenParams) validateGrant(prefix string) error {
	var faults []error
	bad := func(field, reason string) { faults = append(faults, fault(prefix+field, reason)) }
	if p.ValidFor != 0 && (p.ValidFor < minValidFor || p.ValidFor > maxValidFor) {
		bad("ValidFor", fmt.Sprintf("%v is not between 15m and 24h; 0 is Coveo's default, 24h", p.ValidFor))
	}
	if strings.ContainsFunc(p.UserDisplayName, unicode.IsControl) {
		bad("UserDisplayName", "must not contain control characters")
	}
	commerce := p.commerce()
	// encoding/json would turn invalid UTF-8 into another grant.
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"UserDisplayName", []string{p.UserDisplayName}},
		{"UserGroups", p.UserGroups},
		{"SearchHub", []string{p.SearchHub}},
		{"Pipeline", []string{p.Pipeline}},
		{"Filter", []string{p.Filter}},
		{"CanSeeUserProfileOf", p.CanSeeUserProfileOf},
		{"DictionaryFieldContext", slices.Collect(maps.Keys(p.DictionaryFieldContext))},
		{"DictionaryFieldContext", slices.Collect(maps.Values(p.DictionaryFieldContext))},
		{"AllowedDictionaryFieldKeys", slices.Collect(maps.Keys(p.AllowedDictionaryFieldKeys))},
		{"Commerce.CatalogID", []string{commerce.CatalogID}},
		{"Commerce.Filter", []string{commerce.Filter}},
		{"Commerce.Operation", []string{commerce.Operation}},
	} {
		if slices.ContainsFunc(f.values, func(v string) bool { return !utf8.ValidString(v) }) {
			bad(f.name, "must be valid UTF-8")
		}
	}
	if len(p.DictionaryFieldContext) > 0 && len(p.AllowedDictionaryFieldKeys) > 0 {
		bad("DictionaryFieldContext, AllowedDictionaryFieldKeys", "exclude each other; set one of them")
	}
	if n := len(p.AllowedDictionaryFieldKeys); n > 100 {
		bad("AllowedDictionaryFieldKeys", fmt.Sprintf("has %d fields; Coveo accepts at most 100", n))
	}
	for _, keys := range p.AllowedDictionaryFieldKeys {
		if len(keys) != 1 || keys[0] != "*" {
			bad("AllowedDictionaryFieldKeys", `the keys of every field must be ["*"]; Coveo accepts nothing else`)
			break
		}
	}
	return errors.Join(faults...)
}

// validFor returns the life of a token if Coveo grants all of it.
func (p TokenParams) validFor() time.Duration { return cmp.Or(p.ValidFor, maxValidFor) }

// clone returns a deep copy.
func (p TokenParams) clone() TokenParams {
	p.UserIDs = slices.Clone(p.UserIDs)
	p.UserGroups = slices.Clone(p.UserGroups)
	p.CanSeeUserProfileOf = slices.Clone(p.CanSeeUserProfileOf)
	p.DictionaryFieldContext = maps.Clone(p.DictionaryFieldContext)
	p.AllowedDictionaryFieldKeys = maps.Clone(p.AllowedDictionaryFieldKeys)
	for field, keys := range p.AllowedDictionaryFieldKeys {
		p.AllowedDictionaryFieldKeys[field] = slices.Clone(keys)
	}
	if p.Commerce != nil {
		commerce := *p.Commerce
		p.Commerce = &commerce
	}
	return p
}

// commerce returns the commerce parameters. nil and the zero value mean the
// same.
func (p *TokenParams) commerce() CommerceParams {
	if p.Commerce == nil {
		return CommerceParams{}
	}
	return *p.Commerce
}

// now returns the wall clock without its monotonic part, which stands still
// while a machine sleeps. A token's life goes on.
func now() time.Time { return time.Now().Round(0) }

// expiry returns when a token that was requested at issued expires on this
// machine's clock. Only the difference of the JWT's exp and iat counts, so the
// platform's clock need not agree with ours.
func expiry(value string, issued time.Time, validFor time.Duration) time.Time {
	latest := issued.Add(validFor)
	iat, exp := jwtTimes(value)
	var expires time.Time
	switch {
	case exp == 0:
		return latest
	case iat == 0:
		expires = time.Unix(exp, 0)
	case exp-iat > int64(validFor/time.Second):
		return latest // before the difference overflows a Duration
	default:
		expires = issued.Add(time.Duration(max(exp-iat, 0)) * time.Second)
	}
	if expires.After(latest) {
		return latest
	}
	return expires
}

// maxClockError is how far this machine's clock and the platform's may differ
// if the age of a token is not known.
const maxClockError = time.Hour

// issuedAt returns when a token was issued, on this machine's clock: the moment
// of the request, minus the token's age. The age is the difference of the
// answer's Date header and the JWT's iat. A token of unknown age counts as just
// issued, unless it expired long ago by this machine's clock.
func issuedAt(value string, requested time.Time, date string) (time.Time, error) {
	iat, exp := jwtTimes(value)
	answered, err := http.ParseTime(date)
	switch {
	case err == nil && iat != 0:
		return requested.Add(-max(answered.Sub(time.Unix(iat, 0)), 0)), nil
	case exp != 0 && requested.Sub(time.Unix(exp, 0)) > maxClockError:
		return time.Time{}, &APIError{
			StatusCode: http.StatusOK,
			Message: "the token expired more than an hour ago by this machine's clock;" +
				" check this clock and the platform's clock, and whether the issuer returns old tokens",
		}
	}
	return requested, nil
}

// jwtTimes returns the claims iat and exp of a JWT in Unix seconds. A claim
// that is missing or malformed is 0. Nothing is verified: only Coveo has the
// key that signs its tokens.
func jwtTimes(value string) (iat, exp int64) {
	_, rest, _ := strings.Cut(value, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return 0, 0
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return 0, 0
	}
	var claims struct{ Iat, Exp float64 }
	if json.Unmarshal(raw, &claims) != nil {
		return 0, 0
	}
	seconds := func(f float64) int64 {
		if f < 0 || f > 1<<40 { // far beyond any date that a clock shows
			return 0
		}
		return int64(f)
	}
	return seconds(claims.Iat), seconds(claims.Exp)
}
