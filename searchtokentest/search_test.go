package searchtokentest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testDocuments() []Document {
	return []Document{
		{Title: "Public page", Excerpt: "for everyone", URI: "https://example.com/1", Fields: map[string]string{"Tenant": "acme"}},
		{Title: "Alice only", Excerpt: "a Page of hers", URI: "https://example.com/2", Allowed: []string{alice}, Source: "Private files"},
		{Title: "Bob only", Excerpt: "a page of his", URI: "https://example.com/3", Allowed: []string{bob}, ObjectType: "Case"},
		{Title: "Both of them", Excerpt: "pages", URI: "https://example.com/4", Allowed: []string{alice, bob}},
		{Title: "In the support hub", URI: "https://example.com/5", SearchHubs: []string{"support"}},
	}
}

func TestSearch(t *testing.T) {
	group := Claims{UserIDs: []UserID{{Name: alice, Provider: "Other"}}}
	with := func(c Claims, change func(*Claims)) Claims { change(&c); return c }

	for _, tc := range []struct {
		name   string
		claims Claims
		body   string
		want   []string
	}{
		{"alice", user(alice), `{}`, []string{"Public page", "Alice only", "Both of them"}},
		{"name in another case", user("ALICE@Example.com"), `{}`, []string{"Public page", "Alice only", "Both of them"}},
		{"bob", user(bob), `{}`, []string{"Public page", "Bob only", "Both of them"}},
		{"anonymous", user("anonymous"), `{}`, []string{"Public page"}},
		{"other provider", group, `{}`, []string{"Public page"}},
		{"a word", user(alice), `{"q":"PAGE"}`, []string{"Public page", "Alice only"}},
		{"words", user(alice), `{"q":"hers, page"}`, []string{"Alice only"}},
		{"no match", user(alice), `{"q":"page nowhere"}`, []string{}},
		{"not a part of a word", user(alice), `{"q":"pag"}`, []string{}},
		{"hub of the query", user("anonymous"), `{"searchHub":"support"}`, []string{"Public page", "In the support hub"}},
		{
			"hub of the token", with(user("anonymous"), func(c *Claims) { c.SearchHub = "support" }), `{"searchHub":"other"}`,
			[]string{"Public page", "In the support hub"},
		},
		{"filter", with(user(alice), func(c *Claims) { c.Filter = `@source=="private files"` }), `{}`, []string{"Alice only"}},
		{"filter and cq", with(user(bob), func(c *Claims) { c.Filter = `@objecttype==Page` }), `{"cq":"@tenant==acme"}`, []string{"Public page"}},
		{"aq", user(bob), `{"aq":"@objecttype==case"}`, []string{"Bob only"}},
		{"field that is not there", user(bob), `{"aq":"@nowhere==case"}`, []string{}},
		{"second page", user(alice), `{"firstResult":1,"numberOfResults":1}`, []string{"Alice only"}},
		{"beyond the end", user(alice), `{"firstResult":9}`, []string{}},
		{"huge page", user(alice), `{"firstResult":2,"numberOfResults":9223372036854775807}`, []string{"Both of them"}},
		{"no results wanted", user(alice), `{"numberOfResults":0}`, []string{}},
		{"nulls", user("anonymous"), `{"q":null,"numberOfResults":null,"facets":null}`, []string{"Public page"}},
		{
			"facet selection", user(bob),
			`{"facets":[{"facetId":"type","field":"objecttype","currentValues":[{"value":"Case","state":"selected"}]}]}`,
			[]string{"Bob only"},
		},
		{
			"facet selection without an id", user(bob),
			`{"facets":[{"field":"objecttype","currentValues":[{"value":"Case","state":"selected"}]}]}`,
			[]string{"Bob only"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{Documents: testDocuments()})
			status, answer := search(t, p, p.IssueToken(tc.claims), tc.body)
			if diff := cmp.Diff(tc.want, titles(answer)); diff != "" || status != 200 {
				t.Errorf("status %d, titles (-want +got):\n%s", status, diff)
			}
		})
	}
}

