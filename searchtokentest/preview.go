package searchtokentest

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
)

// withDocument calls next with the document that the request names, if the
// token's identities may see it. The parameters are in the query, or in a form.
func (s *searchAPI) withDocument(next func(http.ResponseWriter, match)) func(http.ResponseWriter, *call, *Claims) {
	return func(w http.ResponseWriter, c *call, claims *Claims) {
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
		next(w, found[i])
	}
}

// servePreview serves the document as HTML, for html and datastream.
func servePreview(w http.ResponseWriter, m match) {
	setDefaultContentType(w.Header(), "text/html; charset=utf-8")
	_, _ = io.WriteString(w, m.preview())
}

// serveText serves the document as text.
func serveText(w http.ResponseWriter, m match) {
	writeJSON(w, http.StatusOK, map[string]string{"content": m.Title + "\n\n" + m.Excerpt + "\n"})
}

// serveDocument serves the document as a result of a query.
func serveDocument(w http.ResponseWriter, m match) {
	writeJSON(w, http.StatusOK, newResult(m, newID()))
}

// preview returns the document as HTML.
func (e *entry) preview() string {
	if e.HTML != "" {
		return e.HTML
	}
	title, excerpt := html.EscapeString(e.Title), html.EscapeString(e.Excerpt)
	return fmt.Sprintf("<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n", title, title, excerpt)
}
