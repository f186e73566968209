package searchtokentest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// facetRequest is a facet in a query.
type facetRequest struct {
	FacetID        string `json:"facetId"`
	Field          string `json:"field"`
	Type           string `json:"type"` // specific (default), numericalRange, dateRange, hierarchical
	NumberOfValues int    `json:"numberOfValues"`
	CurrentValues  []struct {
		Value any    `json:"value"` // a string in facets of type specific
		State string `json:"state"`
	} `json:"currentValues"`
}

// facetResponse is a facet in the response to a query.
type facetResponse struct {
	FacetID             string       `json:"facetId"`
	Field               string       `json:"field"`
	MoreValuesAvailable bool         `json:"moreValuesAvailable"`
	Values              []facetValue `json:"values"`
	IndexScore          float64      `json:"indexScore"`
}

type facetValue struct {
	Value           string `json:"value"`
	State           string `json:"state"` // idle or selected
	NumberOfResults int    `json:"numberOfResults"`
}

func (f facetRequest) specific() bool { return f.Type == "" || f.Type == "specific" }

// fieldName returns the name of the facet's field in the index. JSUI sends it
// with an @, the other front ends without.
func (f facetRequest) fieldName() string { return strings.ToLower(strings.TrimPrefix(f.Field, "@")) }

// selected returns the values that the visitor has selected.
func (f facetRequest) selected() []string {
	if !f.specific() {
		return nil
	}
	var values []string
	for _, v := range f.CurrentValues {
		if text, ok := v.Value.(string); ok && v.State == "selected" {
			values = append(values, text)
		}
	}
	return values
}

// filterByFacets returns the matches that have a selected value in every facet
// with a selection. It ignores the facet at index except; -1 ignores none.
func filterByFacets(facets []facetRequest, except int, found []match) []match {
	for i, f := range facets {
		selected := f.selected()
		if i == except || len(selected) == 0 {
			continue
		}
		var kept []match
		for _, m := range found {
			if slices.Contains(selected, m.fields[f.fieldName()]) {
				kept = append(kept, m)
			}
		}
		found = kept
	}
	return found
}

// computeFacets counts the values of each facet. A facet ignores its own
// selection, so that the visitor can select a second value. Only facets of type
// specific have values.
func computeFacets(facets []facetRequest, found []match) []facetResponse {
	responses := []facetResponse{}
	for i, f := range facets {
		response := facetResponse{FacetID: f.FacetID, Field: f.Field, Values: []facetValue{}}
		if f.specific() {
			response.Values = countValues(f.fieldName(), f.selected(), filterByFacets(facets, i, found))
			if limit := max(f.NumberOfValues, len(f.selected())); limit > 0 && limit < len(response.Values) {
				response.Values = response.Values[:limit]
				response.MoreValuesAvailable = true
			}
		}
		responses = append(responses, response)
	}
	return responses
}

// countValues returns the values of a field: selected values first, then by
// descending number of results.
func countValues(field string, selected []string, found []match) []facetValue {
	counts := make(map[string]int)
	for _, value := range selected {
		counts[value] = 0
	}
	for _, m := range found {
		if value, ok := m.fields[field]; ok {
			counts[value]++
		}
	}
	values := []facetValue{}
	for value, n := range counts {
		state := "idle"
		if slices.Contains(selected, value) {
			state = "selected"
		}
		values = append(values, facetValue{Value: value, State: state, NumberOfResults: n})
	}
	slices.SortFunc(values, func(a, b facetValue) int {
		return cmp.Or(-cmp.Compare(a.State, b.State), b.NumberOfResults-a.NumberOfResults, cmp.Compare(a.Value, b.Value))
	})
	return values
}

// serveFacetSearch serves /rest/search/v2/facet: the values of one field that
// contain a text.
func (s *searchAPI) serveFacetSearch(w http.ResponseWriter, c *call, claims *Claims) {
	var params struct {
		Field         string       `json:"field"`
		Query         string       `json:"query"`        // the text, between asterisks
		IgnoreValues  []string     `json:"ignoreValues"` // the values that the facet already shows
		SearchContext searchParams `json:"searchContext"`
	}
	if json.Unmarshal(c.body, &params) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return
	}
	params.SearchContext.enforce(claims)
	found, err := s.find(claims, params.SearchContext)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	field := facetRequest{Field: params.Field}.fieldName()
	writeJSON(w, http.StatusOK, searchFacet(field, params.Query, params.IgnoreValues, found))
}

// facetSearchResponse is the response to a facet search.
type facetSearchResponse struct {
	Values              []facetSearchValue `json:"values"`
	MoreValuesAvailable bool               `json:"moreValuesAvailable"`
}

type facetSearchValue struct {
	DisplayValue string `json:"displayValue"`
	RawValue     string `json:"rawValue"`
	Count        int    `json:"count"`
}

// searchFacet returns the values of a field that contain a text, which may
// stand between asterisks.
func searchFacet(field, text string, ignored []string, found []match) facetSearchResponse {
	response := facetSearchResponse{Values: []facetSearchValue{}}
	text = strings.ToLower(strings.Trim(text, "*"))
	for _, v := range countValues(field, nil, found) {
		if strings.Contains(strings.ToLower(v.Value), text) && !slices.Contains(ignored, v.Value) {
			response.Values = append(response.Values, facetSearchValue{v.Value, v.Value, v.NumberOfResults})
		}
	}
	return response
}
