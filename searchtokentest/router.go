package searchtokentest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// router finds the handler of a request by its path.
type router struct {
	token       tokenAPI
	search      searchAPI
	analytics   analyticsAPI
	experiences experienceAPI

	operations []operation // the calls that need a search token
}

type handlerFunc func(w http.ResponseWriter, c *call)

// operation is a call that needs a search token. Its path may have variables,
// as in [matchPath].
type operation struct {
	path  string
	kind  Kind
	serve func(http.ResponseWriter, *call, *Claims)
}

// newRouter returns a router for a platform with these documents.
func newRouter(apiKey string, documents []Document, tokens *issuer, answers *generator) *router {
	rt := &router{
		token:       tokenAPI{apiKey: apiKey, tokens: tokens},
		search:      searchAPI{documents: newIndex(documents), tokens: tokens, answers: answers},
		analytics:   analyticsAPI{tokens: tokens},
		experiences: experienceAPI{tokens: tokens},
	}
	preview := rt.search.withDocument(servePreview)
	answer := answerAPI{search: &rt.search, answers: answers}
	commerce := commerceAPI{search: &rt.search}
	service := serviceAPI{search: &rt.search}
	const (
		organization = "/rest/organizations/{organization}"
		agent        = "/api/preview/organizations/{organization}/agents/{id}"
		products     = organization + "/commerce/v2"
		insight      = organization + "/insight/v1/configs/{id}"
		caseAssist   = organization + "/caseassists/{id}"
	)
	rt.operations = []operation{
		{"/rest/search/v2", KindSearch, rt.search.serveSearch},
		{"/rest/search/v2/querySuggest", KindSuggest, rt.search.serveSuggest},
		{"/rest/search/v2/plan", KindOther, rt.search.servePlan},
		{"/rest/search/v2/facet", KindOther, rt.search.serveFacetSearch},
		{"/rest/search/v2/values", KindOther, rt.search.serveValues},
		{"/rest/search/v2/values/batch", KindOther, rt.search.serveValuesBatch},
		{"/rest/search/v2/html", KindOther, preview},
		{"/rest/search/v2/datastream", KindOther, preview},
		{"/rest/search/v2/text", KindOther, rt.search.withDocument(serveText)},
		{"/rest/search/v2/document", KindOther, rt.search.withDocument(serveDocument)},
		{"/rest/search/v2/fields", KindOther, rt.search.serveFields},

		{organization + "/machinelearning/streaming/{id}", KindAnswer, answer.serveStream},
		{organization + "/answer/v1/configs/{id}/generate", KindAnswer, answer.serveGenerate},
		{organization + "/answer/v1/configs/{id}/evaluations", KindAnswer, answer.serveEvaluation},
		{agent + "/answer", KindAnswer, answer.serveAgent},
		{agent + "/follow-up", KindAnswer, answer.serveAgent},

		{products + "/search", KindCommerce, commerce.serveProducts},
		{products + "/listing", KindCommerce, commerce.serveProducts},
		{products + "/recommendations", KindCommerce, commerce.serveProducts},
		{products + "/search/productSuggest", KindCommerce, commerce.serveProducts},
		{products + "/search/querySuggest", KindCommerce, commerce.serveSuggest},
		{products + "/search/redirect", KindCommerce, commerce.serveRedirect},
		{products + "/facet", KindCommerce, commerce.serveFacetSearch},
		{products + "/badges", KindCommerce, commerce.serveBadges},
		{products + "/tracking-ids/{trackingId}/badges", KindCommerce, commerce.serveBadges},

		{insight + "/interface", KindService, service.serveInterface},
		{insight + "/search", KindService, rt.search.serveSearch},
		{insight + "/querysuggest", KindService, rt.search.serveSuggest},
		{insight + "/html", KindService, preview},
		{insight + "/quickview", KindService, preview},
		{insight + "/answer/{answerId}/generate", KindAnswer, answer.serveGenerate},
		{organization + "/machinelearning/user/actions", KindService, service.serveUserActions},
		{caseAssist + "/classify", KindService, service.serveClassifications},
		{caseAssist + "/documents/suggest", KindService, service.serveDocuments},
	}
	return rt
}

// route returns the kind of a request, and its handler. It sets the variables
// of the path as the request's path values.
func (rt *router) route(r *http.Request) (Kind, handlerFunc) {
	if r.Method == http.MethodOptions {
		return KindPreflight, servePreflight
	}
	path := strings.TrimSuffix(r.URL.Path, "/")
	if path == "/rest/search/v2/token" {
		return KindToken, rt.token.serve
	}
	for _, o := range rt.operations {
		if values, ok := matchPath(path, o.path); ok {
			for name, value := range values {
				r.SetPathValue(name, value)
			}
			return o.kind, rt.search.authenticated(o.serve)
		}
	}
	if event, organization, ok := analyticsEvent(path); ok {
		r.SetPathValue("organization", organization)
		return KindAnalytics, func(w http.ResponseWriter, c *call) { rt.analytics.serve(w, c, event) }
	}
	if e, ok := parseExperience(path); ok {
		return KindIPX, func(w http.ResponseWriter, c *call) { rt.experiences.serve(w, c, e) }
	}
	return KindOther, func(w http.ResponseWriter, _ *call) {
		writeError(w, http.StatusNotFound, "There is nothing at this path.")
	}
}

// matchPath reports whether path matches pattern. A segment of the pattern in
// braces is a variable: it matches any segment that is not empty. values has
// the segments that variables match.
func matchPath(path, pattern string) (values map[string]string, ok bool) {
	segments, want := strings.Split(path, "/"), strings.Split(pattern, "/")
	if len(segments) != len(want) {
		return nil, false
	}
	values = make(map[string]string)
	for i, segment := range segments {
		if name, variable := strings.CutPrefix(want[i], "{"); variable && segment != "" {
			values[strings.TrimSuffix(name, "}")] = segment
		} else if segment != want[i] {
			return nil, false
		}
	}
	return values, true
}

// isForOrganization reports whether every organization that the call names, in
// its path, its query or its form, is the given one. A call may name none,
// because the API key or the token identifies the organization too.
func isForOrganization(c *call, organization string) bool {
	if named := c.PathValue("organization"); named != "" && named != organization {
		return false
	}
	for _, values := range []url.Values{c.URL.Query(), c.form()} {
		for name, list := range values {
			// Some clients send organizationid. Analytics have org.
			if !strings.EqualFold(name, "organizationId") && name != "org" {
				continue
			}
			if slices.ContainsFunc(list, func(named string) bool { return named != organization }) {
				return false
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
		h.Set("Access-Control-Expose-Headers", "X-Request-ID, X-Answer-Id")
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
