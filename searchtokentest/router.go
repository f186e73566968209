package searchtokentest

import (
	"net/http"
	"strings"
)

// router finds the handler of a request by its path.
type router struct {
	token       tokenAPI
	search      searchAPI
	analytics   analyticsAPI
	experiences experienceAPI
}

type handlerFunc func(w http.ResponseWriter, c *call)

// route returns the kind of a request, and its handler.
func (rt *router) route(r *http.Request) (Kind, handlerFunc) {
	if r.Method == http.MethodOptions {
		return KindPreflight, servePreflight
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch path {
	case "/rest/search/v2/token":
		return KindToken, rt.token.serve
	case "/rest/search/v2":
		return KindSearch, rt.search.authenticated(rt.search.serveSearch)
	case "/rest/search/v2/querySuggest":
		return KindSuggest, rt.search.authenticated(rt.search.serveSuggest)
	case "/rest/search/v2/plan":
		return KindOther, rt.search.authenticated(rt.search.servePlan)
	case "/rest/search/v2/facet":
		return KindOther, rt.search.authenticated(rt.search.serveFacetSearch)
	case "/rest/search/v2/html":
		return KindOther, rt.search.authenticated(rt.search.servePreview)
	}
	if event, ok := analyticsEvent(path); ok {
		return KindAnalytics, func(w http.ResponseWriter, c *call) { rt.analytics.serve(w, c, event) }
	}
	if e, ok := parseExperience(path); ok {
		return KindIPX, func(w http.ResponseWriter, c *call) { rt.experiences.serve(w, c, e) }
	}
	return KindOther, func(w http.ResponseWriter, _ *call) {
		writeError(w, http.StatusNotFound, "There is nothing at this path.")
	}
}

// isForOrganization reports whether every organization that the request names
// is the given one. A request may name none, because the API key or the token
// identifies the organization too.
func isForOrganization(r *http.Request, organization string) bool {
	for name, values := range r.URL.Query() {
		// Some clients send organizationid.
		if strings.EqualFold(name, "organizationId") {
			for _, v := range values {
				if v != organization {
					return false
				}
			}
		}
	}
	return true
}

// bearer returns the credential in the Authorization header, or "".
func bearer(r *http.Request) string {
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(credential)
}

// tokenOf returns the search token in the Authorization header, or else in the
// query, or "".
func tokenOf(r *http.Request) string {
	if token := bearer(r); token != "" {
		return token
	}
	return r.URL.Query().Get("access_token")
}

// allowOrigin lets pages of every origin call the platform with credentials, as
// Coveo does.
func allowOrigin(h http.Header, r *http.Request) {
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "X-Request-ID")
	}
}

func servePreflight(w http.ResponseWriter, c *call) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	if names := c.Header.Get("Access-Control-Request-Headers"); names != "" {
		h.Set("Access-Control-Allow-Headers", names)
	}
	w.WriteHeader(http.StatusNoContent)
}
