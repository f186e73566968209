package searchtokentest

import (
	"net/http"
)

// maxSuggestedDocuments is the number of documents that Case Assist suggests.
const maxSuggestedDocuments = 5

// serviceAPI serves insight panels and Case Assist, except for queries.
type serviceAPI struct{ search *searchAPI }

// serveInterface serves the configuration of an insight panel: it has no
// facets, no tabs and no result templates.
func (a *serviceAPI) serveInterface(w http.ResponseWriter, c *call, claims *Claims) {
	disabled := map[string]bool{"enabled": false}
	writeJSON(w, http.StatusOK, map[string]any{
		"searchHub":     claims.SearchHub,
		"contextFields": map[string]string{},
		"interface": map[string]any{
			"id": c.PathValue("id"), "name": "Insight panel",
			"resultTemplates": []any{}, "facets": []any{}, "tabs": []any{},
			"settings": map[string]any{
				"createArticle": disabled, "fullSearch": disabled, "genQA": disabled, "userActions": disabled,
			},
		},
	})
}

// serveUserActions serves what a user did before: nothing.
func (a *serviceAPI) serveUserActions(w http.ResponseWriter, _ *call, _ *Claims) {
	writeJSON(w, http.StatusOK, map[string]any{"value": []any{}})
}

// serveClassifications serves the predicted fields of a case: none.
func (a *serviceAPI) serveClassifications(w http.ResponseWriter, _ *call, _ *Claims) {
	writeJSON(w, http.StatusOK, map[string]any{"fields": struct{}{}, "responseId": newID()})
}

// suggestedDocument is a document that Case Assist suggests.
type suggestedDocument struct {
	Title          string         `json:"title"`
	ClickURI       string         `json:"clickUri"`
	Excerpt        string         `json:"excerpt"`
	UniqueID       string         `json:"uniqueId"`
	HasHTMLVersion bool           `json:"hasHtmlVersion"`
	Fields         map[string]any `json:"fields"`
}

// serveDocuments serves documents that may solve a case: the first ones that
// the token's identities may see, for every case.
func (a *serviceAPI) serveDocuments(w http.ResponseWriter, _ *call, claims *Claims) {
	params := searchParams{}
	params.enforce(claims)
	found, err := a.search.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	documents := []suggestedDocument{}
	for _, m := range found[:min(len(found), maxSuggestedDocuments)] {
		documents = append(documents, suggestedDocument{m.Title, m.URI, m.Excerpt, m.uniqueID, true, m.raw})
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"documents": documents, "totalCount": len(documents), "responseId": newID(),
	})
}
