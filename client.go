package searchtoken

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken/internal/redact"
)

const (
	fetchTimeout  = 10 * time.Second // for a whole token call
	maxRetryAfter = 5 * time.Minute  // an upstream may ask for weeks
	maxAnswer     = 1 << 20          // bytes

	// A longer token fits neither into a URL nor into the body of a renewal.
	maxTokenLength = 15 << 10 // bytes
)

// Issuer gets search tokens, as [Client] does from Coveo.
//
// Issue must be safe for concurrent use. It must not modify or keep p, and
// should return when ctx is done. If the platform answered, the error should be
// or wrap an *[APIError], since its StatusCode and RetryAfter decide when Issue
// is called again. A zero Issued becomes the moment of the call. A zero Expiry
// is computed from the Value. An Expiry later than the requested ValidFor is
// cut to it.
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
	// Credential returns the API key for each call, for keys that rotate. It
	// must be safe for concurrent use.
	Credential func(context.Context) (string, error)
	// HTTPClient makes the calls. Redirects are never followed, even if its
	// CheckRedirect allows them. A Timeout of 0 becomes 10 seconds for the
	// whole call, including Credential. Default: a client that honors
	// HTTPS_PROXY.
	//
	// A [Middleware] waits at most 10 seconds, even if the Timeout is longer.
	HTTPClient *http.Client
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
	case apiKey != "" && !validAPIKey(apiKey):
		return fault("APIKey", "contains white space or other characters that no API key has;"+
			" trim what was read from a file or a variable")
	}
	return nil
}

// newClient is NewClient for a cfg that was checked.
func newClient(platform string, cfg ClientConfig) *Client {
	client := http.Client{}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	} else if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t = t.Clone()
		// All calls go to one host. The default of 2 idle connections would
		// close the connections of every burst.
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

// noRedirects removes the Location header, so that http.Client neither follows
// a redirect with the API key nor fails on a malformed one.
type noRedirects struct{ http.RoundTripper }

func (t noRedirects) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// Issue requests a token: POST /rest/search/v2/token
// (https://docs.coveo.com/en/56/#request-a-search-token).
//
// It returns the error of p.Validate without a call, and an *[APIError] if the
// answer contains no token. Every other error comes from Credential, from the
// network or from ctx.
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
		return Token{}, redact.Error(fmt.Errorf("searchtoken: Credential: %w", err))
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
	known := append(namesIn(p), key)
	if err != nil {
		// The error may quote a malformed response.
		return Token{}, redact.Error(fmt.Errorf("searchtoken: requesting a token from Coveo: %w", err), known...)
	}
	defer resp.Body.Close()
	value, apiErr, err := readAnswer(resp)
	if err != nil {
		return Token{}, redact.Error(err, known...)
	}
	if apiErr != nil {
		for _, s := range []*string{&apiErr.Type, &apiErr.Message, &apiErr.RequestID} {
			*s = redact.Text(*s, known...)
		}
		return Token{}, apiErr
	}
	return Token{Value: value, Issued: issued, Expiry: expiry(value, issued, p.validFor())}, nil
}

// validAPIKey reports whether key can stand in a header: visible ASCII only.
func validAPIKey(key string) bool {
	return key != "" && strings.IndexFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// namesIn returns the names in p, to redact them in an error.
func namesIn(p TokenParams) []string {
	names := []string{p.UserDisplayName}
	for _, id := range p.UserIDs {
		names = append(names, id.Name)
	}
	return names
}

// bearerToken is the syntax of RFC 6750, which fits into a header and a URL.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// readAnswer returns the token in resp, or an APIError that says what resp has
// instead. The error is that of a connection that was too slow.
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
	// Some of Coveo's errors have a type, others an errorCode, and a code may
	// be a number.
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
		apiErr.Message = "the answer is not a JSON object"
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		apiErr.Message = cmp.Or(apiErr.Message, "redirects are not followed; set PlatformURL to the address of the API")
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

// text returns the string in raw, or the number in raw as a string.
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

// parseRetryAfter returns the value of a Retry-After header, in seconds or as a
// date, cut to 5 minutes. A malformed header is 0.
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

// AccessToken returns an [Issuer] that always returns the same token: a
// developer's own platform access token (https://docs.coveo.com/en/123), to try
// a page without an API key. Every visitor then searches as that developer, so
// never use it on a site that others can reach.
//
// The token is used until expires, but at most for 4 hours, the longest life of
// a session on Coveo's platform. A zero expires means 4 hours. After that,
// Issue returns an error. Issue is safe for concurrent use.
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
		return Token{}, errors.New("searchtoken: the access token given to AccessToken has expired;" +
			" log in to the Coveo platform again to get another one")
	}
	return Token{Value: t.Value, Issued: issued, Expiry: t.Expiry}, nil
}
