package searchtokentest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	commercePath = "/rest/organizations/acme/commerce/v2/"
	suggestPath  = commercePath + "search/querySuggest"
)

func TestCommerceFindsWhatTheTokenMaySee(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	inHub := user(alice)
	inHub.SearchHub = "support"
	withFilter := user(bob)
	withFilter.Filter = "@objecttype==case"
	all := []string{"Public page", "Alice only", "Both of them"}
	page := func(number, of, perPage, total int) pagination {
		return pagination{Page: number, PerPage: perPage, TotalEntries: total, TotalPages: of, TotalProducts: total}
	}
	for _, tc := range []struct {
		name, operation string
		claims          Claims
		body            string
		want            []string // names
		pagination      pagination
	}{
		{"search", "search", user(alice), `{"query":"only"}`, []string{"Alice only"}, page(0, 1, 10, 1)},
		{"search without a match", "search", user(alice), `{"query":"nowhere"}`, nil, page(0, 0, 10, 0)},
		{"suggestions", "search/productSuggest", user(alice), `{"query":"only"}`, []string{"Alice only"}, page(0, 1, 10, 1)},
		{"listing", "listing", user(alice), `{}`, all, page(0, 1, 10, 3)},
		{"recommendations", "recommendations", user(alice), `{"slotId":"1"}`, all, page(0, 1, 10, 3)},
		{"hub of the token", "listing", inHub, `{}`, append(all[:3:3], "In the support hub"), page(0, 1, 10, 4)},
		{"filter of the token", "listing", withFilter, `{}`, []string{"Bob only"}, page(0, 1, 10, 1)},
		{"second page", "listing", user(alice), `{"page":1,"perPage":2}`, all[2:], page(1, 2, 2, 3)},
		{"beyond the end", "listing", user(alice), `{"page":9223372036854775807,"perPage":2}`, nil, page(2, 2, 2, 3)},
		{"huge page", "listing", user(alice), `{"page":1,"perPage":9223372036854775807}`, nil, page(1, 1, maxPerPage, 3)},
		{"negative page", "listing", user(alice), `{"page":-1,"perPage":-1}`, all, page(0, 1, 10, 3)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := sendAs(t, p, p.IssueToken(tc.claims), "POST", commercePath+tc.operation, tc.body)
			if resp.StatusCode != 200 {
				t.Fatalf("got status %d and %s, want 200", resp.StatusCode, b)
			}
			var response commerceResponse
			decode(t, b, &response)
			var names []string
			for _, product := range response.Products {
				names = append(names, product.Name)
				if product.PermanentID == "" || product.ResponseID != response.ResponseID || product.ResultType != "product" {
					t.Errorf("got %+v, want permanentid, resultType and the responseId %q", product, response.ResponseID)
				}
			}
			if diff := cmp.Diff(tc.want, names); diff != "" {
				t.Errorf("products (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.pagination, response.Pagination); diff != "" {
				t.Errorf("pagination (-want +got):\n%s", diff)
			}
			for _, list := range []string{"products", "results", "facets", "triggers", "availableSorts"} {
				if !strings.Contains(string(b), `"`+list+`":[`) {
					t.Errorf("got %s, want a list of %s", b, list)
				}
			}
		})
	}
}

func TestCommerceServesWhatElsePagesNeed(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"query suggestions", "POST", suggestPath, `{"query":"al"}`, 200, `"highlighted":"{Al}[ice only]"`},
		{"field suggestions", "POST", suggestPath, `{"query":"al"}`, 200, `"fieldSuggestionsFacets":[]`},
		{"no suggestions", "POST", suggestPath, `{"query":"bob"}`, 200, `"completions":[]`},
		{"redirect", "POST", commercePath + "search/redirect", `{"query":"al"}`, 200, `{"redirect":null}`},
		{
			"facet search", "POST", commercePath + "facet?type=SEARCH", `{"facetId":"source","facetQuery":"priv"}`, 200,
			`"values":[{"displayValue":"Private files","rawValue":"Private files","count":1}]`,
		},
		{"values of others", "POST", commercePath + "facet", `{"facetId":"objecttype","facetQuery":"case"}`, 200, `"values":[]`},
		{"badges", "POST", commercePath + "badges", `{}`, 200, `{"products":[]}`},
		{"badges of a tracking ID", "POST", commercePath + "tracking-ids/shop/badges", `{}`, 200, `{"products":[]}`},
		{"products, not JSON", "POST", commercePath + "search", `{`, 400, "Invalid JSON"},
		{"suggestions, not JSON", "POST", suggestPath, `{`, 400, "Invalid JSON"},
		{"facet search, not JSON", "POST", commercePath + "facet", `{`, 400, "Invalid JSON"},
	})
	restricted := user(alice)
	restricted.Filter = "("
	testCalls(t, p, p.IssueToken(restricted), []callTest{
		{"products, unsupported filter", "POST", commercePath + "listing", `{}`, 400, "cannot parse the token's filter"},
		{"suggestions, unsupported filter", "POST", suggestPath, `{}`, 400, "cannot parse the token's filter"},
	})
	if got, want := p.Count(KindCommerce), p.Count(); got != want {
		t.Errorf("got %d requests of kind commerce, want all %d", got, want)
	}
}