// What a result shows as text can be filtered by, and is what the Document says.
func TestFields(t *testing.T) {
	own := Document{Title: "A title", Excerpt: "text", URI: "https://example.com/1", Source: "Help", ObjectType: "Article", FileType: "pdf"}
	own.Fields = map[string]string{"Tenant": "acme", "LANGUAGE": "French", "collection": "Archive"}
	for _, name := range []string{
		"Title", "uri", "clickableuri", "urihash", "sysurihash", "permanentid", "source", "syssource", "objecttype",
		"filetype", "sysfiletype", "date", "sysdate", "size",
	} {
		own.Fields[name] = "reserved"
	}
	for _, tc := range []struct {
		name     string
		document Document
		want     map[string]any // of raw
	}{
		{"defaults", Document{Title: "A title", URI: "https://example.com/1"}, map[string]any{
			"title": "A title", "uri": "https://example.com/1", "clickableuri": "https://example.com/1",
			"source": "Intranet", "syssource": "Intranet", "objecttype": "Page", "filetype": "html", "sysfiletype": "html",
			"collection": "default", "language": []any{"English"}, "date": 1735689600000.0, "sysdate": 1735689600000.0, "size": 0.0,
		}},
		{"own", own, map[string]any{
			"title": "A title", "uri": "https://example.com/1", "clickableuri": "https://example.com/1",
			"source": "Help", "syssource": "Help", "objecttype": "Article", "filetype": "pdf", "sysfiletype": "pdf", "tenant": "acme",
			"collection": "Archive", "language": []any{"French"}, "date": 1735689600000.0, "sysdate": 1735689600000.0, "size": 4.0,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{Documents: []Document{tc.document}})
			token := p.IssueToken(user(alice))
			finds := func(field string, value any) int {
				body, _ := json.Marshal(map[string]string{"aq": fmt.Sprintf("@%s==%q", field, value)})
				_, answer := search(t, p, token, string(body))
				return answer.TotalCount
			}
			_, answer := search(t, p, token, "{}")
			raw := answer.Results[0].Raw
			for name, value := range raw {
				if list, ok := value.([]any); ok {
					value = list[0]
				}
				if text, ok := value.(string); ok && finds(name, text) != 1 {
					t.Errorf("@%s==%q finds nothing", name, text)
				}
				if finds(name, "reserved") != 0 {
					t.Errorf("Fields have changed @%s", name)
				}
			}
			for _, name := range []string{"urihash", "sysurihash", "permanentid"} {
				delete(raw, name) // which mean nothing
			}
			if diff := cmp.Diff(tc.want, raw); diff != "" {
				t.Errorf("raw (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSearchRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, filter, body, message string
	}{
		{"filter", `@a==b OR @c==d`, `{}`, "the token's filter"},
		{"cq", "", `{"cq":"@a=b"}`, "cq"},
		{"aq", "", `{"aq":"(@a==b)"}`, "aq"},
		{"page", "", `{"firstResult":-1}`, "negative"},
		{"JSON", "", `{`, "JSON"},
		{"type", "", `{"q":1}`, "JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{})
			claims := user(alice)
			claims.Filter = tc.filter
			resp, b := send(t, p, "POST", "/rest/search/v2", tc.body,
				"Authorization", "Bearer "+p.IssueToken(claims), "Content-Type", "application/json")
			var got apiError
			decode(t, b, &got)
			if resp.StatusCode != 400 || got.StatusCode != 400 || !strings.Contains(got.Message, tc.message) {
				t.Errorf("got %d %+v, want 400 with %q", resp.StatusCode, got, tc.message)
			}
		})
	}
}

// The three ways in which front ends send a query.
func TestSearchEncodings(t *testing.T) {
	p := New(Config{})
	token := p.IssueToken(user(alice))
	form := url.Values{"q": {"printer"}, "numberOfResults": {"1"}, "facets": {`[{"facetId":"f","field":"@source"}]`}}.Encode()
	for _, tc := range []struct {
		name, method, target, body, contentType string
	}{
		{"JSON", "POST", "/rest/search/v2?organizationId=acme", `{"q":"printer","numberOfResults":1,"facets":[{"facetId":"f","field":"@source"}]}`, "application/json"},
		{"form", "POST", "/rest/search/v2/?organizationId=acme", form, "application/x-www-form-urlencoded; charset=UTF-8"},
		{"query", "GET", "/rest/search/v2?" + form, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, tc.method, tc.target, tc.body, "Authorization", "Bearer "+token, "Content-Type", tc.contentType)
			var answer searchAnswer
			decode(t, b, &answer)
			if resp.StatusCode != 200 || answer.TotalCount != 2 || len(answer.Results) != 1 || len(answer.Facets) != 1 {
				t.Errorf("got status %d and %s", resp.StatusCode, b)
			}
		})
	}
}

