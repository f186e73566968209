package searchtokentest

import "net/http"

// servePlan serves /rest/search/v2/plan: the query unchanged, and no triggers.
func (s *searchAPI) servePlan(w http.ResponseWriter, c *call, _ *Claims) {
	params, err := parseSearch(c)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	type input struct {
		BasicExpression string `json:"basicExpression"`
		LargeExpression string `json:"largeExpression"`
	}
	type output struct {
		Triggers []any `json:"triggers"`
	}
	writeJSON(w, http.StatusOK, struct {
		ParsedInput         input  `json:"parsedInput"`
		PreprocessingOutput output `json:"preprocessingOutput"`
	}{input{BasicExpression: params.Q}, output{Triggers: []any{}}})
}
