package searchtoken

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	minValidFor = 15 * time.Minute // Coveo's bounds of validFor
	maxValidFor = 24 * time.Hour   // which is Coveo's default as well

	fetchTimeout  = 10 * time.Second // one whole call for a token
	maxRetryAfter = 5 * time.Minute  // an upstream may ask for weeks
	maxAnswer     = 1 << 20          // bytes read of an answer

	// A longer token would fit into neither a URL nor the body of a renewal.
	maxTokenLength = 15 << 10
)

// Token is a Coveo search token. It is a value: copies are independent and
// safe for concurrent use.
//
// Value is the only secret in it. String, GoString, Format, LogValue and
// MarshalText leave it out, so that a Token in a log line or an error does no
// harm. Package fmt does not call them for an unexported field of another struct:
// do not print one that holds a Token.
type Token struct {
	// Value is the token itself, a JWT where it comes from Coveo.
	Value string
	// Issued is the moment before the token was asked for, on this
	// machine's clock.
	Issued time.Time
	// Expiry is Issued plus the token's life: on this machine's clock too,
	// whatever the platform's clock says.
	Expiry time.Time
}

// SetAuthHeader sets the Authorization header with which Coveo's APIs take the
// token. The zero Token sets nothing.
func (t Token) SetAuthHeader(r *http.Request) {
	if t.Value != "" {
		r.Header.Set("Authorization", "Bearer "+t.Value)
	}
}

// AddToQuery sets the access_token parameter in u, the other way in which
// Coveo's APIs take a token. URLs end up in logs: prefer SetAuthHeader where
// there is the choice. The zero Token sets nothing.
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

// GoString is String: the %#v of a token has no Value in it.
func (t Token) GoString() string { return t.String() }

// Format writes String, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is String, for log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is String, for encoding/json and its like. A Token cannot be
// stored or sent by way of them.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// TokenParams is what a token is asked for: the RestTokenParams model of
// https://docs.coveo.com/en/56/#request-body-properties. The zero value of a
// field leaves it out of the request. It marshals to the JSON that Coveo
// takes.
type TokenParams struct {
	// UserIDs are the security identities to impersonate; at least one.
	UserIDs []UserID `json:"userIds"`
	// UserDisplayName is the name that analytics events carry.
	UserDisplayName string `json:"userDisplayName,omitempty"`
	// UserGroups are the groups that analytics events carry, and the $groups
	// of query pipeline conditions.
	UserGroups []string `json:"userGroups,omitempty"`
	// SearchHub is enforced on every query, whatever hub the query names.
	SearchHub string `json:"searchHub,omitempty"`
	// Pipeline is the query pipeline to use, before all other routing.
	Pipeline string `json:"pipeline,omitempty"`
	// Filter is a query expression that every query is restricted to.
	Filter string `json:"filter,omitempty"`
	// ValidFor is the life of the token, 15 minutes to 24 hours, sent in
	// milliseconds. 0: Coveo's default, 24 hours.
	ValidFor time.Duration `json:"-"`
	// DictionaryFieldContext is the key to query in each dictionary field.
	// Not together with AllowedDictionaryFieldKeys.
	DictionaryFieldContext map[string]string `json:"dictionaryFieldContext,omitempty"`
	// AllowedDictionaryFieldKeys are the keys of dictionary fields that
	// field aliases may read: at most 100 fields. Coveo takes only ["*"].
	AllowedDictionaryFieldKeys map[string][]string `json:"allowedDictionaryFieldKeys,omitempty"`
	// CanSeeUserProfileOf are the users whose profile may be read.
	CanSeeUserProfileOf []string `json:"canSeeUserProfileOf,omitempty"`
}

// MarshalJSON encodes p under Coveo's own names, with ValidFor in milliseconds.
func (p TokenParams) MarshalJSON() ([]byte, error) {
	type params TokenParams // without MarshalJSON
	return json.Marshal(struct {
		params
		ValidFor int64 `json:"validFor,omitempty"`
	}{params(p), p.ValidFor.Milliseconds()})
}

// Validate refuses what Coveo would refuse, in one error (errors.Join) that
// names every bad field and its remedy, and no value: values may be e-mail
// addresses.
func (p TokenParams) Validate() error {
	return errors.Join(validateUserIDs(p.UserIDs), p.validateGrant(""))
}

