package searchtoken

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// setHeaders keeps the page of one user out of shared caches.
func (c *pageContext) setHeaders(h http.Header) {
	for name := range h {
		if controlsCaches(name) {
			delete(h, name)
		}
	}
	c.headers = [2]string{"private, no-store", "Cookie"}
	// Without spare capacity, so that appending to one header copies it.
	h["Cache-Control"] = c.headers[0:1:1]
	vary, ok := h["Vary"]
	if !ok {
		h["Vary"] = c.headers[1:2:2]
		return
	}
	for _, line := range vary {
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "*" || strings.EqualFold(field, "Cookie") {
				return
			}
		}
	}
	h["Vary"] = append(vary, "Cookie")
}

// controlsCaches reports whether a header of an outer layer would override or
// contradict Cache-Control. CDNs have their own variants of that header (RFC
// 9213).
func controlsCaches(name string) bool {
	name = http.CanonicalHeaderKey(name)
	switch name {
	case "Expires", "Surrogate-Control", "Edge-Control", "X-Accel-Expires":
		return true
	}
	return strings.HasSuffix(name, "Cache-Control")
}

// setRetryAfter sets the Retry-After header to whole seconds, if after is not
// 0.
func setRetryAfter(h http.Header, after time.Duration) {
	if after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
}

// answerError answers with the status of err and its standard text.
func answerError(w http.ResponseWriter, err error) {
	status := HTTPStatus(err)
	http.Error(w, http.StatusText(status), status)
}
