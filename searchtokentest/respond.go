package searchtokentest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// statusExpiredToken is Coveo's status for a search token that has expired.
// net/http does not define it.
const statusExpiredToken = 419

// apiError is an error response of the Search API.
type apiError struct {
	StatusCode int    `json:"statusCode"`
	Message    string `json:"message"`
	Type       string `json:"type"`
}

// errorType returns the exception that the Search API names for a status.
func errorType(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "InvalidRequestException"
	case http.StatusUnauthorized:
		return "InvalidTokenException"
	case http.StatusForbidden:
		return "AccessDeniedException"
	case http.StatusNotFound:
		return "NotFoundException"
	case statusExpiredToken:
		return "ExpiredTokenException"
	case http.StatusTooManyRequests:
		return "TooManyRequestsException"
	}
	if status >= http.StatusInternalServerError {
		return "InternalServerErrorException"
	}
	return "RequestException"
}

// errorMessage returns the message that the Search API sends with a status.
func errorMessage(status int) string {
	switch status {
	case statusExpiredToken:
		return "Expired token"
	case http.StatusUnauthorized:
		return "Invalid access token."
	}
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "The request failed."
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, apiError{StatusCode: status, Message: message, Type: errorType(status)})
}

func writeUnknownOrganization(w http.ResponseWriter) {
	writeJSON(w, http.StatusNotFound, apiError{
		StatusCode: http.StatusNotFound,
		Message:    "The organization does not exist.",
		Type:       "OrganizationNotFoundException",
	})
}

// writeJSON writes v as JSON. It sets Content-Length, as the platform does, so
// that a client notices a truncated body.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(v) // every type of this package can be encoded
	setDefaultContentType(w.Header(), "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// setDefaultContentType sets the content type, unless a Fault has set one.
func setDefaultContentType(h http.Header, contentType string) {
	if _, ok := h["Content-Type"]; !ok {
		h.Set("Content-Type", contentType)
	}
}

// newID returns a random UUID, the format of Coveo's identifiers.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
