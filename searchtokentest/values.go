package searchtokentest

import (
	"encoding/json"
	"net/http"
)

// valuesRequest asks for the values of a field in the documents that a query
// finds.
type valuesRequest struct {
	Field string `json:"field"`
	Query string `json:"queryOverride"`
}

// fieldValue is a value of a field.
type fieldValue struct {
	Value           string `json:"value"`
	LookupValue     string `json:"lookupValue"`
	NumberOfResults int    `json:"numberOfResults"`
}

// serveValues serves /rest/search/v2/values, which JSUI asks with a form.
func (s *searchAPI) serveValues(w http.ResponseWriter, c *call, claims *Claims) {
	req := valuesRequest{Field: c.form().Get("field"), Query: c.form().Get("queryOverride")}
	if c.form() == nil && json.Unmarshal(c.body, &req) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return
	}
	values, err := s.fieldValues(claims, req)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"values": values})
}

// serveValuesBatch serves /rest/search/v2/values/batch: several requests in
// one.
func (s *searchAPI) serveValuesBatch(w http.ResponseWriter, c *call, claims *Claims) {
	body := `{"batch":` + c.form().Get("batch") + `}`
	if c.form() == nil {
		body = string(c.body)
	}
	var req struct {
		Batch []valuesRequest `json:"batch"`
	}
	if json.Unmarshal([]byte(body), &req) != nil {
		writeError(w, http.StatusBadRequest, "batch must be a JSON array.")
		return
	}
	batch := [][]fieldValue{}
	for _, r := range req.Batch {
		values, err := s.fieldValues(claims, r)
		if err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		batch = append(batch, values)
	}
	writeJSON(w, http.StatusOK, map[string]any{"batch": batch})
}

func (s *searchAPI) fieldValues(claims *Claims, req valuesRequest) ([]fieldValue, error) {
	params := searchParams{AQ: req.Query}
	params.enforce(claims)
	found, err := s.find(claims, params)
	if err != nil {
		return nil, err
	}
	values := []fieldValue{}
	for _, v := range countValues(facetRequest{Field: req.Field}.fieldName(), nil, found) {
		values = append(values, fieldValue{v.Value, v.Value, v.NumberOfResults})
	}
	return values, nil
}