func TestResultShape(t *testing.T) {
	p := New(Config{Documents: []Document{{Title: "Über 😀 straße", Excerpt: "Die STRASSE, die Straße.", URI: "https://example.com/1"}}})
	_, b := send(t, p, "GET", "/rest/search/v2"+query("q", "Straße", "searchHub", "h", "access_token", p.IssueToken(user(alice))), "")
	var got struct {
		TotalCount int    `json:"totalCount"`
		SearchHub  string `json:"searchHub"`
		Pipeline   string `json:"pipeline"`
		Results    []map[string]any
	}
	decode(t, b, &got)
	if got.TotalCount != 1 || got.SearchHub != "h" || got.Pipeline != "default" {
		t.Fatalf("got %+v", got)
	}
	r := got.Results[0]
	raw, _ := r["raw"].(map[string]any)
	for _, name := range []string{"urihash", "source", "collection", "sysurihash", "date", "permanentid", "objecttype", "filetype"} {
		if raw[name] == nil {
			t.Errorf("raw has no %s", name)
		}
	}
	for _, name := range []string{"title", "uri", "printableUri", "clickUri", "uniqueId", "excerpt", "firstSentences"} {
		if text, _ := r[name].(string); text == "" {
			t.Errorf("no %s", name)
		}
	}
	wantTitle := []any{map[string]any{"offset": 8.0, "length": 6.0}} // the face is two UTF-16 units
	wantExcerpt := []any{map[string]any{"offset": 17.0, "length": 6.0}}
	if diff := cmp.Diff([]any{wantTitle, wantExcerpt}, []any{r["titleHighlights"], r["excerptHighlights"]}); diff != "" {
		t.Errorf("highlights (-want +got):\n%s", diff)
	}
	// Front ends take the length of every list.
	for name, v := range r {
		if v == nil && name != "summary" && name != "parentResult" && name != "rankingInfo" {
			t.Errorf("%s is null", name)
		}
	}
}

