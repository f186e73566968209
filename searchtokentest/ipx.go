package searchtokentest

import (
	_ "embed" // for the scripts and the page
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"strings"
)

// Both scripts are function expressions with one parameter, an ipxConfig.
var (
	//go:embed ipx_loader.js
	classicScript string

	//go:embed ipx_builder.js
	builderScript string

	//go:embed ipx_page.html
	framedPageHTML string

	framedPageTemplate = template.Must(template.New("ipx_page.html").Parse(framedPageHTML))
)

// experiencePart is one of the parts of In-Product Experiences that a browser
// loads.
type experiencePart int

const (
	classicLoader experiencePart = iota
	builderLoader
	framedPage // the page in the frame of the classic loader
)

// experience identifies a part of an In-Product Experience.
type experience struct {
	organization string
	id           string // the id of the page (classic) or of the interface (IPX builder)
	part         experiencePart
}

// experiencePaths has the path of each part, for [matchPath].
var experiencePaths = map[experiencePart]string{
	classicLoader: "/rest/organizations/{organization}/pages/{id}/inappwidget/loader",
	builderLoader: "/rest/organizations/{organization}/ipxinterface/v1/interfaces/{id}/loader",
	framedPage:    "/pages/{organization}/inappwidget/{id}",
}

// parseExperience parses the path of a loader or of the framed page. ok is
// false for other paths.
func parseExperience(path string) (e experience, ok bool) {
	for part, pattern := range experiencePaths {
		if values, ok := matchPath(path, pattern); ok {
			return experience{organization: values["organization"], id: values["id"], part: part}, true
		}
	}
	return experience{}, false
}

// ipxConfig is the configuration in a loader or in the framed page.
type ipxConfig struct {
	OrganizationID string `json:"organizationId"`
	ID             string `json:"id"`
	Token          string `json:"token"`
}

// experienceAPI serves In-Product Experiences.
type experienceAPI struct{ tokens *issuer }

// serve serves a loader or the framed page. Both contain the token that they
// search with.
func (a *experienceAPI) serve(w http.ResponseWriter, c *call, e experience) {
	token, status, message := a.token(w, c, e)
	config := ipxConfig{OrganizationID: a.tokens.organization, ID: e.id, Token: token}
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

// token returns the token in the URL's query, or one for an anonymous visitor
// if there is none. If the request is refused, it returns an error status with
// a message; otherwise message is "".
func (a *experienceAPI) token(w http.ResponseWriter, c *call, e experience) (token string, status int, message string) {
	token = c.URL.Query().Get("access_token")
	_, err := a.tokens.verify(token)
	switch {
	case c.Method != http.MethodGet && c.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return "", http.StatusMethodNotAllowed, "Use GET."
	case e.organization != a.tokens.organization:
		return "", http.StatusNotFound, "The organization does not exist."
	case token == "":
		anonymous := Claims{UserIDs: []UserID{{Name: "anonymous", Provider: EmailSecurityProvider}}}
		token, _ = a.tokens.issue(anonymous, maxValidFor)
	case errors.Is(err, errExpiredToken):
		return "", http.StatusForbidden, "The access token has expired."
	case err != nil:
		return "", http.StatusBadRequest, "The access token is not valid."
	}
	return token, http.StatusOK, ""
}

func writeLoader(w http.ResponseWriter, script string, config ipxConfig) {
	// encoding/json escapes every character that could end a script or a
	// string.
	argument, _ := json.Marshal(config)
	setDefaultContentType(w.Header(), "text/javascript; charset=utf-8")
	_, _ = w.Write([]byte(strings.TrimSpace(script) + "(" + string(argument) + ");\n"))
}

// writeLoaderError writes an error in the format of the APIs of In-Product
// Experiences.
func writeLoaderError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}{status, message})
}

// writeFramedPage writes the search page, or a page that shows message if it is
// not "". Pages of any site may frame it.
func writeFramedPage(w http.ResponseWriter, status int, config ipxConfig, message string) {
	setDefaultContentType(w.Header(), "text/html; charset=utf-8")
	// The page's URL contains the token.
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_ = framedPageTemplate.Execute(w, struct {
		Config ipxConfig
		Error  string
	}{config, message})
}