// validateUserIDs is the part of Validate that differs from user to user.
func validateUserIDs(ids []UserID) error {
	if len(ids) == 0 {
		return errors.New("searchtoken: UserIDs: at least one security identity is required")
	}
	var errs []error
	bad := func(i int, field, why string) {
		errs = append(errs, fmt.Errorf("searchtoken: UserIDs[%d].%s: %s", i, field, why))
	}
	for i, id := range ids {
		if why := badName(id.Name); why != "" {
			bad(i, "Name", why)
		}
		if why := badName(id.Provider); why != "" {
			bad(i, "Provider", why)
		}
		switch id.Type {
		case "", UserTypeUser, UserTypeGroup, UserTypeVirtualGroup, UserTypeUnknown:
		default:
			bad(i, "Type", "must be User, Group, VirtualGroup or Unknown; empty is User")
		}
	}
	return errors.Join(errs...)
}

// badName says what is wrong with the name of an identity or its provider.
// JSON would turn invalid UTF-8 into another name, and so impersonate another.
func badName(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "must not be empty"
	case !utf8.ValidString(s):
		return "must be valid UTF-8"
	}
	return ""
}

// validateGrant is the part of Validate that has nothing to do with the user.
// The prefix stands before the names of fields.
func (p TokenParams) validateGrant(prefix string) error {
	var errs []error
	bad := func(field, why string) { errs = append(errs, fmt.Errorf("searchtoken: %s%s: %s", prefix, field, why)) }
	if p.ValidFor != 0 && (p.ValidFor < minValidFor || p.ValidFor > maxValidFor) {
		bad("ValidFor", fmt.Sprintf("%v is not between 15m and 24h; 0 is Coveo's default, 24h", p.ValidFor))
	}
	// JSON would turn invalid UTF-8 into another grant.
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"UserDisplayName", []string{p.UserDisplayName}}, {"UserGroups", p.UserGroups}, {"SearchHub", []string{p.SearchHub}},
		{"Pipeline", []string{p.Pipeline}}, {"Filter", []string{p.Filter}}, {"CanSeeUserProfileOf", p.CanSeeUserProfileOf},
		{"DictionaryFieldContext", slices.AppendSeq(slices.Collect(maps.Keys(p.DictionaryFieldContext)), maps.Values(p.DictionaryFieldContext))},
		{"AllowedDictionaryFieldKeys", slices.Collect(maps.Keys(p.AllowedDictionaryFieldKeys))},
	} {
		if slices.ContainsFunc(f.values, func(v string) bool { return !utf8.ValidString(v) }) {
			bad(f.name, "must be valid UTF-8")
		}
	}
	if len(p.DictionaryFieldContext) > 0 && len(p.AllowedDictionaryFieldKeys) > 0 {
		bad("DictionaryFieldContext, AllowedDictionaryFieldKeys", "exclude each other; set one of them")
	}
	if n := len(p.AllowedDictionaryFieldKeys); n > 100 {
		bad("AllowedDictionaryFieldKeys", fmt.Sprintf("has %d fields; Coveo takes at most 100", n))
	}
	for _, keys := range p.AllowedDictionaryFieldKeys {
		if len(keys) != 1 || keys[0] != "*" {
			bad("AllowedDictionaryFieldKeys", `the keys of every field must be ["*"], all that Coveo takes`)
			break
		}
	}
	return errors.Join(errs...)
}

// validFor is the life that a token of p has when Coveo grants all of it.
func (p TokenParams) validFor() time.Duration { return cmp.Or(p.ValidFor, maxValidFor) }

// clone is a deep copy.
func (p TokenParams) clone() TokenParams {
	p.UserIDs = slices.Clone(p.UserIDs)
	p.UserGroups = slices.Clone(p.UserGroups)
	p.CanSeeUserProfileOf = slices.Clone(p.CanSeeUserProfileOf)
	p.DictionaryFieldContext = maps.Clone(p.DictionaryFieldContext)
	p.AllowedDictionaryFieldKeys = maps.Clone(p.AllowedDictionaryFieldKeys)
	for field, keys := range p.AllowedDictionaryFieldKeys {
		p.AllowedDictionaryFieldKeys[field] = slices.Clone(keys)
	}
	return p
}

