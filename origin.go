package searchtoken

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/searchtoken/searchtoken/internal/redact"
)

// checkOrigin returns an *originError unless r comes from a page of the site
// itself or of Route.TrustedOrigins, as far as the browser says. A GET is
// checked like a POST, because it is answered with a secret. On plain http,
// browsers send neither Sec-Fetch-Site nor, for a GET, Origin: then a Referer
// says where r comes from.
func (m *Middleware) checkOrigin(r *http.Request) error {
	post := *r
	post.Method = http.MethodPost
	origin := r.Header.Get("Origin")
	if r.Header.Get("Sec-Fetch-Site") == "" && origin == "" && r.Referer() != "" {
		origin = "null" // no trusted origin, and not that of the site
		if referer, err := url.Parse(r.Referer()); err == nil && referer.Host != "" {
			origin = strings.ToLower(referer.Scheme + "://" + referer.Host)
		}
		post.Host = strings.ToLower(r.Host)
		post.Header = http.Header{"Origin": {origin}}
	}
	if m.origin.Check(&post) == nil {
		return nil
	}
	return &originError{from: pageOf(r.Header), host: redact.Text(r.Host)}
}

// pageOf says, as the predicate of a sentence, what a request's headers tell of
// its page. A Referer may contain a query, so only its host is shown.
func pageOf(h http.Header) string {
	origin, site := h.Get("Origin"), h.Get("Sec-Fetch-Site")
	page, err := url.Parse(cmp.Or(origin, h.Get("Referer")))
	switch {
	case err == nil && page.Host != "":
		return fmt.Sprintf("comes from a page of %q", redact.Text(page.Host))
	case origin != "":
		return fmt.Sprintf("has Origin %q", redact.Text(origin))
	case site != "":
		return fmt.Sprintf("has Sec-Fetch-Site %q", redact.Text(site))
	}
	return "has a Referer without a host"
}

// originError says that a request comes from a page of another origin. Its
// texts are redacted, because a visitor chooses them.
type originError struct {
	from string // what pageOf returns
	host string // the Host of the request
}

func (e *originError) Error() string {
	return fmt.Sprintf("searchtoken: the request %s, and its Host is %q", e.from, e.host)
}

// originHint returns the hint for the log line about an originError, as an
// attribute, or nil for another error.
func originHint(err error) []any {
	var origin *originError
	if !errors.As(err, &origin) {
		return nil
	}
	return []any{"hint", "if both are this site, let the reverse proxy pass the Host header on;" +
		" if the page is of another site of yours, add its origin to Route.TrustedOrigins"}
}
