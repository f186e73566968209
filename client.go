package searchtoken

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// fetchTimeout bounds a whole token call.
const fetchTimeout = 10 * time.Second

// Issuer gets search tokens, as [Client] does from Coveo.
//
// Issue must be safe for concurrent use. It must not modify or keep p, and
// should return when ctx is done. If the platform answered, the error should be
// or wrap an *[APIError], since its StatusCode and RetryAfter decide when Issue
// is called again.
//
// A zero Issued becomes the moment of the call. An Issuer whose tokens may be
// older must set it: a token without it whose JWT expired more than an hour ago
// is refused. A zero Expiry is computed from the Value. An Expiry later than
// Issued plus the requested ValidFor is cut to that.
type Issuer interface {
	Issue(ctx context.Context, p TokenParams) (Token, error)
}

// ClientConfig configures a [Client].
type ClientConfig struct {
	// OrganizationID is the Coveo organization. Required. It must be a DNS
	// label, because it becomes part of a host name.
	OrganizationID string
	// Environment selects the platform. Default: EnvProduction.
	Environment Environment
	// PlatformURL is the base URL of the API, without /rest: https, or http on
	// loopback. Default: the organization's own endpoint,
	// https://<org>.org.coveo.com in production
	// (https://docs.coveo.com/en/mcc80216).
	PlatformURL string
	// APIKey is a key created from the "Authenticated search" template
	// (https://docs.coveo.com/en/1718). Either APIKey or Credential is
	// required.
	APIKey string
	// Credential returns the API key for each call, for keys that rotate. White
	// space around the key is removed. It must be safe for concurrent use.
	Credential func(context.Context) (string, error)
	// HTTPClient makes the calls. Redirects are never followed, even if its
	// CheckRedirect allows them. A Timeout of 0 becomes 10 seconds for the
	// whole call, including Credential. A Transport of nil becomes one that
	// honors HTTPS_PROXY and pings HTTP/2 connections, to find dead ones.
	// Default: a client with these two.
	//
	// A [Middleware] waits at most 10 seconds, even if the Timeout is longer.
	HTTPClient *http.Client
}

// Format prints cfg without its APIKey, for every verb. Package fmt does not
// call it for an unexported field of another struct: do not print a struct that
// holds a ClientConfig in such a field.
func (cfg ClientConfig) Format(f fmt.State, _ rune) {
	type config ClientConfig // without Format
	if cfg.APIKey != "" {
		cfg.APIKey = "[redacted]"
	}
	fmt.Fprintf(f, "%+v", config(cfg))
}

// Client is an [Issuer] that calls Coveo's REST API. Use [NewClient] to make
// one: the zero Client does not work. It is safe for concurrent use.
type Client struct {
	url        string
	credential func(context.Context) (string, error) // not the key itself: fmt would print it
	http       *http.Client
}

// NewClient returns a Client. The error (errors.Join) names every bad field of
// cfg.
func NewClient(cfg ClientConfig) (*Client, error) {
	platform, _, err := endpoints(cfg.OrganizationID, cfg.Environment, cfg.PlatformURL, "")
	if err := joinFaults(err, checkCredential(cfg.APIKey, cfg.Credential)); err != nil {
		return nil, err
	}
	return newClient(platform, cfg), nil
}

// checkCredential returns an error unless exactly one of an API key and a
// Credential is given.
func checkCredential(apiKey string, credential func(context.Context) (string, error)) error {
	switch {
	case apiKey == "" && credential == nil:
		return fault("APIKey", "is required, unless Credential is set")
	case apiKey != "" && credential != nil:
		return fault("APIKey, Credential", "exclude each other; set one of them")
	case apiKey != "":
		if reason := apiKeyFault(apiKey); reason != "" {
			return fault("APIKey", reason)
		}
	}
	return nil
}

// newClient is NewClient for a cfg that was checked.
func newClient(platform string, cfg ClientConfig) *Client {
	client := withTransport(cfg.HTTPClient)
	client.Transport = noRedirects{repeatOnce{client.Transport}}
	client.Timeout = cmp.Or(client.Timeout, fetchTimeout)
	credential := cfg.Credential
	if credential == nil {
		credential = func(context.Context) (string, error) { return cfg.APIKey, nil }
	}
	return &Client{
		url:        platform + "/rest/search/v2/token?organizationId=" + url.QueryEscape(cfg.OrganizationID),
		credential: credential,
		http:       client,
	}
}

// Issue requests a token: POST /rest/search/v2/token
// (https://docs.coveo.com/en/56/#request-a-search-token).
//
// It returns the error of p.Validate without a call, and an *[APIError] if the
// answer contains no token. Every other error comes from Credential, from the
// network or from ctx. After a 401, Issue calls Credential again, and repeats
// the request once if the key has changed.
func (c *Client) Issue(ctx context.Context, p TokenParams) (Token, error) {
	t, _, err := c.issue(ctx, p)
	return t, err
}

