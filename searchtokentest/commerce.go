package searchtokentest

import (
	"encoding/json"
	"net/http"
)

const maxPerPage = 1000

// commerceAPI serves the Commerce API. Every document is a product.
type commerceAPI struct{ search *searchAPI }

// commerceRequest holds the properties of a request that have an effect here.
type commerceRequest struct {
	Query      string `json:"query"`
	Page       int    `json:"page"` // the first one is 0
	PerPage    int    `json:"perPage"`
	FacetID    string `json:"facetId"` // the name of a field
	FacetQuery string `json:"facetQuery"`
}

// product is a product in a response.
type product struct {
	PermanentID           string            `json:"permanentid"`
	ProductID             string            `json:"ec_product_id"`
	ClickURI              string            `json:"clickUri"`
	Name                  string            `json:"ec_name"`
	Description           string            `json:"ec_description"`
	ShortDescription      string            `json:"ec_shortdesc"`
	Brand                 string            `json:"ec_brand"`
	Category              []string          `json:"ec_category"`
	ItemGroupID           *string           `json:"ec_item_group_id"`
	Price                 *float64          `json:"ec_price"`
	PromoPrice            *float64          `json:"ec_promo_price"`
	Thumbnails            []string          `json:"ec_thumbnails"`
	Images                []string          `json:"ec_images"`
	InStock               bool              `json:"ec_in_stock"`
	Rating                *float64          `json:"ec_rating"`
	AdditionalFields      map[string]string `json:"additionalFields"`
	Children              []product         `json:"children"`
	TotalNumberOfChildren int               `json:"totalNumberOfChildren"`
	ResultType            string            `json:"resultType"`
	ResponseID            string            `json:"responseId"`
}

type pagination struct {
	Page            int `json:"page"`
	PerPage         int `json:"perPage"`
	TotalEntries    int `json:"totalEntries"`
	TotalPages      int `json:"totalPages"`
	TotalProducts   int `json:"totalProducts"`
	TotalSpotlights int `json:"totalSpotlights"`
}

type sortOption struct {
	SortCriteria string `json:"sortCriteria"`
}

// commerceResponse is the response to a search, to a listing and to a request
// for suggestions or recommendations.
type commerceResponse struct {
	ResponseID string     `json:"responseId"`
	Headline   string     `json:"headline"` // of recommendations
	Products   []product  `json:"products"`
	Results    []product  `json:"results"` // products and spotlights
	Facets     []any      `json:"facets"`
	Pagination pagination `json:"pagination"`
	Triggers   []any      `json:"triggers"`
	Sort       struct {
		Applied   sortOption   `json:"appliedSort"`
		Available []sortOption `json:"availableSorts"`
	} `json:"sort"`
}

// parse reads a request, and finds its products. If ok is false, it has written
// an error.
func (a *commerceAPI) parse(
	w http.ResponseWriter, c *call, claims *Claims,
) (req commerceRequest, found []match, ok bool) {
	if json.Unmarshal(c.body, &req) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return req, nil, false
	}
	params := searchParams{Q: req.Query}
	params.enforce(claims)
	found, err := a.search.find(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return req, nil, false
	}
	return req, found, true
}

// serveProducts serves search, listing, search/productSuggest and
// recommendations. Only a search and suggestions have a query; the others
// return all products.
func (a *commerceAPI) serveProducts(w http.ResponseWriter, c *call, claims *Claims) {
	req, found, ok := a.parse(w, c, claims)
	if !ok {
		return
	}
	perPage, page := min(req.PerPage, maxPerPage), max(req.Page, 0)
	if perPage <= 0 {
		perPage = 10
	}
	pages := (len(found) + perPage - 1) / perPage
	page = min(page, pages)
	response := commerceResponse{
		ResponseID: newID(),
		Headline:   "Recommendations",
		Products:   []product{},
		Results:    []product{},
		Facets:     []any{},
		Triggers:   []any{},
		Pagination: pagination{
			Page: page, PerPage: perPage, TotalEntries: len(found), TotalPages: pages, TotalProducts: len(found),
		},
	}
	response.Sort.Applied = sortOption{"relevance"}
	response.Sort.Available = []sortOption{{"relevance"}}
	first := min(page*perPage, len(found))
	for _, m := range found[first:min(first+perPage, len(found))] {
		response.Products = append(response.Products, newProduct(m, response.ResponseID))
	}
	writeJSON(w, http.StatusOK, response)
}

func newProduct(m match, responseID string) product {
	return product{
		PermanentID:      m.fields["permanentid"],
		ProductID:        m.fields["permanentid"],
		ClickURI:         m.URI,
		Name:             m.Title,
		Description:      m.Excerpt,
		ShortDescription: m.Excerpt,
		Brand:            m.Source,
		Category:         []string{m.ObjectType},
		Thumbnails:       []string{},
		Images:           []string{},
		InStock:          true,
		AdditionalFields: map[string]string{},
		Children:         []product{},
		ResultType:       "product",
		ResponseID:       responseID,
	}
}

// serveSuggest serves search/querySuggest.
func (a *commerceAPI) serveSuggest(w http.ResponseWriter, c *call, claims *Claims) {
	var req commerceRequest
	if json.Unmarshal(c.body, &req) != nil {
		writeError(w, http.StatusBadRequest, "Invalid JSON format in request body.")
		return
	}
	params := searchParams{Q: req.Query}
	params.enforce(claims)
	completions, err := a.search.complete(claims, params)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Completions            []completion `json:"completions"`
		FieldSuggestionsFacets []any        `json:"fieldSuggestionsFacets"`
		ResponseID             string       `json:"responseId"`
	}{completions, []any{}, newID()})
}

// serveFacetSearch serves facet: the values of a field of the found products.
func (a *commerceAPI) serveFacetSearch(w http.ResponseWriter, c *call, claims *Claims) {
	if req, found, ok := a.parse(w, c, claims); ok {
		writeJSON(w, http.StatusOK, searchFacet(facetRequest{Field: req.FacetID}.fieldName(), req.FacetQuery, nil, found))
	}
}

// serveRedirect serves search/redirect: no query leads to another page.
func (a *commerceAPI) serveRedirect(w http.ResponseWriter, _ *call, _ *Claims) {
	writeJSON(w, http.StatusOK, map[string]any{"redirect": nil})
}

// serveBadges serves badges: no product has any.
func (a *commerceAPI) serveBadges(w http.ResponseWriter, _ *call, _ *Claims) {
	writeJSON(w, http.StatusOK, map[string]any{"products": []any{}})
}
