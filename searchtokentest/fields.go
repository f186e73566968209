package searchtokentest

import (
	"maps"
	"net/http"
	"slices"
)

// fieldDescription describes a field of the index.
type fieldDescription struct {
	Name              string `json:"name"` // with an @
	Description       string `json:"description"`
	Type              string `json:"type"`
	FieldType         string `json:"fieldType"`
	FieldSourceType   string `json:"fieldSourceType"`
	DefaultValue      string `json:"defaultValue"`
	IncludeInQuery    bool   `json:"includeInQuery"`
	IncludeInResults  bool   `json:"includeInResults"`
	GroupByField      bool   `json:"groupByField"`
	SplitGroupByField bool   `json:"splitGroupByField"`
	SortByField       bool   `json:"sortByField"`
}

// serveFields serves /rest/search/v2/fields: the fields of all documents.
func (s *searchAPI) serveFields(w http.ResponseWriter, _ *call, _ *Claims) {
	types := make(map[string]string)
	for _, e := range s.documents {
		for name := range e.raw {
			types[name] = "Long"
		}
		for name := range e.fields {
			types[name] = "SmallString"
		}
	}
	response := struct {
		Fields []fieldDescription `json:"fields"`
	}{Fields: []fieldDescription{}}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		text := types[name] == "SmallString"
		response.Fields = append(response.Fields, fieldDescription{
			Name: "@" + name, Type: types[name], FieldType: types[name], FieldSourceType: "Metadata",
			IncludeInQuery: text, IncludeInResults: true, GroupByField: text,
		})
	}
	writeJSON(w, http.StatusOK, response)
}