// Issuer gets a search token for a user from Coveo, as Client does.
//
// Issue must be safe for concurrent use, must not modify or keep p, and should
// return when ctx is done. The error should be, or wrap, an *APIError if the
// platform gave an answer: what happens next depends on its StatusCode and
// RetryAfter. A Token with a zero Issued or Expiry gets them from the moment of
// the call and from its Value; an Expiry later than the ValidFor asked for is
// cut to it.
type Issuer interface {
	Issue(ctx context.Context, p TokenParams) (Token, error)
}

// ClientConfig configures a Client.
type ClientConfig struct {
	// OrganizationID is the Coveo organization. Required; a DNS label, since
	// it becomes part of a host name.
	OrganizationID string
	// Environment selects the platform. Default: EnvProduction.
	Environment Environment
	// PlatformURL is where the API is called, without /rest: https, or http on
	// loopback. Default: the organization's own endpoint,
	// https://<org>.org.coveo.com in production
	// (https://docs.coveo.com/en/mcc80216).
	PlatformURL string
	// APIKey is a key of the "Authenticated search" template
	// (https://docs.coveo.com/en/1718). It or Credential is required.
	APIKey string
	// Credential returns the API key at each call, for keys that rotate. It
	// must be safe for concurrent use.
	Credential func(context.Context) (string, error)
	// HTTPClient makes the calls. Redirects are never followed, whatever its
	// CheckRedirect. Default: a client of its own, which honours HTTPS_PROXY. A
	// Timeout of 0 becomes 10 seconds for the whole call, Credential included; a
	// Middleware waits no longer than that, whatever the Timeout.
	HTTPClient *http.Client
}

// Client is the Issuer over Coveo's REST API. It is safe for concurrent use.
type Client struct {
	url        string
	credential func(context.Context) (string, error) // never the key itself, which fmt would print
	http       *http.Client
}

// NewClient returns a Client, or an error (errors.Join) that names every bad
// field of cfg.
func NewClient(cfg ClientConfig) (*Client, error) {
	platform, _, err := endpoints(cfg.OrganizationID, cfg.Environment, cfg.PlatformURL, "")
	if err := errors.Join(err, checkCredential(cfg.APIKey, cfg.Credential)); err != nil {
		return nil, err
	}
	return newClient(platform, cfg), nil
}

// checkCredential demands an API key or a way to one.
func checkCredential(apiKey string, credential func(context.Context) (string, error)) error {
	switch {
	case apiKey == "" && credential == nil:
		return errors.New("searchtoken: APIKey: is required, unless Credential is set")
	case apiKey != "" && credential != nil:
		return errors.New("searchtoken: APIKey, Credential: exclude each other; set one of them")
	case apiKey != "" && !validAPIKey(apiKey):
		return errors.New("searchtoken: APIKey: contains white space or other characters that no API key has; trim what was read from a file or a variable")
	}
	return nil
}

// newClient is NewClient for a cfg that has been checked.
func newClient(platform string, cfg ClientConfig) *Client {
	client := http.Client{}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		// All calls go to one host: the default of 2 would close the
		// connections of every burst.
		t.MaxIdleConnsPerHost = t.MaxIdleConns
		client.Transport = t
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	client.Transport = noRedirects{client.Transport}
	client.Timeout = cmp.Or(client.Timeout, fetchTimeout)
	credential := cfg.Credential
	if credential == nil {
		credential = func(context.Context) (string, error) { return cfg.APIKey, nil }
	}
	return &Client{
		url:        platform + "/rest/search/v2/token?organizationId=" + url.QueryEscape(cfg.OrganizationID),
		credential: credential,
		http:       &client,
	}
}

// noRedirects takes their destination from redirects: http.Client would carry
// the API key along, or fail on a destination that is no URL.
type noRedirects struct{ http.RoundTripper }

