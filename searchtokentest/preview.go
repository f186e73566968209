package searchtokentest

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
)

// servePreview serves /rest/search/v2/html: one document as HTML, if the
// token's identities may see it. The parameters are in the query, or in a form.
func (s *searchAPI) servePreview(w http.ResponseWriter, c *call, claims *Claims) {
	parameter := func(name string) string { return cmp.Or(c.URL.Query().Get(name), c.form().Get(name)) }
	params := searchParams{SearchHub: parameter("searchHub")}
	params.enforce(claims)
	found, err := s.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	i := slices.IndexFunc(found, func(m match) bool { return m.uniqueID == parameter("uniqueId") })
	if i < 0 {
		writeError(w, http.StatusNotFound, "The document does not exist, or the token may not see it.")
		return
	}
	setDefaultContentType(w.Header(), "text/html; charset=utf-8")
	_, _ = io.WriteString(w, found[i].preview())
}

// preview returns the document as HTML.
func (e *entry) preview() string {
	if e.HTML != "" {
		return e.HTML
	}
	title, excerpt := html.EscapeString(e.Title), html.EscapeString(e.Excerpt)
	return fmt.Sprintf("<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", title, title, excerpt)
}
