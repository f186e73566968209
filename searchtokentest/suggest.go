package searchtokentest

import (
	"fmt"
	"html"
	"net/http"
	"strings"
)

// serveSuggest answers /rest/search/v2/querySuggest with titles that begin as the query does, of documents that the
// visitor may see.
func (p *Platform) serveSuggest(w http.ResponseWriter, c *call, claims *Claims) {
	params, err := parseSearch(c)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	prefix := params.Q
	params.Q = ""
	params.enforce(claims)
	p.requests.update(c.record, func(r *Request) { r.SearchHub = params.SearchHub })
	found, err := p.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	type completion struct {
		Expression           string  `json:"expression"`
		Score                float64 `json:"score"`
		Highlighted          string  `json:"highlighted"` // {what was typed}[what completes it]
		ExecutableConfidence float64 `json:"executableConfidence"`
	}
	answer := struct {
		Completions []completion `json:"completions"`
		ResponseID  string       `json:"responseId"`
	}{Completions: []completion{}, ResponseID: newID()}
	for _, m := range found {
		typed, rest, ok := cutPrefixFold(m.Title, prefix)
		if !ok {
			continue
		}
		highlighted := "[" + rest + "]"
		if typed != "" {
			highlighted = "{" + typed + "}" + highlighted
		}
		answer.Completions = append(answer.Completions, completion{m.Title, float64(m.score), highlighted, 1})
	}
	writeJSON(w, http.StatusOK, answer)
}

// cutPrefixFold splits s behind a prefix in any case, between runes.
func cutPrefixFold(s, prefix string) (before, after string, ok bool) {
	for i := range s + " " { // the offset of each rune, and of the end
		if strings.EqualFold(s[:i], prefix) {
			return s[:i], s[i:], true
		}
	}
	return "", s, false
}

// servePlan answers /rest/search/v2/plan: there are no triggers, and the query stays as it is.
func (p *Platform) servePlan(w http.ResponseWriter, c *call, _ *Claims) {
	params, err := parseSearch(c)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	type input struct {
		BasicExpression string `json:"basicExpression"`
		LargeExpression string `json:"largeExpression"`
	}
	type output struct {
		Triggers []any `json:"triggers"`
	}
	writeJSON(w, http.StatusOK, struct {
		ParsedInput         input  `json:"parsedInput"`
		PreprocessingOutput output `json:"preprocessingOutput"`
	}{input{BasicExpression: params.Q}, output{Triggers: []any{}}})
}

// serveHTML answers /rest/search/v2/html: the preview of one item, if the visitor may see it.
func (p *Platform) serveHTML(w http.ResponseWriter, c *call, claims *Claims) {
	var params searchParams
	params.SearchHub = c.URL.Query().Get("searchHub")
	params.enforce(claims)
	found, err := p.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	for _, m := range found {
		if m.uniqueID == c.URL.Query().Get("uniqueId") {
			defaultContentType(w.Header(), "text/html; charset=utf-8")
			title, excerpt := html.EscapeString(m.Title), html.EscapeString(m.Excerpt)
			_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", title, title, excerpt)
			return
		}
	}
	writeError(w, http.StatusNotFound, "There is no such item.")
}
