package searchtoken

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/searchtoken/searchtoken/internal/redact"
)

// statusTokenExpired is Coveo's status for a token that has expired
// (https://docs.coveo.com/en/56/#token-expiration).
const statusTokenExpired = 419

// Transport returns a RoundTripper for handlers that query Coveo themselves. It
// adds the token of the [Page] in each request's context:
//
//	client := &http.Client{Transport: coveo.Transport(nil)}
//	req, err := http.NewRequestWithContext(r.Context(), "POST", page.PlatformURL+"/rest/search/v2", body)
//	resp, err := client.Do(req)
//
// It sends requests to the organization's own hosts, and to PlatformURL and
// AnalyticsURL. It refuses every other host, also after a redirect, so that no
// other host gets a token. It returns an error if the context has no Page, one
// of another organization or Environment, or one without a token.
//
// If Coveo rejects the token, Transport renews it and repeats the request once,
// if the body can be sent again ([http.Request.GetBody]) and the limit for
// forced renewals allows it. Otherwise the answer of Coveo is returned
// unchanged. A Page from [NewContext], and one whose Identity a handler has
// replaced by another user, is renewed as a page of m's own route, for its
// Identity; if the route has a Prepare, it is not renewed.
//
// base sends the requests. nil is [http.DefaultTransport]. The RoundTripper is
// safe for concurrent use.
func (m *Middleware) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{m, base}
}

type transport struct {
	*Middleware
	base http.RoundTripper
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, _, err := t.send(r)
	return resp, err
}

// send is RoundTrip. It also returns the token that the answer is for.
func (t *transport) send(r *http.Request) (*http.Response, Token, error) {
	page, err := t.pageFor(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, Token{}, err
	}
	resp, err := t.base.RoundTrip(withToken(r, page.Token))
	if err != nil || !rejectsToken(resp) || (r.GetBody == nil && r.Body != nil && r.Body != http.NoBody) {
		return resp, page.Token, err
	}
	token, err := t.renew(r.Context(), page)
	if err != nil {
		return resp, page.Token, nil // the caller gets Coveo's answer
	}
	again := withToken(r, token)
	if r.GetBody != nil {
		if again.Body, err = r.GetBody(); err != nil {
			return resp, page.Token, nil
		}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxRejection) // so that the connection can be used again
	resp.Body.Close()
	resp, err = t.base.RoundTrip(again)
	return resp, token, err
}

// pageFor returns the page whose token r gets.
func (t *transport) pageFor(r *http.Request) (*Page, error) {
	if !t.hosts[hostOf(r.URL)] {
		return nil, fmt.Errorf("searchtoken: Transport: %q is not a host of the Coveo organization, "+
			"so it gets no token; send this request with another client, or set PlatformURL", redact.Text(r.URL.Host))
	}
	page, ok := FromContext(r.Context())
	own := &t.page
	switch {
	case !ok:
		return nil, errors.New("searchtoken: Transport: the request's context has no Page; " +
			"use the context of a request that passed through Handler, or NewContext")
	case cmp.Or(page.OrganizationID, own.OrganizationID) != own.OrganizationID,
		cmp.Or(page.Environment, own.Environment) != own.Environment:
		return nil, errors.New("searchtoken: Transport: the Page in the request's context is of another organization or Environment")
	case page.Token.Value == "" && page.Err != nil:
		return nil, wrap("Transport", page.Err)
	case page.Token.Value == "":
		return nil, errors.New("searchtoken: Transport: the Page in the request's context has no token")
	}
	return page, nil
}

// renew returns a token to use instead of the page's token, which Coveo has
// rejected.
func (t *transport) renew(ctx context.Context, page *Page) (Token, error) {
	var req tokenRequest
	user := userHash(&t.keyPrefix, page.Identity.UserIDs) // a handler may have changed the page
	if c, ok := ctx.Value(requestKey{}).(*pageContext); ok && &c.page == page && c.request.key.User == user {
		req = c.request
	} else if t.route.Prepare != nil || len(page.Identity.UserIDs) == 0 {
		return Token{}, errors.New("searchtoken: Transport: the page does not tell which token to ask for")
	} else if _, err := t.buildRequest(nil, &page.Identity, &req); err != nil {
		return Token{}, err
	}
	req.rejected = page.Token.Value
	token, _, err := t.tokens.find(ctx, &req)
	return token, err
}

// withToken returns a copy of r with token in its header: a RoundTripper must
// not modify the request.
func withToken(r *http.Request, token Token) *http.Request {
	with := *r
	with.Header = r.Header.Clone()
	if with.Header == nil {
		with.Header = http.Header{}
	}
	token.SetAuthHeader(&with)
	return &with
}

// hostOf returns the scheme and host of u in the spelling that is used to
// compare them.
func hostOf(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}

// maxRejection is how much of an answer is read to tell whether it rejects the
// token, in bytes.
const maxRejection = 4 << 10

// rejectsToken reports whether Coveo has rejected the token of the request.
// Analytics say it with status 400 and the type "InvalidToken". resp.Body can
// still be read from its start.
func rejectsToken(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusUnauthorized, statusTokenExpired:
		return true
	case http.StatusBadRequest:
	default:
		return false
	}
	start, _ := io.ReadAll(io.LimitReader(resp.Body, maxRejection))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), resp.Body), resp.Body}
	var answer struct{ Type, ErrorCode string }
	_ = json.Unmarshal(start, &answer)
	return answer.Type == "InvalidToken" || answer.ErrorCode == "InvalidToken"
}

// ownHosts returns the hosts that may get tokens of the organization.
func ownHosts(organization string, env Environment, platform, analytics string) map[string]bool {
	ownPlatform, ownAnalytics := ownEndpoints(organization, env)
	hosts := map[string]bool{}
	for _, base := range []string{ownPlatform, ownAnalytics, platform, analytics} {
		if u, err := url.Parse(base); err == nil {
			hosts[hostOf(u)] = true
		}
	}
	return hosts
}
