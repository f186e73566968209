package searchtokentest

import "testing"

func TestPreviewShowsVisibleDocumentsOnly(t *testing.T) {
	documents := append(testDocuments(), Document{Title: "<b>", Excerpt: "&", URI: "https://example.com/6"})
	documents[3].HTML = "<script>alert(1)</script>"
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
		{"the document's own HTML", "GET", target("4"), "", 200, "<script>alert(1)</script>"},
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

// Headless sends a form, and JSUI a link.
func TestPreviewReadsTheQueryOrAForm(t *testing.T) {
	p := New(Config{Documents: testDocuments()})
	token := p.IssueToken(user(alice))
	const uniqueID, form = "uniqueId=1.1%24https%3A%2F%2Fexample.com%2F5", "application/x-www-form-urlencoded"
	for _, tc := range []struct {
		name, method, query, contentType, body string
		status                                 int
	}{
		{"query", "GET", "?searchHub=support&" + uniqueID, "", "", 200},
		{"form", "POST", "?organizationId=acme", form, "searchHub=support&" + uniqueID, 200},
		{"form without the hub", "POST", "", form, uniqueID, 404},
		{"form of another type", "POST", "", "text/plain", "searchHub=support&" + uniqueID, 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, tc.method, "/rest/search/v2/html"+tc.query, tc.body,
				"Authorization", "Bearer "+token, "Content-Type", tc.contentType)
			if resp.StatusCode != tc.status {
				t.Errorf("got status %d and %s, want %d", resp.StatusCode, b, tc.status)
			}
		})
	}
}

func TestDocumentInOtherForms(t *testing.T) {
	documents := testDocuments()
	documents[1].HTML = "<form action=/logout>"
	p := New(Config{Documents: documents})
	const id, other = "?uniqueId=1.1$https://example.com/2", "?uniqueId=1.1$https://example.com/3"
	testCalls(t, p, p.IssueToken(user(alice)), []callTest{
		{"text", "GET", "/rest/search/v2/text" + id, "", 200, `{"content":"Alice only\n\na Page of hers\n"}`},
		{"document", "GET", "/rest/search/v2/document" + id, "", 200, `"title":"Alice only"`},
		{"data stream", "GET", "/rest/search/v2/datastream" + id + "&dataStream=$Thumbnail", "", 200, "<form action=/logout>"},
		{"text of another user", "GET", "/rest/search/v2/text" + other, "", 404, "may not see it"},
		{"document of another user", "GET", "/rest/search/v2/document" + other, "", 404, "may not see it"},
		{"data stream of another user", "GET", "/rest/search/v2/datastream" + other, "", 404, "may not see it"},
	})
}