func (t noRedirects) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// Issue asks Coveo for a token: POST /rest/search/v2/token
// (https://docs.coveo.com/en/56/#request-a-search-token). It returns the error
// of p.Validate without a call; an *APIError if the answer is anything but a
// token; otherwise the error of Credential, of the network or of ctx.
func (c *Client) Issue(ctx context.Context, p TokenParams) (Token, error) {
	if err := p.Validate(); err != nil {
		return Token{}, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return Token{}, fmt.Errorf("searchtoken: encoding the token request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.http.Timeout)
	defer cancel()
	key, err := c.credential(ctx)
	if err != nil {
		return Token{}, redact(fmt.Errorf("searchtoken: Credential: %w", err))
	}
	if !validAPIKey(key) {
		return Token{}, errors.New("searchtoken: Credential: returned no API key, or one with white space in it")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return Token{}, fmt.Errorf("searchtoken: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")

	issued := now()
	resp, err := c.http.Do(req)
	known := knownSecrets(key, p)
	if err != nil {
		// An answer that is no HTTP is repeated in such an error.
		return Token{}, redact(fmt.Errorf("searchtoken: asking Coveo for a token: %w", err), known...)
	}
	defer resp.Body.Close()
	value, apiErr, err := readAnswer(resp)
	if err != nil {
		return Token{}, redact(err, known...)
	}
	if apiErr != nil {
		for _, s := range []*string{&apiErr.Type, &apiErr.Message, &apiErr.RequestID} {
			*s = redactText(*s, known...)
		}
		return Token{}, apiErr
	}
	return Token{Value: value, Issued: issued, Expiry: expiry(value, issued, p.validFor())}, nil
}

// validAPIKey reports whether key can stand in a header: visible ASCII.
func validAPIKey(key string) bool {
	return key != "" && strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// bearerToken is the syntax of RFC 6750: what fits into a header and a URL.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// readAnswer returns the token in resp, or what resp says instead of one. The
// error is that of a connection that was too slow; it says nothing about
// Coveo's answer.
func readAnswer(resp *http.Response) (value string, apiErr *APIError, err error) {
	apiErr = &APIError{
		StatusCode: resp.StatusCode,
		RequestID:  resp.Header.Get("X-Request-ID"),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	var timeout net.Error
	slow := errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.Canceled)
	switch {
	case slow && resp.StatusCode == http.StatusOK:
		return "", nil, fmt.Errorf("searchtoken: reading Coveo's answer: %w", err)
	case err != nil:
		apiErr.Message = "the answer was cut off"
		return "", apiErr, nil
	case len(body) > maxAnswer:
		apiErr.Message = "the answer is longer than 1 MiB"
		return "", apiErr, nil
	}
	// Coveo's errors are lenient in their shape: some have a type, others an
	// errorCode, and a code may be a number.
	var answer struct {
		Token     json.RawMessage `json:"token"`
		Message   json.RawMessage `json:"message"`
		Type      json.RawMessage `json:"type"`
		ErrorCode json.RawMessage `json:"errorCode"`
	}
	isObject := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) && json.Unmarshal(body, &answer) == nil
	if isObject {
		apiErr.Message = text(answer.Message)
		apiErr.Type = cmp.Or(text(answer.Type), text(answer.ErrorCode))
		value = text(answer.Token)
	}
	blocked := strings.EqualFold(resp.Header.Get("X-Coveo-Waf-Action"), "block")
	switch {
	case blocked:
		apiErr.Message = "a web application firewall blocked the request"
	case !isObject && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html"):
		apiErr.Message = "the answer is an HTML page, perhaps of a firewall or a proxy"
	case !isObject && len(body) > 0:
		apiErr.Message = "the answer is no JSON object"
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		apiErr.Message = cmp.Or(apiErr.Message, "redirects are not followed; set PlatformURL to where the API is")
	case resp.StatusCode != http.StatusOK:
	case value == "":
		apiErr.Message = cmp.Or(apiErr.Message, "the answer has no token")
	case len(value) > maxTokenLength || !bearerToken.MatchString(value):
		apiErr.Message = "the token in the answer is malformed"
	default:
		return value, nil, nil
	}
	return "", apiErr, nil
}

// text is the string, or the number as a string, that raw holds.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// expiry is when a token that was asked for at issued expires by this machine's
// clock. Only the distance of a JWT's own times counts, so that it does not
// matter whether the platform's clock and ours agree.
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
		return latest // and a difference too large for a Duration does not wrap
	default:
		expires = issued.Add(time.Duration(max(exp-iat, 0)) * time.Second)
	}
	if expires.After(latest) {
		return latest
	}
	return expires
}

// jwtTimes returns the iat and exp claims of a JWT in Unix seconds, or 0 for
// what it does not have. Nothing is verified: Coveo's tokens are signed with a
// key that only Coveo has.
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
		if f < 0 || f > 1<<40 { // far beyond any year that a clock shows
			return 0
		}
		return int64(f)
	}
	return seconds(claims.Iat), seconds(claims.Exp)
}

