package searchtokentest

import (
	_ "embed" // for loaderScript
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// loaderScript is a function expression that takes a loaderConfig.
//
//go:embed ipx_loader.js
var loaderScript string

// loader is what the path of an In-Product Experience's loader names.
type loader struct {
	organization string
	id           string // of the page, or of the interface
	classic      bool
}

// parseLoader knows the paths of the classic loader and of the IPX builder's.
func parseLoader(path string) (l loader, ok bool) {
	parts := strings.Split(path, "/") // the first is empty
	if len(parts) < 7 || parts[1] != "rest" || parts[2] != "organizations" {
		return loader{}, false
	}
	l.organization = parts[3]
	switch rest := parts[4:]; {
	case len(rest) == 4 && rest[0] == "pages" && rest[2] == "inappwidget" && rest[3] == "loader":
		l.id, l.classic = rest[1], true
	case len(rest) == 5 && rest[0] == "ipxinterface" && rest[1] == "v1" && rest[2] == "interfaces" && rest[4] == "loader":
		l.id = rest[3]
	default:
		return loader{}, false
	}
	return l, l.id != ""
}

// loaderConfig is what the script learns from the platform.
type loaderConfig struct {
	OrganizationID string `json:"organizationId"`
	ID             string `json:"id"`
	Token          string `json:"token"`
	Classic        bool   `json:"classic"`
}

// serveLoader answers with a script that holds the token of the query, or that of an anonymous visitor without one.
func (p *Platform) serveLoader(w http.ResponseWriter, c *call, l loader) {
	token := c.URL.Query().Get("access_token")
	_, err := p.tokens.verify(token, p.now())
	switch {
	case c.Method != http.MethodGet && c.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		writeLoaderError(w, http.StatusMethodNotAllowed, "Use GET.")
		return
	case l.organization != p.organization:
		writeLoaderError(w, http.StatusNotFound, "The organization does not exist.")
		return
	case token == "":
		token = p.IssueToken(Claims{UserIDs: []UserID{{Name: "anonymous", Provider: EmailSecurityProvider}}})
	case errors.Is(err, errExpiredToken):
		writeLoaderError(w, http.StatusForbidden, "The access token has expired.")
		return
	case err != nil:
		writeLoaderError(w, http.StatusBadRequest, "The access token is not valid.")
		return
	}
	// encoding/json escapes all that could end a script or a string.
	config, _ := json.Marshal(loaderConfig{OrganizationID: p.organization, ID: l.id, Token: token, Classic: l.classic})
	defaultContentType(w.Header(), "text/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", "private, no-store")
	_, _ = w.Write([]byte(strings.TrimSpace(loaderScript) + "(" + string(config) + ");\n"))
}

// writeLoaderError writes an error as the APIs of In-Product Experiences shape it.
func writeLoaderError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		ErrorCode int    `json:"errorCode"`
		Message   string `json:"message"`
	}{status, message})
}
