package searchtokentest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFieldsDescribesTheFieldsOfAllDocuments(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	resp, b := sendAs(t, p, p.IssueToken(user(bob)), "GET", "/rest/search/v2/fields?organizationId=acme", "")
	if resp.StatusCode != 200 {
		t.Fatalf("got status %d and %s, want 200", resp.StatusCode, b)
	}
	var response struct{ Fields []fieldDescription }
	decode(t, b, &response)
	got := map[string]fieldDescription{}
	for _, f := range response.Fields {
		got[f.Name] = f
	}
	if len(got) != len(response.Fields) || len(got) < 10 {
		t.Errorf("got %d fields with %d names, want at least 10, each once", len(response.Fields), len(got))
	}
	for _, want := range []fieldDescription{
		{
			Name: "@tenant", Type: "SmallString", FieldType: "SmallString", FieldSourceType: "Metadata",
			IncludeInQuery: true, IncludeInResults: true, GroupByField: true,
		},
		{Name: "@date", Type: "Long", FieldType: "Long", FieldSourceType: "Metadata", IncludeInResults: true},
	} {
		if diff := cmp.Diff(want, got[want.Name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", want.Name, diff)
		}
	}
}

func TestFieldsOfAnEmptyIndex(t *testing.T) {
	p := New(Config{Documents: []Document{}})
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"no documents", "GET", "/rest/search/v2/fields", "", 200, `{"fields":[]}`},
	})
}