// now is the wall clock without its monotonic part, which stands still while a
// machine sleeps. A token does not.
func now() time.Time { return time.Now().Round(0) }

// APIError is an answer of Coveo that holds no token. What the platform said in
// it is bounded, and cleared of the API key, the user's names, e-mail addresses
// and tokens; it is for operators all the same, not for visitors.
type APIError struct {
	// StatusCode is the HTTP status: 200 if the answer was malformed.
	StatusCode int
	// Type is Coveo's type or errorCode, "AccessDeniedException" for example.
	Type string
	// Message is Coveo's message, or what is wrong with the answer.
	Message string
	// RequestID is the answer's X-Request-ID, for Coveo's support.
	RequestID string
	// RetryAfter is the answer's Retry-After, at most 5 minutes; 0: none.
	RetryAfter time.Duration
}

// Error says all that is known.
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

// temporary reports whether the same request may succeed later.
func (e *APIError) temporary() bool {
	return e.StatusCode == http.StatusTooManyRequests || e.StatusCode >= 500
}

// credentials matches what looks like a JWT or an API key, or a credential by
// what stands before it; addresses, what looks like an e-mail address (its @ may
// be escaped). In one expression the two would take quadratic time.
var (
	credentials = regexp.MustCompile(`eyJ[A-Za-z0-9_.-]+|(?i:xx[0-9a-f]{8}-[0-9a-f-]+)|((?i:bearer |access_token=))[^\s"'&]+`)
	addresses   = regexp.MustCompile(`[^\s"'<>(),:;=/?]+(?:@|%40|&#64;)[^\s"'<>(),:;&]+`)
)

// maxRedacted bounds the work on a text, of which 300 bytes are kept.
const maxRedacted = 8 << 10

// knownSecrets are the secrets of one call; key may be empty. A name of one or two
// letters is left out: it is in every text, and tells nobody anything.
func knownSecrets(key string, p TokenParams) []string {
	known := []string{key, p.UserDisplayName}
	for _, id := range p.UserIDs {
		known = append(known, id.Name)
	}
	return slices.DeleteFunc(known, func(s string) bool { return len(s) < 3 })
}

// redactText bounds s, and takes out of it the known secrets and what looks like
// one. What an upstream echoes, and what the application's own parts put into
// their errors, is nobody's to log.
func redactText(s string, known ...string) string {
	if len(s) > maxRedacted { // without the last word, which may be half a secret
		s = s[:max(strings.LastIndexByte(s[:maxRedacted], ' '), 0)]
	}
	s = printable(s) // first: a tab would hide what comes out with a space
	// The longest first: "Ann" must not leave half of "Ann Lee".
	slices.SortFunc(known, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, secret := range known {
		pairs = append(pairs, printable(secret), "[redacted]")
	}
	s = strings.NewReplacer(pairs...).Replace(s)
	s = credentials.ReplaceAllString(s, "$1[redacted]")
	return truncate(addresses.ReplaceAllString(s, "[redacted]"))
}

// redact is err with its text redacted. What it wraps is as it was.
func redact(err error, known ...string) error {
	return &redactedError{redactText(err.Error(), known...), err}
}

type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// printable is s with a space for each control character, which could forge a line
// of a log.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// truncate keeps the first 300 bytes of s, as far as it is printable.
func truncate(s string) string {
	s = printable(s)
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// parseRetryAfter reads a Retry-After header, in seconds or as a date, and cuts
// it to 5 minutes. What is neither is 0.
func parseRetryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	if strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), maxRetryAfter)
}

// AccessToken returns an Issuer that hands out one token: a developer's own
// platform access token (https://docs.coveo.com/en/123), to try a page without
// an API key. Every visitor then searches as that developer: never use it on a
// site that others can reach.
//
// The token is good until expires, and for 4 hours at most, the longest that
// Coveo's platform sessions last; a zero expires means those 4 hours. After
// that, Issue returns an error. Issue is safe for concurrent use.
func AccessToken(value string, expires time.Time) Issuer {
	latest := now().Add(4 * time.Hour)
	if expires.IsZero() || expires.After(latest) {
		expires = latest
	}
	return accessToken{Token{Value: value, Expiry: expires.Round(0)}}
}

