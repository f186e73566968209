package searchtokentest

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The limits of validFor.
const (
	minValidFor = 15 * time.Minute
	maxValidFor = 24 * time.Hour
)

// tokenRequest is the body of a token call: Coveo's RestTokenParams, without
// the properties that are reserved for Coveo.
type tokenRequest struct {
	UserIDs                    []UserID            `json:"userIds"`
	UserDisplayName            string              `json:"userDisplayName"`
	UserGroups                 []string            `json:"userGroups"`
	CanSeeUserProfileOf        []string            `json:"canSeeUserProfileOf"`
	SearchHub                  string              `json:"searchHub"`
	Pipeline                   string              `json:"pipeline"`
	Filter                     string              `json:"filter"`
	ValidFor                   *int64              `json:"validFor"` // milliseconds
	DictionaryFieldContext     map[string]string   `json:"dictionaryFieldContext"`
	AllowedDictionaryFieldKeys map[string][]string `json:"allowedDictionaryFieldKeys"`
	Commerce                   *struct {
		CatalogID string `json:"catalogId"`
		Filter    string `json:"filter"`
		Operation string `json:"operation"`
	} `json:"commerce"`
}

var (
	tokenProperties = []string{
		"userIds", "userDisplayName", "userGroups", "canSeeUserProfileOf", "searchHub", "pipeline", "filter", "validFor",
		"dictionaryFieldContext", "allowedDictionaryFieldKeys", "commerce",
	}
	userIDProperties = []string{"name", "provider", "type"}
	userIDTypes      = []string{"User", "Group", "VirtualGroup", "Unknown"}
)

// tokenAPI serves token calls.
type tokenAPI struct {
	apiKey string
	tokens *issuer
}

// serve serves POST /rest/search/v2/token.
func (a *tokenAPI) serve(w http.ResponseWriter, c *call) {
	if c.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "Use POST.")
		return
	}
	if subtle.ConstantTimeCompare([]byte(bearer(c.Request)), []byte(a.apiKey)) != 1 {
		writeError(w, http.StatusUnauthorized, errorMessage(http.StatusUnauthorized))
		return
	}
	if !isForOrganization(c, a.tokens.organization) {
		writeUnknownOrganization(w)
		return
	}
	if mediaType(c.Request) != "application/json" {
		writeError(w, http.StatusUnsupportedMediaType, "The content type must be application/json.")
		return
	}
	req, problem := parseTokenRequest(c.body)
	if problem != "" {
		writeError(w, http.StatusBadRequest, problem)
		return
	}
	lifetime := maxValidFor
	if req.ValidFor != nil {
		lifetime = time.Duration(*req.ValidFor) * time.Millisecond
	}
	token, claims := a.tokens.issue(Claims{
		UserIDs:         req.UserIDs,
		SearchHub:       req.SearchHub,
		Pipeline:        req.Pipeline,
		Filter:          req.Filter,
		UserDisplayName: req.UserDisplayName,
		UserGroups:      req.UserGroups,
	}, lifetime)
	c.update(func(r *Request) { r.Claims = claims })
	writeJSON(w, http.StatusOK, struct {
		Token string `json:"token"`
	}{token})
}

// parseTokenRequest parses the body of a token call. It refuses unknown
// properties, and known ones in another case, which encoding/json would accept:
// a misspelled filter must not lead to a token without one. problem is the
// message for the response, or "".
func parseTokenRequest(body []byte) (req *tokenRequest, problem string) {
	const malformed = "Invalid JSON format in request body."
	var properties map[string]json.RawMessage
	if json.Unmarshal(body, &properties) != nil || properties == nil {
		return nil, malformed
	}
	if problem := unknownProperty("", properties, tokenProperties); problem != "" {
		return nil, problem
	}
	if raw, ok := properties["userIds"]; ok {
		var ids []map[string]json.RawMessage
		if json.Unmarshal(raw, &ids) != nil {
			return nil, "userIds must be an array of objects."
		}
		for i, id := range ids {
			if problem := unknownProperty(fmt.Sprintf("userIds[%d].", i), id, userIDProperties); problem != "" {
				return nil, problem
			}
		}
	}
	req = new(tokenRequest)
	if err := json.Unmarshal(body, req); err != nil {
		if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
			return nil, fmt.Sprintf("%s must not be a JSON %s.", t.Field, t.Value)
		}
		return nil, malformed
	}
	return req, req.problems()
}

// unknownProperty returns a message about the first property that is not known,
// or "".
func unknownProperty(prefix string, object map[string]json.RawMessage, known []string) (problem string) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(known, name) {
			return fmt.Sprintf("Unknown property %q.", prefix+name)
		}
	}
	return ""
}

// problems returns a sentence for each rule in Coveo's documentation that t
// violates, or "".
func (t *tokenRequest) problems() string {
	var problems []string
	add := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	if len(t.UserIDs) == 0 {
		add("userIds is required.")
	}
	for i, id := range t.UserIDs {
		if id.Name == "" {
			add("userIds[%d].name is required.", i)
		}
		if id.Provider == "" {
			add("userIds[%d].provider is required.", i)
		}
		if id.Type != "" && !slices.Contains(userIDTypes, id.Type) {
			add("userIds[%d].type must be one of %s.", i, strings.Join(userIDTypes, ", "))
		}
	}
	if v := t.ValidFor; v != nil && (*v < minValidFor.Milliseconds() || *v > maxValidFor.Milliseconds()) {
		add("validFor must be between %d and %d.", minValidFor.Milliseconds(), maxValidFor.Milliseconds())
	}
	if t.DictionaryFieldContext != nil && t.AllowedDictionaryFieldKeys != nil {
		add("dictionaryFieldContext and allowedDictionaryFieldKeys exclude each other.")
	}
	if len(t.AllowedDictionaryFieldKeys) > 100 {
		add("allowedDictionaryFieldKeys must not have more than 100 properties.")
	}
	for _, field := range slices.Sorted(maps.Keys(t.AllowedDictionaryFieldKeys)) {
		if !slices.Equal(t.AllowedDictionaryFieldKeys[field], []string{"*"}) {
			add(`allowedDictionaryFieldKeys.%s must be ["*"].`, field)
		}
	}
	return strings.Join(problems, " ")
}

// mediaType returns the content type of a request without its parameters, in
// lower case, or "".
func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}
