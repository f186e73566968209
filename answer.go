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
	"strconv"
	"strings"
	"time"
)

const (
	maxRetryAfter = 5 * time.Minute // an upstream may ask for weeks
	maxAnswer     = 1 << 20         // bytes

	// A longer token fits neither into a URL nor into the body of a renewal.
	maxTokenLength = 15 << 10 // bytes
)

// readAnswer returns the token in resp, or an APIError that says what resp has
// instead. The error is that of a connection that was too slow.
func readAnswer(resp *http.Response) (value string, apiErr *APIError, err error) {
	apiErr = &APIError{
		StatusCode: resp.StatusCode,
		RequestID:  resp.Header.Get("X-Request-ID"),
		RetryAfter: parseRetryAfter(resp.Header.Get("Retry-After"), time.Now()),
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	slow := isTimeout(err) || errors.Is(err, context.Canceled)
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
		_ = json.Unmarshal(answer.Token, &value) // only a string is a token
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
	case len(value) > maxTokenLength:
		apiErr.Message = fmt.Sprintf("the token has %d bytes and may have at most %d KiB;"+
			" long or many groups, identities and filters make a token long", len(value), maxTokenLength>>10)
	case !bearerToken.MatchString(value):
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
