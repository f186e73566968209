package site

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"time"

	"github.com/searchtoken/searchtoken"
)

//go:embed templates
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// pageInfo is what the navigation and the home page say of a page.
type pageInfo struct{ Path, Name, About string }

var searchPages = []pageInfo{
	{"/jsui", "JSUI", "Coveo's JavaScript Search Framework, the oldest of its front ends and still on many sites."},
	{"/atomic", "Atomic", "Coveo's web components: a search page in a few custom elements."},
	{"/headless", "Headless", "Coveo's search engine without a user interface, under a small one of this site's own."},
	{"/ipx", "IPX", "An In-Product Experience: a search panel that is built on Coveo's platform and loaded with one script."},
	{"/plain", "Plain", "A form and a list that this server makes: it needs neither JavaScript nor Coveo's libraries."},
}

// view is what the templates get.
type view struct {
	Pages                     []pageInfo
	Notice, Assets            string
	Users                     []string
	IPXPageID, IPXInterfaceID string

	Title string
	Here  pageInfo
	Back  string // where log-in and log-out return to
	Nonce string
	Coveo *searchtoken.Page // nil where nothing is known of the visitor

	Plain plainView // of the plain page
	Error string    // of the error page
}

// User is the e-mail address of a visitor who is logged in.
func (v view) User() string {
	if v.Coveo == nil || len(v.Coveo.Identity.UserIDs) == 0 {
		return ""
	}
	id := v.Coveo.Identity.UserIDs[0]
	if id == searchtoken.Anonymous().UserIDs[0] {
		return ""
	}
	return id.Name
}

// TokenLife is how much longer the token is good, in words.
func (v view) TokenLife() string {
	left := time.Until(v.Coveo.Token.Expiry)
	if left >= 2*time.Hour {
		return fmt.Sprintf("%.0f hours", left.Hours())
	}
	return fmt.Sprintf("%.0f minutes", left.Minutes())
}

// parseTemplates returns the template of each page. It runs each of them once,
// so that a setting that a snippet does not take is told at start.
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
			return nil, fmt.Errorf("site: %w", err)
		}
		templates[name] = t
	}
	return templates, nil
}

// newView is what every page of a request shows.
func (s *Site) newView(r *http.Request) view {
	v := s.base
	v.Back = r.URL.RequestURI()
	v.Nonce = nonce(r)
	v.Coveo, _ = searchtoken.FromContext(r.Context())
	for _, p := range searchPages {
		if p.Path == r.URL.Path {
			v.Here, v.Title = p, p.Name
		}
	}
	return v
}

// page serves the page of that name, with the front ends that are on it.
func (s *Site) page(name string, frontEnds ...searchtoken.FrontEnd) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.newView(r)
		if s.browserURL != "" {
			page := *v.Coveo
			page.PlatformURL, page.AnalyticsURL = s.browserURL, s.browserURL
			v.Coveo = &page
		}
		policy, err := s.policy(v.Coveo, frontEnds)
		if err != nil {
			s.logger.ErrorContext(r.Context(), "site: the page has no policy", "page", name, "error", err)
			s.fail(w, r, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		s.render(w, r, http.StatusOK, name, v)
	})
}

// errorTexts are what a visitor may know of an error.
var errorTexts = map[int]string{
	http.StatusBadRequest:         "This form is not one of this site's.",
	http.StatusForbidden:          "This form was sent from another site.",
	http.StatusNotFound:           "There is no such page here.",
	http.StatusMethodNotAllowed:   "This address takes no requests of this kind.",
	http.StatusBadGateway:         "The search is not available. This site's operator has to look into it.",
	http.StatusServiceUnavailable: "The search is not available at the moment. Please try again in a minute.",
}

// fail answers with an error page.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int) {
	v := s.newView(r)
	v.Title = http.StatusText(status)
	v.Error = errorTexts[status]
	if v.Error == "" {
		v.Error = "Something went wrong on this site."
	}
	s.render(w, r, status, "error", v)
}

// render answers with a whole page, or with none.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	var b bytes.Buffer
	if err := s.templates[name].Execute(&b, v); err != nil {
		s.logger.ErrorContext(r.Context(), "site: the page was not rendered", "page", name, "error", err)
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = b.WriteTo(w)
}
