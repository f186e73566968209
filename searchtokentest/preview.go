package searchtokentest

import (
	"fmt"
	"html"
	"net/http"
)

// servePreview serves /rest/search/v2/html: one document as HTML, if the
// token's identities may see it.
func (s *searchAPI) servePreview(w http.ResponseWriter, c *call, claims *Claims) {
	query := c.URL.Query()
	params := searchParams{SearchHub: query.Get("searchHub")}
	params.enforce(claims)
	found, err := s.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	for _, m := range found {
		if m.uniqueID == query.Get("uniqueId") {
			setDefaultContentType(w.Header(), "text/html; charset=utf-8")
			title, excerpt := html.EscapeString(m.Title), html.EscapeString(m.Excerpt)
			_, _ = fmt.Fprintf(w, "<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", title, title, excerpt)
			return
		}
	}
	writeError(w, http.StatusNotFound, "The document does not exist, or the token may not see it.")
}
