package searchtokentest

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// facetRequest is a facet that a query asks for.
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

type facetAnswer struct {
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

// key is the name of the facet's field in the index. JSUI writes the @ that others leave out.
func (f facetRequest) key() string { return strings.ToLower(strings.TrimPrefix(f.Field, "@")) }

// selected returns the values that the visitor has picked.
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

// selectFacets keeps what has a selected value in every facet but the one at except; -1 excepts none.
func selectFacets(facets []facetRequest, except int, found []match) []match {
	for i, f := range facets {
		selected := f.selected()
		if i == except || len(selected) == 0 {
			continue
		}
		var kept []match
		for _, m := range found {
			if slices.Contains(selected, m.fields[f.key()]) {
				kept = append(kept, m)
			}
		}
		found = kept
	}
	return found
}

// computeFacets counts the values of each facet. A facet does not narrow itself down, so that a second value can be
// picked. Facets of other types than specific get no values.
func computeFacets(facets []facetRequest, found []match) []facetAnswer {
	answers := []facetAnswer{}
	for i, f := range facets {
		answer := facetAnswer{FacetID: f.FacetID, Field: f.Field, Values: []facetValue{}}
		if f.specific() {
			answer.Values = countValues(f.key(), f.selected(), selectFacets(facets, i, found))
			if limit := max(f.NumberOfValues, len(f.selected())); limit > 0 && limit < len(answer.Values) {
				answer.Values = answer.Values[:limit]
				answer.MoreValuesAvailable = true
			}
		}
		answers = append(answers, answer)
	}
	return answers
}

// countValues lists the values of a field: selected ones first, then the most frequent.
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

// serveFacetSearch answers /rest/search/v2/facet: the values of one field that contain a text.
func (p *Platform) serveFacetSearch(w http.ResponseWriter, c *call, claims *Claims) {
	var params struct {
		Field         string       `json:"field"`
		Query         string       `json:"query"`        // the text between asterisks
		IgnoreValues  []string     `json:"ignoreValues"` // what the facet shows already
		SearchContext searchParams `json:"searchContext"`
	}
	if json.Unmarshal(c.body, &params) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return
	}
	params.SearchContext.enforce(claims)
	found, err := p.find(claims, params.SearchContext)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	type value struct {
		DisplayValue string `json:"displayValue"`
		RawValue     string `json:"rawValue"`
		Count        int    `json:"count"`
	}
	answer := struct {
		Values              []value `json:"values"`
		MoreValuesAvailable bool    `json:"moreValuesAvailable"`
	}{Values: []value{}}
	text := strings.ToLower(strings.Trim(params.Query, "*"))
	for _, v := range countValues(facetRequest{Field: params.Field}.key(), nil, found) {
		if strings.Contains(strings.ToLower(v.Value), text) && !slices.Contains(params.IgnoreValues, v.Value) {
			answer.Values = append(answer.Values, value{v.Value, v.Value, v.NumberOfResults})
		}
	}
	writeJSON(w, http.StatusOK, answer)
}