// issue is Issue, and also returns the time of the answer on Coveo's clock. It
// is zero if there is no answer, or one without a Date.
func (c *Client) issue(ctx context.Context, p TokenParams) (t Token, answered time.Time, err error) {
	if err := p.Validate(); err != nil {
		return Token{}, time.Time{}, err
	}
	body, err := json.Marshal(p)
	if err != nil {
		return Token{}, time.Time{}, fmt.Errorf("searchtoken: encoding the token request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.http.Timeout)
	defer cancel()
	key, err := c.readKey(ctx)
	if err != nil {
		return Token{}, time.Time{}, err
	}
	t, answered, err = c.request(ctx, p, body, key)
	var api *APIError
	if errors.As(err, &api) && api.StatusCode == http.StatusUnauthorized {
		// Only a key that is replaced at this moment differs.
		if another, keyErr := c.readKey(ctx); keyErr == nil && another != key {
			return c.request(ctx, p, body, another)
		}
	}
	return t, answered, err
}

// readKey returns the API key.
func (c *Client) readKey(ctx context.Context) (string, error) {
	key, err := c.credential(ctx)
	if err != nil {
		return "", redacted(fmt.Errorf("searchtoken: Credential: %w", err), strings.TrimSpace(key))
	}
	key = strings.TrimSpace(key) // files end with a newline
	if reason := apiKeyFault(key); reason != "" {
		return "", errors.New("searchtoken: Credential: the API key that it returned " + reason)
	}
	return key, nil
}

// request makes one call, with p encoded as body.
func (c *Client) request(ctx context.Context, p TokenParams, body []byte, key string) (t Token, answered time.Time, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return Token{}, time.Time{}, fmt.Errorf("searchtoken: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	// net/http repeats a request with this entry if the server closes a reused
	// connection. The header is not sent, and a second token does no harm.
	req.Header["Idempotency-Key"] = nil

	requested := now()
	resp, err := c.http.Do(req)
	secrets := append(namesIn(p), key)
	if err != nil {
		// The error may quote a malformed response.
		err = fmt.Errorf("searchtoken: requesting a token from Coveo: %w%s", err, networkHint(err))
		return Token{}, time.Time{}, redacted(err, secrets...)
	}
	defer resp.Body.Close()
	date := resp.Header.Get("Date")
	answered, _ = http.ParseTime(date)
	value, apiErr, err := readAnswer(resp)
	if err != nil {
		return Token{}, answered, redacted(err, secrets...)
	}
	if apiErr != nil {
		return Token{}, answered, apiErr.redacted(secrets...)
	}
	issued, err := issuedAt(value, requested, date)
	if err != nil {
		return Token{}, answered, err
	}
	return Token{Value: value, Issued: issued, Expiry: expiry(value, issued, p.validFor())}, answered, nil
}

var (
	// bearerToken is the syntax of RFC 6750, which fits into a header and a
	// URL.
	bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

	// bearerPrefix matches what is left of a header in front of a key.
	bearerPrefix = regexp.MustCompile(`(?i)^\s*(?:authorization\s*:\s*)?bearer(?:\s|$)`)
)

// apiKeyFault says what is wrong with an API key or an access token, without
// the key. An empty text means that nothing is.
func apiKeyFault(key string) string {
	switch {
	case key == "":
		return "is empty"
	case bearerPrefix.MatchString(key):
		return `starts with "Bearer "; use the key alone`
	case strings.ContainsAny(key, "\"'`"):
		return "contains quotes; use the key without them"
	case strings.ContainsAny(key, "${}%<>"):
		return "looks like a variable or a placeholder that was not replaced"
	case !bearerToken.MatchString(key):
		return "contains white space or other characters that no API key has;" +
			" trim what was read from a file or a variable"
	}
	return ""
}

// namesIn returns the names in p, to redact them in an error.
func namesIn(p TokenParams) []string {
	names := append([]string{p.UserDisplayName}, p.CanSeeUserProfileOf...)
	for _, id := range p.UserIDs {
		names = append(names, id.Name)
	}
	return names
}

// AccessToken returns an [Issuer] that always returns the same token: a
// developer's own platform access token (https://docs.coveo.com/en/123), to try
// a page without an API key. Every visitor then searches as that developer, so
// never use it on a site that others can reach.
//
// The token is used until expires, but at most for 4 hours, the longest life of
// a session on Coveo's platform. A zero expires means 4 hours. After that, and
// for a value that cannot be a token, Issue returns an error. White space
// around the value is removed. Issue is safe for concurrent use.
func AccessToken(value string, expires time.Time) Issuer {
	latest := now().Add(4 * time.Hour)
	if expires.IsZero() || expires.After(latest) {
		expires = latest
	}
	return accessToken{Token{Value: strings.TrimSpace(value), Expiry: expires.Round(0)}}
}

type accessToken struct{ Token }

func (t accessToken) Issue(context.Context, TokenParams) (Token, error) {
	issued := now()
	if reason := apiKeyFault(t.Value); reason != "" {
		return Token{}, errors.New("searchtoken: the access token given to AccessToken " + reason)
	}
	if !t.Expiry.After(issued) {
		return Token{}, errors.New("searchtoken: the access token given to AccessToken has expired;" +
			" log in to the Coveo platform again to get another one")
	}
	return Token{Value: t.Value, Issued: issued, Expiry: t.Expiry}, nil
}