func TestFacets(t *testing.T) {
	p := New(Config{Documents: []Document{
		{Title: "1", URI: "1", Source: "A", ObjectType: "X"},
		{Title: "2", URI: "2", Source: "A", ObjectType: "Y"},
		{Title: "3", URI: "3", Source: "B", ObjectType: "X"},
	}})
	_, answer := search(t, p, p.IssueToken(user(alice)), `{"facets":[
		{"facetId":"s","field":"source","type":"specific","numberOfValues":8,"currentValues":[{"value":"B","state":"selected"}]},
		{"facetId":"t","field":"objecttype","numberOfValues":1},
		{"facetId":"d","field":"date","type":"dateRange","currentValues":[{"start":"a","end":"b","state":"selected"}]}
	]}`)
	want := []facetAnswer{
		{FacetID: "s", Field: "source", Values: []facetValue{{"B", "selected", 1}, {"A", "idle", 2}}},
		{FacetID: "t", Field: "objecttype", Values: []facetValue{{"X", "idle", 1}}},
		{FacetID: "d", Field: "date", Values: []facetValue{}},
	}
	if diff := cmp.Diff(want, answer.Facets); diff != "" {
		t.Errorf("facets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"3"}, titles(answer)); diff != "" {
		t.Errorf("titles (-want +got):\n%s", diff)
	}
}

func TestOtherQueryCalls(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	token := p.IssueToken(user(alice))
	uniqueID := func(uri string) string { return "1.1$" + uri }
	for _, tc := range []struct {
		name, method, target, body string
		status                     int
		want                       string
	}{
		{"suggest", "POST", "/rest/search/v2/querySuggest", `{"q":"al"}`, 200, `"highlighted":"{Al}[ice only]"`},
		{"suggest nothing of others", "GET", "/rest/search/v2/querySuggest?q=bob", "", 200, `"completions":[]`},
		{"plan", "POST", "/rest/search/v2/plan", `{"q":"al"}`, 200, `"basicExpression":"al"`},
		{"facet", "POST", "/rest/search/v2/facet", `{"field":"source","query":"*PRIV*"}`, 200, `"rawValue":"Private files","count":1`},
		{"facet shown already", "POST", "/rest/search/v2/facet", `{"field":"source","ignoreValues":["Private files"]}`, 200, `"values":[{"displayValue":"Intranet"`},
		{"html", "GET", "/rest/search/v2/html" + query("uniqueId", uniqueID("https://example.com/2")), "", 200, "<h1>Alice only</h1>"},
		{"html of others", "GET", "/rest/search/v2/html" + query("uniqueId", uniqueID("https://example.com/3")), "", 404, "statusCode"},
		{"other organization", "GET", "/rest/search/v2?organizationId=globex", "", 404, "OrganizationNotFoundException"},
		{"method", "DELETE", "/rest/search/v2", "", 405, `"statusCode":405`},
		{"unknown path", "GET", "/rest/search/v9", "", 404, `"type":"NotFoundException"`},
		{"root", "GET", "/", "", 404, `"statusCode":404`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, tc.method, tc.target, tc.body, "Authorization", "Bearer "+token, "Content-Type", "application/json")
			if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.want) {
				t.Errorf("got status %d and %s, want %d and %s", resp.StatusCode, b, tc.status, tc.want)
			}
		})
	}
}

func TestParseFilter(t *testing.T) {
	for _, tc := range []struct {
		expression string
		want       []condition
		ok         bool
	}{
		{"", nil, true},
		{"  ", nil, true},
		{"@source==Help", []condition{{"source", "Help"}}, true},
		{" @Source==alice@example.com ", []condition{{"source", "alice@example.com"}}, true},
		{`@a=="b c" AND @d==e`, []condition{{"a", "b c"}, {"d", "e"}}, true},
		{"@a==b\n@c==d", []condition{{"a", "b"}, {"c", "d"}}, true},
		{`@a==""`, []condition{{"a", ""}}, true},
		{"@a==AND", []condition{{"a", "AND"}}, true},
		{"@a==b OR @c==d", nil, false},
		{"NOT @a==b", nil, false},
		{"@a==b AND", nil, false},
		{"@a==b AND AND @c==d", nil, false},
		{"@a==b AND@c==d", nil, false},
		{"AND @a==b", nil, false},
		{"@a=b", nil, false},
		{"@a<>b", nil, false},
		{"@a == b", nil, false},
		{"@a==(b,c)", nil, false},
		{"(@a==b)", nil, false},
		{`@a=="b"c`, nil, false},
		{`@a=="b\"c"`, nil, false},
		{`@a=="b`, nil, false},
		{"@a==b*", nil, false},
		{"@a==", nil, false},
		{"word", nil, false},
	} {
		t.Run(tc.expression, func(t *testing.T) {
			got, err := parseFilter(tc.expression)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(condition{})); diff != "" || (err == nil) != tc.ok {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Whatever a page sends, it sees nothing that its user may not see.
func FuzzSearch(f *testing.F) {
	f.Add(`{"q":"page","aq":"@a==b","facets":[{"facetId":"x","field":"source"}]}`)
	f.Add(`{"firstResult":9223372036854775807,"numberOfResults":9223372036854775807}`)
	f.Add(`{"facets":[{"type":"hierarchical","currentValues":[{"value":["a"],"state":"selected"}]}]}`)
	p := New(Config{Documents: testDocuments()})
	token := p.IssueToken(user(alice))
	f.Fuzz(func(t *testing.T, body string) {
		_, answer := search(t, p, token, body)
		for _, title := range titles(answer) {
			if title == "Bob only" {
				t.Errorf("%q shows %q to alice", body, title)
			}
		}
	})
}
