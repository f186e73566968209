package searchtokentest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// searchAPI serves the query API: queries, suggestions, query plans, facet
// search, item previews and the list of fields.
type searchAPI struct {
	documents []*entry
	tokens    *issuer
	answers   *generator
}

// authenticated calls next if the request has a valid search token for the
// platform's organization.
func (s *searchAPI) authenticated(next func(http.ResponseWriter, *call, *Claims)) handlerFunc {
	return func(w http.ResponseWriter, c *call) {
		if c.Method != http.MethodGet && c.Method != http.MethodPost {
			w.Header().Set("Allow", "GET, POST")
			writeError(w, http.StatusMethodNotAllowed, "Use GET or POST.")
			return
		}
		claims, err := s.tokens.verify(tokenOf(c.Request))
		switch {
		case errors.Is(err, errExpiredToken):
			writeError(w, statusExpiredToken, errorMessage(statusExpiredToken))
		case err != nil:
			writeError(w, http.StatusUnauthorized, errorMessage(http.StatusUnauthorized))
		case !isForOrganization(c, s.tokens.organization):
			writeUnknownOrganization(w)
		default:
			next(w, c, claims)
		}
	}
}

// searchParams holds the parameters of a query that have an effect here. Others
// that front ends send are ignored.
type searchParams struct {
	Q               string         `json:"q"`
	AQ              string         `json:"aq"`
	CQ              string         `json:"cq"`
	SearchHub       string         `json:"searchHub"`
	Pipeline        string         `json:"pipeline"`
	Recommendation  string         `json:"recommendation"` // the ID of a list of recommendations; "": a query
	FirstResult     int            `json:"firstResult"`
	NumberOfResults int            `json:"numberOfResults"`
	Facets          []facetRequest `json:"facets"`
}

// parseSearch reads a query from the URL and from the body: JSON from Headless
// and Atomic, a form from JSUI.
func parseSearch(c *call) (searchParams, error) {
	p := searchParams{NumberOfResults: 10}
	if err := p.set(c.URL.Query()); err != nil {
		return p, err
	}
	if len(c.body) > 0 {
		switch mediaType(c.Request) {
		case "application/json":
			if json.Unmarshal(c.body, &p) != nil {
				return p, errors.New("the request body is not the JSON of a query")
			}
		case "application/x-www-form-urlencoded":
			form, err := url.ParseQuery(string(c.body))
			if err != nil {
				return p, errors.New("the request body is not a form")
			}
			if err := p.set(form); err != nil {
				return p, err
			}
		default:
			return p, errors.New("the request body must be JSON or a form")
		}
	}
	if p.FirstResult < 0 || p.NumberOfResults < 0 {
		return p, errors.New("firstResult and numberOfResults must not be negative")
	}
	return p, nil
}

// set sets the parameters that values contains.
func (p *searchParams) set(values url.Values) error {
	for name, field := range map[string]*string{
		"q": &p.Q, "aq": &p.AQ, "cq": &p.CQ, "searchHub": &p.SearchHub, "pipeline": &p.Pipeline,
		"recommendation": &p.Recommendation,
	} {
		if values.Has(name) {
			*field = values.Get(name)
		}
	}
	for name, field := range map[string]*int{"firstResult": &p.FirstResult, "numberOfResults": &p.NumberOfResults} {
		if text := values.Get(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%s must be an integer", name)
			}
			*field = n
		}
	}
	// JSUI sends JSON in its form fields.
	if text := values.Get("facets"); text != "" && json.Unmarshal([]byte(text), &p.Facets) != nil {
		return errors.New("facets must be a JSON array")
	}
	return nil
}

// enforce replaces the search hub and the pipeline of the query by those of the
// token, if it has any.
func (p *searchParams) enforce(claims *Claims) {
	p.SearchHub = cmp.Or(claims.SearchHub, p.SearchHub)
	p.Pipeline = cmp.Or(claims.Pipeline, p.Pipeline, "default")
}

// find returns the documents that the holder of the token finds with params,
// best first. It ignores facets.
func (s *searchAPI) find(claims *Claims, params searchParams) ([]match, error) {
	var conditions []condition
	for _, expression := range []struct{ name, text string }{
		{"the token's filter", claims.Filter}, {"cq", params.CQ}, {"aq", params.AQ},
	} {
		parsed, err := parseFilter(expression.text)
		if err != nil {
			return nil, fmt.Errorf("cannot parse %s: %w", expression.name, err)
		}
		conditions = append(conditions, parsed...)
	}
	queryWords := splitWords(params.Q)
	var found []match
	for _, e := range s.documents {
		fails := func(c condition) bool { return !c.holdsFor(e) }
		if !e.visibleTo(claims.UserIDs) || !e.inHub(params.SearchHub) || slices.ContainsFunc(conditions, fails) {
			continue
		}
		if m, ok := e.matchWords(queryWords); ok {
			found = append(found, m)
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return b.score - a.score })
	return found, nil
}

// serveSearch serves GET and POST /rest/search/v2: queries and recommendations.
// Recommendations are the results of the query in the same request.
func (s *searchAPI) serveSearch(w http.ResponseWriter, c *call, claims *Claims) {
	start := time.Now()
	params, err := parseSearch(c)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	params.enforce(claims)
	c.update(func(r *Request) { r.SearchHub = params.SearchHub })

	found, err := s.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	facets := computeFacets(params.Facets, found)
	found = filterByFacets(params.Facets, -1, found)
	first := min(params.FirstResult, len(found))
	page := found[first : first+min(params.NumberOfResults, len(found)-first)]

	response := newSearchResponse(params, facets, len(found), time.Since(start))
	if params.Recommendation == "" {
		response.ExtendedResults.AnswerID = s.answers.streamID(question{Q: params.Q, SearchHub: params.SearchHub})
	}
	for _, m := range page {
		r := newResult(m, response.SearchUID)
		r.IsRecommendation = params.Recommendation != ""
		response.Results = append(response.Results, r)
	}
	writeJSON(w, http.StatusOK, response)
}
