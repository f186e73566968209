package site

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"

	"github.com/searchtoken/searchtoken"
)

//go:embed templates
var templateFiles embed.FS

// parseTemplates returns the template of each page by name. It executes each of
// them once, so that New reports a setting that a snippet does not accept.
func parseTemplates(base view) (map[string]*template.Template, error) {
	layout, err := template.New("layout.html").Funcs(searchtoken.FuncMap()).
		ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	base.Coveo = new(searchtoken.Page)
	templates := make(map[string]*template.Template)
	for _, name := range []string{"home", "jsui", "atomic", "headless", "ipx", "plain", "error"} {
		t, err := template.Must(layout.Clone()).ParseFS(templateFiles, "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		if err := t.Execute(io.Discard, base); err != nil {
			return nil, fmt.Errorf("site: cannot render the %s page: %w", name, err)
		}
		templates[name] = t
	}
	return templates, nil
}

// render answers with a page. It executes the template before it writes: a
// failure must not leave half a page.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	var b bytes.Buffer
	if err := s.templates[name].Execute(&b, v); err != nil {
		s.logger.ErrorContext(r.Context(), "site: cannot render a page", "page", name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}
