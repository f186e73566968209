package searchtoken

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxClockDifference is how far this machine's clock and Coveo's may differ
// before Check complains. Tokens do not depend on it, but sessions do.
const maxClockDifference = 2 * time.Minute

// Check asks Coveo for a token of the anonymous user with the route's Params,
// and drops it: is the configuration right? Call it when the program starts.
// The error says what is wrong, as far as Coveo's answer tells: the
// organization, the API key and its privileges, the network, TLS, or this
// machine's clock, if it differs from Coveo's by more than 2 minutes. Whether
// to start nevertheless is up to the program: [HTTPStatus] is 502 if Coveo
// refuses the configuration. After another error, Coveo may only be down.
//
// Check takes at most 10 seconds, and changes nothing: the next request calls
// Coveo even if Check has failed. It does not run Prepare. An Issuer of your
// own is called, too.
func (m *Middleware) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	params := m.route.Params.clone()
	params.UserIDs = Anonymous().UserIDs
	var (
		token    Token
		answered time.Time // on Coveo's clock; zero if it is not known
		err      error
	)
	f := fetch{tokenSource: m.tokens, request: tokenRequest{route: &m.route, params: &params}}
	requested := now()
	if client, ok := m.tokens.issuer.(*Client); ok {
		token, answered, err = client.issue(ctx, params)
	} else {
		token, err = f.issue(ctx, params)
	}
	if err == nil {
		token, err = completeTimes(token, requested, params.validFor())
	}
	if err == nil {
		err = f.checkIssued(token, expired)
	}
	if err != nil {
		return wrap("Check", redacted(withHint(err)))
	}
	if answered.IsZero() {
		return nil
	}
	switch ahead := now().Sub(answered).Round(time.Second); {
	case ahead > maxClockDifference:
		return fmt.Errorf("searchtoken: Check: the clock of this machine is %v ahead of Coveo's; synchronize it", ahead)
	case ahead < -maxClockDifference:
		return fmt.Errorf("searchtoken: Check: the clock of this machine is %v behind Coveo's; synchronize it", -ahead)
	}
	return nil
}

// withHint adds the hint of an APIError.
func withHint(err error) error {
	var api *APIError
	if errors.As(err, &api) {
		if hint := api.hint(); hint != "" {
			return fmt.Errorf("%w; %s", err, hint)
		}
	}
	return err
}

// hint says what an operator should check, or "". Coveo does not document the
// errors of the token call, so the words in its messages are guesses, and the
// hints are questions.
func (e *APIError) hint() string {
	text := strings.ToLower(e.Type + " " + e.Message)
	says := func(words ...string) bool {
		for _, word := range words {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
	denied := e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden
	switch {
	case denied && says("disabled"):
		return "is the API key disabled, because nobody used it for long or because it was exposed?"
	case denied && says("expired"):
		return "has the API key expired?"
	case says("paused"):
		return "is the organization paused?"
	case e.StatusCode == http.StatusNotFound || says("organizationnotfound", "organization does not exist", "unknown organization"):
		return "are OrganizationID, Environment and PlatformURL right?"
	case denied && says("firewall"):
		return ""
	case denied:
		return "is the API key one of the Authenticated search template, and of this organization?"
	case e.StatusCode >= 300 && e.StatusCode < 400:
		return "does another server than Coveo answer at PlatformURL, or a proxy on the way?"
	}
	return ""
}

// networkHint says what to check after a call that got no answer, in
// parentheses, or "".
func networkHint(err error) string {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return " (are OrganizationID, Environment and PlatformURL right, and does this machine resolve the host?)"
	case errors.As(err, &certificate):
		return " (does this machine trust the certificate of the host, or does a proxy on the way replace it?)"
	case errors.As(err, &record), errors.As(err, &alert):
		return " (does the host speak TLS at this port?)"
	case isTimeout(err):
		return " (does a firewall block the host, or is HTTPS_PROXY missing?)"
	}
	return ""
}
