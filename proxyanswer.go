package searchtoken

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/searchtoken/searchtoken/internal/breaker"
)

// passedStatuses are the errors of Coveo that the front ends act on.
var passedStatuses = []int{
	http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusTooManyRequests,
}

// setHeaders sets the headers of every answer.
func (c *proxyCall) setHeaders() {
	h := c.w.Header()
	new(pageContext).setHeaders(h)
	h.Set("X-Content-Type-Options", "nosniff")
	policy := "sandbox; default-src 'none'"
	if c.op != nil && c.op.answer == documentAnswer {
		policy += "; img-src https: data:; style-src 'unsafe-inline'"
	}
	h.Set("Content-Security-Policy", policy)
}

// answerHeaders are the headers of Coveo's answers that are passed on.
var answerHeaders = []string{
	"Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Type",
	"Retry-After", "X-Answer-Id", "X-Request-Id",
}

// pass passes an answer of Coveo on. Each event of a stream is passed on at
// once, and sets timer anew.
func (c *proxyCall) pass(resp *http.Response, timer *time.Timer) error {
	h := c.w.Header()
	h["Content-Type"] = nil // so that net/http does not guess it
	for _, name := range answerHeaders {
		if values := resp.Header[name]; len(values) > 0 {
			h[name] = values[:1:1]
		}
	}
	if c.op.answer == streamAnswer {
		h["X-Accel-Buffering"] = []string{"no"} // nginx would hold events back
	}
	c.answered = true
	c.w.WriteHeader(resp.StatusCode)
	var err error
	if c.op.answer == streamAnswer {
		err = c.passEvents(resp.Body, timer)
	} else {
		_, err = io.Copy(c.w, resp.Body)
	}
	if err != nil {
		c.cutOff = true
		return newCutOffError(err)
	}
	return nil
}

func (c *proxyCall) passEvents(events io.Reader, timer *time.Timer) error {
	controller := http.NewResponseController(c.w)
	_ = controller.Flush() // the browser waits for the header
	buf := make([]byte, 4<<10)
	for {
		n, err := events.Read(buf)
		if n > 0 {
			timer.Reset(maxSilence)
			_ = controller.SetWriteDeadline(time.Now().Add(maxSilence))
			if _, err := c.w.Write(buf[:n]); err != nil {
				return err
			}
			_ = controller.Flush()
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func newCutOffError(err error) *proxyError {
	return &proxyError{http.StatusBadGateway, OutcomeUnavailable, "the answer of Coveo was cut off", 0, redacted(err)}
}

// mayContain reports whether an error of Coveo may contain the token, as that of
// an upstream that repeats the header of the request. One that is too long or
// not unzipped may contain it. If not, resp.Body can still be read from its
// start. The error says that it was cut off.
func mayContain(resp *http.Response, token Token) (bool, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return true, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	switch resp.Header.Get("Content-Encoding") {
	case "":
	case "gzip":
		unzipped, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return true, nil
		}
		if body, err = io.ReadAll(http.MaxBytesReader(nil, unzipped, maxAnswer)); err != nil {
			return true, nil
		}
	default:
		return true, nil
	}
	return bytes.Contains(body, []byte(token.Value)), nil
}

// answerError answers with err in the shape of Coveo's errors.
func (c *proxyCall) answerError(err error) {
	status, after := HTTPStatus(err), RetryAfter(err)
	if status == http.StatusServiceUnavailable {
		after = cmp.Or(after, breaker.FirstRetry)
	}
	kind := http.StatusText(status)
	message := kind
	var refusal *proxyError
	if errors.As(err, &refusal) {
		message = refusal.reason
	}
	setRetryAfter(c.w.Header(), after)
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(struct {
		StatusCode int    `json:"statusCode"`
		Type       string `json:"type"`
		Message    string `json:"message"`
	}{status, strings.ReplaceAll(kind, " ", ""), message})
}
