package searchtokentest

import "testing"

func TestSuggestCompletesTitlesOfVisibleDocuments(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	const target = "/rest/search/v2/querySuggest"
	const none = `"completions":[],`
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"prefix", "POST", target, `{"q":"al"}`, 200, `"expression":"Alice only","score":1000,"highlighted":"{Al}[ice only]"`},
		{"nothing typed", "GET", target, "", 200, `"highlighted":"[Public page]"`},
		{"not at the beginning", "GET", target + "?q=only", "", 200, none},
		{"titles of others", "GET", target + "?q=bob", "", 200, none},
		{"in another hub", "GET", target + "?q=in", "", 200, none},
		{"in the hub", "GET", target + "?q=in&searchHub=support", "", 200, `{In}[ the support hub]`},
		{"not JSON", "POST", target, `{`, 400, "JSON"},
		{"unsupported expression", "GET", target + "?cq=(", "", 400, "cannot parse cq"},
	})
	inHub := user("anonymous")
	inHub.SearchHub = "support"
	testCalls(t, p, p.IssueToken(inHub), []callTest{
		{"in the token's hub", "GET", target + "?q=in&searchHub=other", "", 200, `{In}[ the support hub]`},
	})
	if got, want := p.Requests(KindSuggest)[5].SearchHub, "support"; got != want {
		t.Errorf("got the search hub %q on record, want %q", got, want)
	}
}

func TestCutPrefixFold(t *testing.T) {
	for _, tc := range []struct {
		s, prefix, before, after string
		ok                       bool
	}{
		{"Alice", "", "", "Alice", true},
		{"Alice", "aL", "Al", "ice", true},
		{"Alice", "alice", "Alice", "", true},
		{"Alice", "alices", "", "Alice", false},
		{"Über uns", "ü", "Ü", "ber uns", true},
		{"", "", "", "", true},
		{"", "a", "", "", false},
	} {
		t.Run(tc.s+" "+tc.prefix, func(t *testing.T) {
			before, after, ok := cutPrefixFold(tc.s, tc.prefix)
			if before != tc.before || after != tc.after || ok != tc.ok {
				t.Errorf("got %q, %q, %v, want %q, %q, %v", before, after, ok, tc.before, tc.after, tc.ok)
			}
		})
	}
}
