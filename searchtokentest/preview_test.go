package searchtokentest

import "testing"

func TestPreviewShowsVisibleDocumentsOnly(t *testing.T) {
	documents := append(testDocuments(), Document{Title: "<b>", Excerpt: "&", URI: "https://example.com/6"})
	p := New(Config{Documents: documents})
	target := func(uri string, more ...string) string {
		return "/rest/search/v2/html" + query(append(more, "uniqueId", "1.1$https://example.com/"+uri)...)
	}
	const missing = "The document does not exist, or the token may not see it."
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"own", "GET", target("2"), "", 200, "<h1>Alice only</h1>\n<p>a Page of hers</p>"},
		{"of another user", "GET", target("3"), "", 404, missing},
		{"in another hub", "GET", target("5"), "", 404, missing},
		{"in the hub", "GET", target("5", "searchHub", "support"), "", 200, "<h1>In the support hub</h1>"},
		{"markup", "GET", target("6"), "", 200, "<h1>&lt;b&gt;</h1>\n<p>&amp;</p>"},
		{"unknown", "GET", target("7"), "", 404, missing},
	})
	inHub := user("anonymous")
	inHub.SearchHub = "support"
	testCalls(t, p, p.IssueToken(inHub), []callTest{
		{"in the token's hub", "GET", target("5", "searchHub", "other"), "", 200, "<h1>In the support hub</h1>"},
	})
	restricted := user(alice)
	restricted.Filter = "@tenant==acme"
	testCalls(t, p, p.IssueToken(restricted), []callTest{
		{"outside the token's filter", "GET", target("2"), "", 404, missing},
	})
	restricted.Filter = "("
	testCalls(t, p, p.IssueToken(restricted), []callTest{
		{"unsupported filter", "GET", target("2"), "", 400, "cannot parse the token's filter"},
	})
	resp, _ := sendAs(t, p, p.IssueToken(user(alice)), "GET", target("2"), "")
	if got, want := resp.Header.Get("Content-Type"), "text/html; charset=utf-8"; got != want {
		t.Errorf("got content type %q, want %q", got, want)
	}
}
