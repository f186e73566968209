package searchtokentest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInsightPanel(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	const insight = "/rest/organizations/acme/insight/v1/configs/42/"
	claims := user(alice)
	claims.SearchHub = "support"
	testCalls(t, p, p.IssueToken(claims), []callTest{
		{"interface", "GET", insight + "interface", "", 200, `"id":"42"`},
		{"hub of the interface", "GET", insight + "interface", "", 200, `"searchHub":"support"`},
		{"search", "POST", insight + "search", `{"q":"hub"}`, 200, `"totalCount":1,`},
		{"suggestions", "POST", insight + "querysuggest", `{"q":"al"}`, 200, `"expression":"Alice only"`},
		{"html", "GET", insight + "html?uniqueId=1.1$https://example.com/2", "", 200, "<h1>Alice only</h1>"},
		{"quickview", "GET", insight + "quickview?uniqueId=1.1$https://example.com/2", "", 200, "<h1>Alice only</h1>"},
		{"document of another user", "GET", insight + "quickview?uniqueId=1.1$https://example.com/3", "", 404, "may not see it"},
		{"user actions", "POST", "/rest/organizations/acme/machinelearning/user/actions", `{"objectId":"1"}`, 200, `{"value":[]}`},
		{"answer", "POST", insight + "answer/7/generate", `{"q":"hub"}`, 200, "genqa.endOfStreamType"},
	})
	if got, want := p.Count(KindService), p.Count()-1; got != want || p.Count(KindAnswer) != 1 {
		t.Errorf("got %d requests of kind service, want %d, and 1 answer", got, want)
	}
}

func TestCaseAssist(t *testing.T) {
	p := New(Config{Documents: append(testDocuments(), make([]Document, 9)...)})
	const caseAssist = "/rest/organizations/acme/caseassists/42/"
	token := p.IssueToken(user(bob))
	testCalls(t, p, token, []callTest{
		{"classify", "POST", caseAssist + "classify", `{"fields":{}}`, 200, `"fields":{}`},
	})
	_, b := sendAs(t, p, token, "POST", caseAssist+"documents/suggest", `{"fields":{}}`)
	var response struct {
		Documents  []suggestedDocument
		TotalCount int
	}
	decode(t, b, &response)
	var titles []string
	for _, d := range response.Documents {
		titles = append(titles, d.Title)
		if d.UniqueID == "" || d.Fields["permanentid"] == "" || !d.HasHTMLVersion {
			t.Errorf("got %+v, want uniqueId, permanentid and hasHtmlVersion", d)
		}
	}
	want := []string{"Public page", "Bob only", "Both of them", "", ""}
	if diff := cmp.Diff(want, titles); diff != "" || response.TotalCount != len(want) {
		t.Errorf("got total count %d, want 5; titles (-want +got):\n%s", response.TotalCount, diff)
	}
	restricted := user(alice)
	restricted.Filter = "("
	testCalls(t, p, p.IssueToken(restricted), []callTest{
		{"unsupported filter", "POST", caseAssist + "documents/suggest", `{}`, 400, "cannot parse the token's filter"},
	})
	if got, want := p.Count(KindService), p.Count(); got != want {
		t.Errorf("got %d requests of kind service, want all %d", got, want)
	}
}
