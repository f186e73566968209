package searchtokentest

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSearchFindsWhatTheTokenMaySee(t *testing.T) {
	withHub, withFilter, withFilter2 := user("anonymous"), user(alice), user(bob)
	withHub.SearchHub = "support"
	withFilter.Filter = `@source=="private files"`
	withFilter2.Filter = `@objecttype==Page`
	selectCase := `"field":"objecttype","currentValues":[{"value":"Case","state":"selected"}]`

	for _, tc := range []struct {
		name   string
		claims Claims
		body   string
		want   []string // titles
	}{
		{"alice", user(alice), `{}`, []string{"Public page", "Alice only", "Both of them"}},
		{"bob", user(bob), `{}`, []string{"Public page", "Bob only", "Both of them"}},
		{"anonymous", user("anonymous"), `{}`, []string{"Public page"}},
		{"a word", user(alice), `{"q":"PAGE"}`, []string{"Public page", "Alice only"}},
		{"words", user(alice), `{"q":"hers, page"}`, []string{"Alice only"}},
		{"best first", user(alice), `{"q":"of"}`, []string{"Both of them", "Alice only"}},
		{"no match", user(alice), `{"q":"page nowhere"}`, []string{}},
		{"hub of the query", user("anonymous"), `{"searchHub":"support"}`, []string{"Public page", "In the support hub"}},
		{"hub of the token", withHub, `{"searchHub":"other"}`, []string{"Public page", "In the support hub"}},
		{"filter", withFilter, `{}`, []string{"Alice only"}},
		{"filter and cq", withFilter2, `{"cq":"@tenant==acme"}`, []string{"Public page"}},
		{"cq and aq", user(bob), `{"cq":"@objecttype==page","aq":"@tenant==acme"}`, []string{"Public page"}},
		{"aq", user(bob), `{"aq":"@objecttype==case"}`, []string{"Bob only"}},
		{"unknown field", user(bob), `{"aq":"@nowhere==case"}`, []string{}},
		{"second page", user(alice), `{"firstResult":1,"numberOfResults":1}`, []string{"Alice only"}},
		{"beyond the end", user(alice), `{"firstResult":9}`, []string{}},
		{"huge page", user(alice), `{"firstResult":2,"numberOfResults":9223372036854775807}`, []string{"Both of them"}},
		{"no results wanted", user(alice), `{"numberOfResults":0}`, []string{}},
		{"nulls", user("anonymous"), `{"q":null,"numberOfResults":null,"facets":null}`, []string{"Public page"}},
		{"facet selection", user(bob), `{"facets":[{"facetId":"type",` + selectCase + `}]}`, []string{"Bob only"}},
		{"facet selection without an id", user(bob), `{"facets":[{` + selectCase + `}]}`, []string{"Bob only"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{Documents: testDocuments()})
			status, response := search(t, p, p.IssueToken(tc.claims), tc.body)
			if diff := cmp.Diff(tc.want, titles(response)); diff != "" || status != 200 {
				t.Errorf("got status %d, want 200; titles (-want +got):\n%s", status, diff)
			}
		})
	}
}

func TestSearchReturnsTenResultsByDefault(t *testing.T) {
	p := New(Config{Documents: make([]Document, 12)})
	_, response := search(t, p, p.IssueToken(user(alice)), `{}`)
	if len(response.Results) != 10 || response.TotalCount != 12 {
		t.Errorf("got %d results of %d, want 10 of 12", len(response.Results), response.TotalCount)
	}
}

func TestTokenDecidesHubAndPipeline(t *testing.T) {
	for _, tc := range []struct {
		name, hub, pipeline, body string
		wantHub, wantPipeline     string
	}{
		{"neither", "", "", `{}`, "", "default"},
		{"query", "", "", `{"searchHub":"h","pipeline":"p"}`, "h", "p"},
		{"token", "H", "P", `{}`, "H", "P"},
		{"both", "H", "P", `{"searchHub":"h","pipeline":"p"}`, "H", "P"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{})
			claims := user(alice)
			claims.SearchHub, claims.Pipeline = tc.hub, tc.pipeline
			_, response := search(t, p, p.IssueToken(claims), tc.body)
			if response.SearchHub != tc.wantHub || response.Pipeline != tc.wantPipeline {
				t.Errorf("got hub %q and pipeline %q, want %q and %q",
					response.SearchHub, response.Pipeline, tc.wantHub, tc.wantPipeline)
			}
			if got := p.Requests(KindSearch)[0].SearchHub; got != tc.wantHub {
				t.Errorf("got hub %q on record, want %q", got, tc.wantHub)
			}
		})
	}
}

