package searchtokentest

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What a token's life may be.
const (
	minValidFor = 15 * time.Minute
	maxValidFor = 24 * time.Hour
)

// tokenRequest is the body of a token call: Coveo's RestTokenParams, without what Coveo keeps to itself.
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
}

var (
	tokenProperties = []string{
		"userIds", "userDisplayName", "userGroups", "canSeeUserProfileOf", "searchHub", "pipeline", "filter", "validFor",
		"dictionaryFieldContext", "allowedDictionaryFieldKeys",
	}
	userIDProperties = []string{"name", "provider", "type"}
	userIDTypes      = []string{"User", "Group", "VirtualGroup", "Unknown"}
)

// serveToken answers POST /rest/search/v2/token.
func (p *Platform) serveToken(w http.ResponseWriter, c *call) {
	if c.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "Use POST.")
		return
	}
	if subtle.ConstantTimeCompare([]byte(bearer(c.Request)), []byte(p.apiKey)) != 1 {
		writeError(w, http.StatusUnauthorized, "Invalid access token.")
		return
	}
	if !p.ownOrganization(c.Request) {
		writeUnknownOrganization(w)
		return
	}
	if mediaType(c.Request) != "application/json" {
		writeError(w, http.StatusUnsupportedMediaType, "The content type must be application/json.")
		return
	}
	req, fault := parseTokenRequest(c.body)
	if fault != "" {
		writeError(w, http.StatusBadRequest, fault)
		return
	}
	life := maxValidFor
	if req.ValidFor != nil {
		life = time.Duration(*req.ValidFor) * time.Millisecond
	}
	token, claims := p.issue(Claims{
		UserIDs:         req.UserIDs,
		SearchHub:       req.SearchHub,
		Pipeline:        req.Pipeline,
		Filter:          req.Filter,
		UserDisplayName: req.UserDisplayName,
		UserGroups:      req.UserGroups,
	}, life)
	p.requests.update(c.record, func(r *Request) { r.Claims = claims })
	writeJSON(w, http.StatusOK, struct {
		Token string `json:"token"`
	}{token})
}

// parseTokenRequest refuses properties that it does not know, and known ones in another case, which encoding/json
// would take: a misspelt filter must not become a token without one. The fault is a sentence for the answer.
func parseTokenRequest(body []byte) (req *tokenRequest, fault string) {
	const malformed = "Invalid JSON format in request body."
	var properties map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(body))
	if d.Decode(&properties) != nil || properties == nil {
		return nil, malformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed
	}
	if fault := unknownProperty("", properties, tokenProperties); fault != "" {
		return nil, fault
	}
	if raw, ok := properties["userIds"]; ok {
		var ids []map[string]json.RawMessage
		if json.Unmarshal(raw, &ids) != nil {
			return nil, "userIds must be an array of objects."
		}
		for i, id := range ids {
			if fault := unknownProperty(fmt.Sprintf("userIds[%d].", i), id, userIDProperties); fault != "" {
				return nil, fault
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
	return req, req.fault()
}

func unknownProperty(prefix string, object map[string]json.RawMessage, known []string) (fault string) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(known, name) {
			return fmt.Sprintf("Unknown property %q.", prefix+name)
		}
	}
	return ""
}

// fault names all that Coveo documents as wrong with t, in the sentences that the answer shows; "" if nothing is.
func (t *tokenRequest) fault() string {
	var faults []string
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

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
	return strings.Join(faults, " ")
}

// mediaType returns the content type of a request without its parameters, in lower case, or "".
func mediaType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}
