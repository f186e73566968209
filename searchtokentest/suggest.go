package searchtokentest

import (
	"net/http"
	"strings"
)

// completion is a suggested query.
type completion struct {
	Expression           string  `json:"expression"`
	Score                float64 `json:"score"`
	Highlighted          string  `json:"highlighted"` // "{what the visitor typed}[the rest]"
	ExecutableConfidence float64 `json:"executableConfidence"`
}

// serveSuggest serves /rest/search/v2/querySuggest: the titles that begin with
// the query, of documents that the token's identities may see.
func (s *searchAPI) serveSuggest(w http.ResponseWriter, c *call, claims *Claims) {
	params, err := parseSearch(c)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	params.enforce(claims)
	c.update(func(r *Request) { r.SearchHub = params.SearchHub })
	completions, err := s.complete(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Completions []completion `json:"completions"`
		ResponseID  string       `json:"responseId"`
	}{completions, newID()})
}

// complete returns the titles that begin with the query. params must be
// enforced.
func (s *searchAPI) complete(claims *Claims, params searchParams) ([]completion, error) {
	prefix := params.Q
	params.Q = ""
	found, err := s.find(claims, params)
	if err != nil {
		return nil, err
	}
	completions := []completion{}
	for _, m := range found {
		typed, rest, ok := cutPrefixFold(m.Title, prefix)
		if !ok {
			continue
		}
		highlighted := "[" + rest + "]"
		if typed != "" {
			highlighted = "{" + typed + "}" + highlighted
		}
		completions = append(completions, completion{m.Title, float64(m.score), highlighted, 1})
	}
	return completions, nil
}

// cutPrefixFold splits s after prefix, like [strings.CutPrefix] but ignoring
// case.
func cutPrefixFold(s, prefix string) (before, after string, ok bool) {
	for i := range s + " " { // the offset of each rune, and of the end
		if strings.EqualFold(s[:i], prefix) {
			return s[:i], s[i:], true
		}
	}
	return "", s, false
}