func TestSearchRefusesBadParameters(t *testing.T) {
	const (
		jsonType = "application/json"
		formType = "application/x-www-form-urlencoded"
	)
	for _, tc := range []struct {
		name, filter, body, contentType string
		message                         string // part of it
	}{
		{"filter", `@a==b OR @c==d`, `{}`, jsonType, "cannot parse the token's filter: this stand-in supports only"},
		{"cq", "", `{"cq":"@a=b"}`, jsonType, "cannot parse cq"},
		{"aq", "", `{"aq":"(@a==b)"}`, jsonType, "cannot parse aq"},
		{"first result", "", `{"firstResult":-1}`, jsonType, "must not be negative"},
		{"number of results", "", `{"numberOfResults":-1}`, jsonType, "must not be negative"},
		{"malformed JSON", "", `{`, jsonType, "the request body is not the JSON of a query"},
		{"type of a property", "", `{"q":1}`, jsonType, "the request body is not the JSON of a query"},
		{"malformed form", "", `q=%`, formType, "the request body is not a form"},
		{"text in a form", "", `firstResult=x`, formType, "firstResult must be an integer"},
		{"facets in a form", "", `facets=x`, formType, "facets must be a JSON array"},
		{"content type", "", `{}`, "text/plain", "the request body must be JSON or a form"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{})
			claims := user(alice)
			claims.Filter = tc.filter
			resp, b := send(t, p, "POST", "/rest/search/v2", tc.body,
				"Authorization", "Bearer "+p.IssueToken(claims), "Content-Type", tc.contentType)
			var got apiError
			decode(t, b, &got)
			if resp.StatusCode != 400 || got.StatusCode != 400 || !strings.Contains(got.Message, tc.message) {
				t.Errorf("got status %d and %+v, want 400 and %q", resp.StatusCode, got, tc.message)
			}
		})
	}
}

func TestSearchReadsJSONFormsAndURLs(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	const (
		facets   = `[{"facetId":"f","field":"@source"}]`
		jsonBody = `{"q":"printer","numberOfResults":1,"facets":` + facets + `}`
		formType = "application/x-www-form-urlencoded; charset=UTF-8"
	)
	form := url.Values{"q": {"printer"}, "numberOfResults": {"1"}, "facets": {facets}}.Encode()
	for _, tc := range []struct {
		name, method, target, body, contentType string
	}{
		{"JSON", "POST", "/rest/search/v2?organizationId=acme", jsonBody, "application/json"},
		{"form", "POST", "/rest/search/v2/?organizationId=acme", form, formType},
		{"URL", "GET", "/rest/search/v2?" + form, "", ""},
		{"body overrides URL", "POST", "/rest/search/v2?q=other&numberOfResults=9", jsonBody, "application/json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, tc.method, tc.target, tc.body, "Authorization", "Bearer "+token, "Content-Type", tc.contentType)
			var response searchResponse
			decode(t, b, &response)
			type counts struct{ Status, Total, Results, Facets int }
			got := counts{resp.StatusCode, response.TotalCount, len(response.Results), len(response.Facets)}
			if diff := cmp.Diff(counts{200, 2, 1, 1}, got); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExpiredTokenGets419(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	p.RejectAll()
	resp, b := send(t, p, "GET", "/rest/search/v2?access_token="+token, "")
	var got any
	decode(t, b, &got)
	want := any(map[string]any{"message": "Expired token", "statusCode": 419.0, "type": "ExpiredTokenException"})
	if diff := cmp.Diff(want, got); diff != "" || resp.StatusCode != 419 {
		t.Errorf("got status %d, want 419; body (-want +got):\n%s", resp.StatusCode, diff)
	}
}

// No query shows alice a document, or counts a facet value, that only bob may
// see.
func FuzzSearchShowsNothingOfOtherUsers(f *testing.F) {
	f.Add(`{"q":"page","aq":"@a==b","facets":[{"facetId":"x","field":"source"}]}`)
	f.Add(`{"q":"bob","aq":"@objecttype==case","facets":[{"facetId":"x","field":"objecttype"}]}`)
	f.Add(`{"firstResult":9223372036854775807,"numberOfResults":9223372036854775807}`)
	f.Add(`{"facets":[{"field":"objecttype","currentValues":[{"value":"Case","state":"selected"}]}]}`)
	f.Add(`{"facets":[{"type":"hierarchical","currentValues":[{"value":["a"],"state":"selected"}]}]}`)
	p := New(Config{Documents: testDocuments()})
	token := p.IssueToken(user(alice))
	f.Fuzz(func(t *testing.T, body string) {
		_, response := search(t, p, token, body)
		for _, title := range titles(response) {
			if title == "Bob only" {
				t.Errorf("%q shows %q to alice", body, title)
			}
		}
		for _, facet := range response.Facets {
			for _, v := range facet.Values {
				if v.Value == "Case" && v.NumberOfResults > 0 {
					t.Errorf("%q counts a value of bob's document for alice: %+v", body, v)
				}
			}
		}
	})
}

func TestRecommendationsAreMarked(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	token := p.IssueToken(user(alice))
	for _, tc := range []struct {
		name, contentType, body string
		want                    bool
	}{
		{"query", "application/json", `{"q":"everyone"}`, false},
		{"from Headless", "application/json", `{"recommendation":"Recommendation"}`, true},
		{"from JSUI", "application/x-www-form-urlencoded", "recommendation=Recommendation", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, b := send(t, p, "POST", "/rest/search/v2", tc.body,
				"Authorization", "Bearer "+token, "Content-Type", tc.contentType)
			var response searchResponse
			decode(t, b, &response)
			if len(response.Results) == 0 {
				t.Fatalf("got %s, want results", b)
			}
			for _, r := range response.Results {
				if r.IsRecommendation != tc.want {
					t.Errorf("%s: got isRecommendation %v, want %v", r.Title, r.IsRecommendation, tc.want)
				}
			}
		})
	}
}
