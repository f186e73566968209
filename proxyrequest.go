package searchtoken

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

var errNoPage = errors.New("the request does not come from a script of a page")

// checkPage returns an error unless the request comes from a page that may make
// it. Previews of documents may also be shown in a frame or in a tab.
func (c *proxyCall) checkPage() error {
	document := c.op.answer == documentAnswer
	if c.in.Header.Get("Sec-Fetch-Site") == "none" && !document {
		return errNoPage
	}
	destination := c.in.Header.Get("Sec-Fetch-Dest")
	if destination == "" && c.in.Header.Get("Upgrade-Insecure-Requests") != "" {
		destination = "document" // plain http: browsers send this header when they navigate
	}
	switch destination {
	case "", "empty":
	case "document", "iframe", "frame":
		if !document {
			return errNoPage
		}
	default: // script, style, object, embed, image and so on
		return errNoPage
	}
	return c.checkOrigin(c.in)
}

// clientIP returns the visitor's address. It is not valid if it is not known.
func (c *proxyCall) clientIP() netip.Addr {
	text := c.in.RemoteAddr // without a port, if a middleware has set it
	if c.route.ClientIP != nil {
		text = c.route.ClientIP(c.in)
	} else if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	address, _ := netip.ParseAddr(text)
	return address.WithZone("").Unmap()
}

// newRequest returns the request to Coveo: with the path of the operation, the
// query and the body without what could change whom they are for, and headers
// from a list.
func (c *proxyCall) newRequest(call *pageContext) (*http.Request, error) {
	query, err := c.ownParams(c.in.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	body, err := c.readBody()
	if err != nil {
		return nil, err
	}
	address := c.page.PlatformURL
	if c.op.host == analyticsHost {
		address = c.page.AnalyticsURL
	}
	address += c.path
	if query != "" {
		address += "?" + query
	}
	var reader io.Reader
	if len(body) > 0 {
		reader = bytes.NewReader(body)
	}
	out, err := http.NewRequestWithContext(call, c.op.method, address, reader)
	if err != nil {
		return nil, &proxyError{http.StatusBadRequest, OutcomeRefused, "the call is malformed", 0, nil}
	}
	for _, name := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "User-Agent"} {
		if values := c.in.Header[name]; len(values) > 0 {
			out.Header[name] = values[:1:1]
		}
	}
	switch {
	case c.op.answer == streamAnswer:
		out.Header.Set("Accept-Encoding", "identity") // compression would hold events back
	case c.op.host == analyticsHost:
		out.Header.Del("Accept-Encoding") // rejectsToken reads the answer
	}
	if c.in.Header.Get("User-Agent") == "" {
		out.Header["User-Agent"] = []string{""} // not Go's own
	}
	if c.address.IsValid() {
		out.Header.Set("X-Forwarded-For", c.address.String())
	}
	if c.op.host == platformHost {
		// net/http repeats a request with this entry if the server closes a
		// reused connection. The header is not sent.
		out.Header["Idempotency-Key"] = nil
	}
	return out, nil
}

// readBody returns the body of the request. A form becomes the user's own, as
// the query does.
func (c *proxyCall) readBody() ([]byte, error) {
	if c.op.method == http.MethodGet {
		return nil, nil
	}
	// The server may have no deadline for a browser that does not send its
	// body.
	expired := make(chan struct{})
	timer := time.AfterFunc(callTimeout, func() {
		defer close(expired)
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now())
	})
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.in.Body, maxProxyBody))
	if !timer.Stop() {
		<-expired // HTTP/2 panics if a deadline is set after the answer
	}
	if len(body) == 0 && len(c.in.PostForm) > 0 { // of a middleware that has read the form
		body, err = []byte(c.in.PostForm.Encode()), nil
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), len(body) > maxProxyBody:
		return nil, &proxyError{http.StatusRequestEntityTooLarge, OutcomeRefused, "the body is longer than 1 MiB", 0, nil}
	case wasRead(c.in, body, err):
		return nil, &proxyError{http.StatusInternalServerError, OutcomeError, errBodyRead.Error(), 0, nil}
	case err != nil:
		return nil, &proxyError{http.StatusBadRequest, OutcomeRefused, "the body is incomplete", 0, nil}
	case len(body) == 0:
		return nil, nil
	}
	switch mediaType, _, _ := mime.ParseMediaType(c.in.Header.Get("Content-Type")); mediaType {
	case "application/json", "text/plain":
		return body, nil
	case "application/x-www-form-urlencoded":
		form, err := c.ownParams(string(body))
		return []byte(form), err
	}
	return nil, &proxyError{http.StatusUnsupportedMediaType, OutcomeRefused, "the body is neither JSON nor a form", 0, nil}
}

// ownParams returns the parameters of a query or a form without those that name
// another token or change the kind of the answer. It refuses those that name
// another organization.
func (c *proxyCall) ownParams(encoded string) (string, error) {
	if encoded == "" {
		return "", nil
	}
	params, err := url.ParseQuery(encoded)
	if err != nil {
		return "", &proxyError{http.StatusBadRequest, OutcomeRefused, "the parameters are malformed", 0, nil}
	}
	for name, values := range params {
		switch strings.ToLower(name) {
		case "access_token", "callback", "errorsassuccess":
			delete(params, name)
		case "organizationid", "org":
			if slices.ContainsFunc(values, func(v string) bool { return v != c.page.OrganizationID }) {
				return "", &proxyError{http.StatusForbidden, OutcomeRefused, "the call names another organization", 0, nil}
			}
			params[name] = values[:1]
		}
	}
	return params.Encode(), nil
}
