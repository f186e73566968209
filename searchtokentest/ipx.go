package searchtokentest

import (
	_ "embed" // for what runs in the browser
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strings"
)

// The scripts are function expressions that take an ipxConfig.
var (
	//go:embed ipx_loader.js
	classicScript string

	//go:embed ipx_builder.js
	builderScript string

	//go:embed ipx_page.html
	framedPageHTML string

	framedPageTemplate = template.Must(template.New("ipx_page.html").Parse(framedPageHTML))
)

// experiencePart is what a browser gets of an In-Product Experience.
type experiencePart int

const (
	classicLoader experiencePart = iota
	builderLoader
	framedPage // the page in the frame of the classic loader
)

// experience is what a path of an In-Product Experience names.
type experience struct {
	organization string
	id           string // of the page, or of the interface
	part         experiencePart
}

// parseExperience knows the paths of both loaders and of the framed page.
func parseExperience(path string) (e experience, ok bool) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	matches := func(pattern ...string) bool {
		if len(parts) != len(pattern) {
			return false
		}
		for i, want := range pattern {
			switch want {
			case "{organization}":
				e.organization = parts[i]
			case "{id}":
				e.id = parts[i]
			case parts[i]:
			default:
				return false
			}
		}
		return e.id != ""
	}
	switch {
	case matches("rest", "organizations", "{organization}", "pages", "{id}", "inappwidget", "loader"):
		e.part = classicLoader
	case matches("rest", "organizations", "{organization}", "ipxinterface", "v1", "interfaces", "{id}", "loader"):
		e.part = builderLoader
	case matches("pages", "{organization}", "inappwidget", "{id}"):
		e.part = framedPage
	default:
		return experience{}, false
	}
	return e, true
}

// ipxConfig is what a loader or the framed page learns from the platform.
type ipxConfig struct {
	OrganizationID string `json:"organizationId"`
	ID             string `json:"id"`
	Token          string `json:"token"`
}

// serveExperience answers with a loader or the framed page, either of which holds the token to search with.
func (p *Platform) serveExperience(w http.ResponseWriter, c *call, e experience) {
	token, status, message := p.experienceToken(w, c, e)
	config := ipxConfig{OrganizationID: p.organization, ID: e.id, Token: token}
	w.Header().Set("Cache-Control", "private, no-store")
	switch {
	case e.part == framedPage:
		writeFramedPage(w, status, config, message)
	case message != "":
		writeLoaderError(w, status, message)
	case e.part == builderLoader:
		writeLoader(w, builderScript, config)
	default:
		writeLoader(w, classicScript, config)
	}
}

// experienceToken returns the token of the query, or that of an anonymous visitor where there is none. With a message,
// there is nothing to search with.
func (p *Platform) experienceToken(
	w http.ResponseWriter, c *call, e experience,
) (token string, status int, message string) {
	token = c.URL.Query().Get("access_token")
	_, err := p.tokens.verify(token, p.now())
	switch {
	case c.Method != http.MethodGet && c.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return "", http.StatusMethodNotAllowed, "Use GET."
	case e.organization != p.organization:
		return "", http.StatusNotFound, "The organization does not exist."
	case token == "":
		token = p.IssueToken(Claims{UserIDs: []UserID{{Name: "anonymous", Provider: EmailSecurityProvider}}})
	case errors.Is(err, errExpiredToken):
		return "", http.StatusForbidden, "The access token has expired."
	case err != nil:
		return "", http.StatusBadRequest, "The access token is not valid."
	}
	return token, http.StatusOK, ""
}

func writeLoader(w http.ResponseWriter, script string, config ipxConfig) {
	// encoding/json escapes all that could end a script or a string.
	argument, _ := json.Marshal(config)
	defaultContentType(w.Header(), "text/javascript; charset=utf-8")
	_, _ = w.Write([]byte(strings.TrimSpace(script) + "(" + string(argument) + ");\n"))
}

// writeLoaderError writes an error as the APIs of In-Product Experiences shape it.
func writeLoaderError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}{status, message})
}

// writeFramedPage writes the search page, or one that shows a message instead. Pages of any site may frame it.
func writeFramedPage(w http.ResponseWriter, status int, config ipxConfig, message string) {
	defaultContentType(w.Header(), "text/html; charset=utf-8")
	// The page's own address has the token in it.
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_ = framedPageTemplate.Execute(w, struct {
		Config ipxConfig
		Error  string
	}{config, message})
}
