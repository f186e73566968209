package searchtokentest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFacetsCountValuesAndFilterResults(t *testing.T) {
	p := New(Config{Documents: []Document{
		{Title: "1", URI: "1", Source: "A", ObjectType: "X"},
		{Title: "2", URI: "2", Source: "A", ObjectType: "Y"},
		{Title: "3", URI: "3", Source: "B", ObjectType: "X"},
	}})
	selectB := `"numberOfValues":8,"currentValues":[{"value":"B","state":"selected"},{"value":"A","state":"idle"}]`
	for _, tc := range []struct {
		name, facets string
		want         []facetResponse
		titles       []string
	}{
		{
			"no selection", `{"facetId":"s","field":"@Source"}`,
			[]facetResponse{{FacetID: "s", Field: "@Source", Values: []facetValue{{"A", "idle", 2}, {"B", "idle", 1}}}},
			[]string{"1", "2", "3"},
		},
		{
			"a facet ignores its own selection", `{"facetId":"s","field":"source","type":"specific",` + selectB + `}`,
			[]facetResponse{{FacetID: "s", Field: "source", Values: []facetValue{{"B", "selected", 1}, {"A", "idle", 2}}}},
			[]string{"3"},
		},
		{
			"a facet heeds the selection of others",
			`{"facetId":"t","field":"objecttype"},{"facetId":"s","field":"source",` + selectB + `}`,
			[]facetResponse{
				{FacetID: "t", Field: "objecttype", Values: []facetValue{{"X", "idle", 1}}},
				{FacetID: "s", Field: "source", Values: []facetValue{{"B", "selected", 1}, {"A", "idle", 2}}},
			},
			[]string{"3"},
		},
		{
			"the number of values is limited", `{"facetId":"t","field":"objecttype","numberOfValues":1}`,
			[]facetResponse{{FacetID: "t", Field: "objecttype", Values: []facetValue{{"X", "idle", 2}}, MoreValuesAvailable: true}},
			[]string{"1", "2", "3"},
		},
		{
			"a limit that is met exactly", `{"facetId":"t","field":"objecttype","numberOfValues":2}`,
			[]facetResponse{{FacetID: "t", Field: "objecttype", Values: []facetValue{{"X", "idle", 2}, {"Y", "idle", 1}}}},
			[]string{"1", "2", "3"},
		},
		{
			"selected values exceed the limit",
			`{"facetId":"t","field":"objecttype","numberOfValues":1,` +
				`"currentValues":[{"value":"X","state":"selected"},{"value":"Z","state":"selected"}]}`,
			[]facetResponse{{FacetID: "t", Field: "objecttype", MoreValuesAvailable: true, Values: []facetValue{
				{"X", "selected", 2}, {"Z", "selected", 0},
			}}},
			[]string{"1", "3"},
		},
		{
			"other types have no values and select nothing",
			`{"facetId":"d","field":"source","type":"dateRange",` + selectB + `}`,
			[]facetResponse{{FacetID: "d", Field: "source", Values: []facetValue{}}},
			[]string{"1", "2", "3"},
		},
		{
			"a selected value without results",
			`{"facetId":"s","field":"source","numberOfValues":8,"currentValues":[{"value":"C","state":"selected"}]}`,
			[]facetResponse{{FacetID: "s", Field: "source", Values: []facetValue{
				{"C", "selected", 0}, {"A", "idle", 2}, {"B", "idle", 1},
			}}},
			[]string{},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, response := search(t, p, p.IssueToken(user(alice)), `{"facets":[`+tc.facets+`]}`)
			if diff := cmp.Diff(tc.want, response.Facets); diff != "" {
				t.Errorf("facets (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.titles, titles(response)); diff != "" {
				t.Errorf("titles (-want +got):\n%s", diff)
			}
			if got, want := response.TotalCount, len(tc.titles); got != want {
				t.Errorf("got total count %d, want %d", got, want)
			}
		})
	}
}

func TestFacetSearchFindsValuesOfVisibleDocuments(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	const target = "/rest/search/v2/facet"
	const noValues = `"values":[],`
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"part of a value", "POST", target, `{"field":"source","query":"*PRIV*"}`, 200, `"rawValue":"Private files","count":1`},
		{"no match", "POST", target, `{"field":"source","query":"*nothing*"}`, 200, noValues},
		{"ignored values", "POST", target, `{"field":"@source","ignoreValues":["Private files","Intranet"]}`, 200, noValues},
		{"values of others", "POST", target, `{"field":"objecttype","query":"*case*"}`, 200, noValues},
		{
			"within the query", "POST", target,
			`{"field":"source","searchContext":{"q":"everyone"}}`, 200,
			`"values":[{"displayValue":"Intranet","rawValue":"Intranet","count":1}]`,
		},
		{"bad query", "POST", target, `{"field":"source","searchContext":{"cq":"("}}`, 400, "cannot parse cq"},
		{"not JSON", "POST", target, `{`, 400, "Invalid JSON"},
	})
	restricted := user(alice)
	restricted.Filter = "@tenant==acme"
	testCalls(t, p, p.IssueToken(restricted), []callTest{
		{"within the token's filter", "POST", target, `{"field":"source","query":"*priv*"}`, 200, noValues},
	})
	inHub := user("anonymous")
	inHub.SearchHub = "support"
	const otherHub = `{"field":"source","searchContext":{"searchHub":"other"}}`
	testCalls(t, p, p.IssueToken(inHub), []callTest{
		{"in the token's hub", "POST", target, otherHub, 200, `"rawValue":"Intranet","count":2`},
	})
}