type accessToken struct{ Token }

func (t accessToken) Issue(context.Context, TokenParams) (Token, error) {
	issued := now()
	if !t.Expiry.After(issued) {
		return Token{}, errors.New("searchtoken: the access token given to AccessToken has expired; log in to the Coveo platform again for another")
	}
	return Token{Value: t.Value, Issued: issued, Expiry: t.Expiry}, nil
}

// Environment is one of Coveo's platforms, in the words of Headless's
// configuration.
type Environment string

// The environments. The zero Environment is EnvProduction. Staging and
// development are for Coveo's own staff.
const (
	EnvProduction  Environment = "prod"
	EnvHIPAA       Environment = "hipaa"
	EnvStaging     Environment = "stg"
	EnvDevelopment Environment = "dev"
)

// suffix is the environment's part of a host name.
func (e Environment) suffix() string {
	if e == "" || e == EnvProduction {
		return ""
	}
	return string(e)
}

// keyLike is how Coveo's API keys begin. One in a host name would be told to
// every DNS server on the way.
var keyLike = regexp.MustCompile(`^(?i:xx[0-9a-f]{8}-)`)

// dnsLabel is what may stand between two dots of a host name.
var dnsLabel = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// endpoints returns the base URLs of the platform and of analytics: those
// given, else the organization's own (https://docs.coveo.com/en/mcc80216). The
// error names every bad field.
func endpoints(organization string, env Environment, platform, analytics string) (platformURL, analyticsURL string, err error) {
	var errs []error
	switch {
	case organization == "":
		errs = append(errs, errors.New("searchtoken: OrganizationID: is required"))
	case keyLike.MatchString(organization):
		errs = append(errs, errors.New("searchtoken: OrganizationID: looks like an API key"))
	case !dnsLabel.MatchString(organization):
		errs = append(errs, fmt.Errorf("searchtoken: OrganizationID: %q is no DNS label (letters, digits and hyphens, at most 63)", truncate(organization)))
	}
	switch env {
	case "", EnvProduction, EnvHIPAA, EnvStaging, EnvDevelopment:
	default:
		errs = append(errs, fmt.Errorf("searchtoken: Environment: %q is none of prod, hipaa, stg and dev", truncate(string(env))))
	}
	platformURL, analyticsURL = ownEndpoints(organization, env)
	for _, f := range []struct {
		name, value string
		base        *string
	}{{"PlatformURL", platform, &platformURL}, {"AnalyticsURL", analytics, &analyticsURL}} {
		if f.value == "" {
			continue
		}
		if err := checkBaseURL(f.value); err != nil {
			errs = append(errs, fmt.Errorf("searchtoken: %s: %w", f.name, err))
		}
		*f.base = strings.TrimRight(f.value, "/")
	}
	return platformURL, analyticsURL, errors.Join(errs...)
}

// ownEndpoints are the endpoints of an organization for which none are given.
func ownEndpoints(organization string, env Environment) (platform, analytics string) {
	domain := ".org" + env.suffix() + ".coveo.com"
	return "https://" + organization + domain, "https://" + organization + ".analytics" + domain
}

// hostName is what may stand in the place of a host, beside an IP address.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$`)

// checkBaseURL refuses a URL over which a secret would travel in clear, and
// what cannot be the beginning of another URL. It does not repeat the URL,
// which may hold a password.
func checkBaseURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return errors.New("is not a URL")
	}
	_, portErr := strconv.ParseUint(cmp.Or(u.Port(), "443"), 10, 16)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must be https, or http on loopback")
	case net.ParseIP(u.Hostname()) == nil && !hostName.MatchString(u.Hostname()), portErr != nil:
		return errors.New("must have a host, as in https://host or https://host:8443")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("must be https: only on loopback may it be http")
	case u.User != nil || strings.ContainsAny(s, "?#"):
		return errors.New("must have no user, query or fragment")
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }):
		return errors.New("contains characters that no URL has")
	}
	return nil
}

// isLoopback reports whether host is this machine.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
