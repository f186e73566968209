package searchtoken

import (
	"net/url"
	gopath "path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// operation is a call of Coveo that a [Middleware.ProxyHandler] forwards.
type operation struct {
	method string
	path   string // {org} stands for the organization's ID, {id} for any ID
	host   operationHost
	answer answerKind
}

// operationHost is the host that an operation belongs to.
type operationHost int

const (
	platformHost operationHost = iota
	analyticsHost
)

// answerKind says what the answer of an operation is.
type answerKind int

const (
	jsonAnswer     answerKind = iota
	documentAnswer            // markup or text of an indexed document
	streamAnswer              // server-sent events
)

// operations are all operations that a ProxyHandler forwards. Their sources:
// JSUI is src/rest/SearchEndpoint.ts and AnalyticsEndpoint.ts of
// coveo-search-ui 2.10126.2; Headless is the directory api of
// @coveo/headless 3.50.1; coveo.analytics and relay are the libraries that
// Headless sends its events with.
var operations = []operation{
	// Queries and recommendations: JSUI (search), Headless (search-api-client),
	// https://docs.coveo.com/en/13/api-reference/search-api
	{"POST", "/rest/search/v2", platformHost, jsonAnswer},
	{"GET", "/rest/search/v2", platformHost, jsonAnswer},
	// JSUI (getQuerySuggest), Headless (search-api-client)
	{"POST", "/rest/search/v2/querySuggest", platformHost, jsonAnswer},
	{"GET", "/rest/search/v2/querySuggest", platformHost, jsonAnswer},
	// JSUI (facetSearch, plan), Headless (search-api-client)
	{"POST", "/rest/search/v2/facet", platformHost, jsonAnswer},
	{"POST", "/rest/search/v2/plan", platformHost, jsonAnswer},
	// JSUI (listFieldValues, listFieldValuesBatch)
	{"POST", "/rest/search/v2/values", platformHost, jsonAnswer},
	{"POST", "/rest/search/v2/values/batch", platformHost, jsonAnswer},
	// JSUI (listFields), Headless (search-api-client)
	{"GET", "/rest/search/v2/fields", platformHost, jsonAnswer},
	// JSUI (getDocument)
	{"GET", "/rest/search/v2/document", platformHost, jsonAnswer},
	// JSUI (getDocumentHtml, getViewAsHtmlUri), Headless (html-api-client)
	{"POST", "/rest/search/v2/html", platformHost, documentAnswer},
	{"GET", "/rest/search/v2/html", platformHost, documentAnswer},
	// JSUI (getDocumentText, getRawDataStream, getViewAsDatastreamUri)
	{"GET", "/rest/search/v2/text", platformHost, documentAnswer},
	{"GET", "/rest/search/v2/datastream", platformHost, documentAnswer},

	// JSUI (AnalyticsEndpoint.ts)
	{"POST", "/rest/ua/v15/analytics/search", analyticsHost, jsonAnswer},
	{"POST", "/rest/ua/v15/analytics/searches", analyticsHost, jsonAnswer},
	{"POST", "/rest/ua/v15/analytics/click", analyticsHost, jsonAnswer},
	{"POST", "/rest/ua/v15/analytics/custom", analyticsHost, jsonAnswer},
	{"POST", "/rest/ua/v15/analytics/view", analyticsHost, jsonAnswer},
	{"POST", "/rest/ua/v15/analytics/collect", analyticsHost, jsonAnswer},
	// coveo.analytics (AnalyticsFetchClient, AnalyticsBeaconClient)
	{"POST", "/rest/v15/analytics/search", analyticsHost, jsonAnswer},
	{"POST", "/rest/v15/analytics/searches", analyticsHost, jsonAnswer},
	{"POST", "/rest/v15/analytics/click", analyticsHost, jsonAnswer},
	{"POST", "/rest/v15/analytics/custom", analyticsHost, jsonAnswer},
	{"POST", "/rest/v15/analytics/view", analyticsHost, jsonAnswer},
	{"POST", "/rest/v15/analytics/collect", analyticsHost, jsonAnswer},
	// relay (emit)
	{"POST", "/rest/organizations/{org}/events/v1", analyticsHost, jsonAnswer},

	// Headless (generated-answer-client, stream-answer-api,
	// post-answer-evaluation, agents)
	{"GET", "/rest/organizations/{org}/machinelearning/streaming/{id}", platformHost, streamAnswer},
	{"POST", "/rest/organizations/{org}/answer/v1/configs/{id}/generate", platformHost, streamAnswer},
	{"POST", "/rest/organizations/{org}/answer/v1/configs/{id}/evaluations", platformHost, jsonAnswer},
	{"POST", "/api/preview/organizations/{org}/agents/{id}/answer", platformHost, streamAnswer},
	{"POST", "/api/preview/organizations/{org}/agents/{id}/follow-up", platformHost, streamAnswer},

	// Headless (commerce-api-client)
	{"POST", "/rest/organizations/{org}/commerce/v2/search", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/listing", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/recommendations", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/search/querySuggest", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/search/productSuggest", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/search/redirect", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/facet", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/badges", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/commerce/v2/tracking-ids/{id}/badges", platformHost, jsonAnswer},

	// Headless (insight-params, user-actions-request,
	// insight-result-preview-request-builder, stream-answer-api)
	{"POST", "/rest/organizations/{org}/insight/v1/configs/{id}/search", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/insight/v1/configs/{id}/querysuggest", platformHost, jsonAnswer},
	{"GET", "/rest/organizations/{org}/insight/v1/configs/{id}/interface", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/insight/v1/configs/{id}/html", platformHost, documentAnswer},
	{"GET", "/rest/organizations/{org}/insight/v1/configs/{id}/html", platformHost, documentAnswer},
	{"POST", "/rest/organizations/{org}/insight/v1/configs/{id}/quickview", platformHost, documentAnswer},
	{"GET", "/rest/organizations/{org}/insight/v1/configs/{id}/quickview", platformHost, documentAnswer},
	{"POST", "/rest/organizations/{org}/insight/v1/configs/{id}/answer/{id}/generate", platformHost, streamAnswer},
	{"POST", "/rest/organizations/{org}/machinelearning/user/actions", platformHost, jsonAnswer},
	// Headless (case-assist)
	{"POST", "/rest/organizations/{org}/caseassists/{id}/classify", platformHost, jsonAnswer},
	{"POST", "/rest/organizations/{org}/caseassists/{id}/documents/suggest", platformHost, jsonAnswer},
}

// suggests reports whether op answers with suggestions for what the user types.
func (op *operation) suggests() bool {
	return strings.HasSuffix(strings.ToLower(op.path), "suggest")
}

// findOperation returns the operation of a request, and the path to ask Coveo
// for. path is escaped; prefix is what may stand in front of the operation.
// Otherwise, the operation starts with the first segment "rest" or "api".
func findOperation(method, path, prefix, organization string) (op *operation, upstreamPath string) {
	if rest, ok := strings.CutPrefix(path, prefix+"/"); ok && prefix != "" {
		path = "/" + rest
	} else {
		start := operationStart(path)
		if !isPlainPrefix(path[:start]) {
			return nil, ""
		}
		path = path[start:]
	}
	for i := range operations {
		if op := &operations[i]; op.method == method {
			if upstreamPath, ok := op.match(path, organization); ok {
				return op, upstreamPath
			}
		}
	}
	return nil, ""
}

func operationStart(path string) int {
	start := len(path)
	for _, segment := range []string{"/rest/", "/api/"} {
		if i := strings.Index(path, segment); i >= 0 {
			start = min(start, i)
		}
	}
	return start
}

// isPlainPrefix reports whether each layer of a site reads an escaped prefix as
// the same path.
func isPlainPrefix(escaped string) bool {
	prefix, err := url.PathUnescape(escaped)
	return err == nil && (prefix == "" || gopath.Clean(prefix) == prefix) && !strings.ContainsAny(prefix, `%;\`) &&
		strings.Count(prefix, "/") == strings.Count(escaped, "/")
}

// match reports whether path is one of op, and returns it with each ID in its
// usual spelling.
func (op *operation) match(path, organization string) (upstreamPath string, ok bool) {
	if !strings.Contains(op.path, "{") {
		return path, path == op.path
	}
	want, got := strings.Split(op.path, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return "", false
	}
	for i, segment := range got {
		switch want[i] {
		case "{org}":
			ok = segment == organization
		case "{id}":
			got[i], ok = canonicalID(segment)
		default:
			ok = segment == want[i]
		}
		if !ok {
			return "", false
		}
	}
	return strings.Join(got, "/"), true
}

// canonicalID returns an escaped ID in the spelling that Coveo gets. An ID with
// a character that has a meaning in a path is refused.
func canonicalID(segment string) (id string, ok bool) {
	id, err := url.PathUnescape(segment)
	if err != nil || id == "" || id == "." || id == ".." || len(id) > 256 || !utf8.ValidString(id) ||
		strings.ContainsAny(id, `/\%;?#`) || strings.ContainsFunc(id, unicode.IsControl) {
		return "", false
	}
	return url.PathEscape(id), true
}
