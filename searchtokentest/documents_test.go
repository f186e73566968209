package searchtokentest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultDocumentsAreForEverybodyOrForAliceAndBob(t *testing.T) {
	p := New(Config{})
	counts := map[string]int{}
	for _, name := range []string{alice, bob, "anonymous"} {
		_, response := search(t, p, p.IssueToken(user(name)), "{}")
		counts[name] = response.TotalCount
	}
	if diff := cmp.Diff(map[string]int{alice: 7, bob: 7, "anonymous": 4}, counts); diff != "" {
		t.Errorf("number of documents (-want +got):\n%s", diff)
	}
}

func TestIndexCopiesDocuments(t *testing.T) {
	document := Document{
		Title: "Secret", URI: "1",
		Allowed: []string{bob}, SearchHubs: []string{"hub"}, Fields: map[string]string{"tenant": "acme"},
	}
	p := New(Config{Documents: []Document{document}})
	document.Allowed[0], document.SearchHubs[0], document.Fields["tenant"] = alice, "other", "globex"
	const query = `{"searchHub": "hub", "aq": "@tenant==acme"}`
	for name, want := range map[string]int{alice: 0, bob: 1} {
		status, response := search(t, p, p.IssueToken(user(name)), query)
		if status != 200 || response.TotalCount != want {
			t.Errorf("%s: got status %d and %d documents, want 200 and %d", name, status, response.TotalCount, want)
		}
	}
}

func TestDocumentIsVisibleToAllowedIdentities(t *testing.T) {
	for _, tc := range []struct {
		name    string
		allowed []string
		ids     []UserID
		want    bool
	}{
		{"public", nil, nil, true},
		{"public, empty list", []string{}, user(alice).UserIDs, true},
		{"nobody", []string{alice}, nil, false},
		{"allowed", []string{bob, alice}, user(alice).UserIDs, true},
		{"not allowed", []string{bob}, user(alice).UserIDs, false},
		{"another case", []string{"Alice@example.com"}, user("ALICE@example.com").UserIDs, true},
		{"another provider", []string{alice}, []UserID{{Name: alice, Provider: "Other"}}, false},
		{"a group", []string{"staff"}, []UserID{{Name: "staff", Provider: EmailSecurityProvider, Type: "Group"}}, true},
		{"second identity", []string{bob}, append(user(alice).UserIDs, user(bob).UserIDs...), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEntry(Document{Allowed: tc.allowed})
			if got := e.visibleTo(tc.ids); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// Filters can use every text that a result shows, and Fields cannot replace the
// values of other properties.
func TestFieldsFollowTheDocument(t *testing.T) {
	document := Document{
		Title: "A title", Excerpt: "text", URI: "https://example.com/1",
		Source: "Help", ObjectType: "Article", FileType: "pdf",
		Fields: map[string]string{"Tenant": "acme", "LANGUAGE": "French", "collection": "Archive"},
	}
	for _, name := range []string{
		"Title", "uri", "clickableuri", "urihash", "sysurihash", "permanentid", "source", "syssource", "objecttype",
		"filetype", "sysfiletype", "date", "sysdate", "size",
	} {
		document.Fields[name] = "reserved"
	}
	for _, tc := range []struct {
		name     string
		document Document
		want     map[string]any // raw
	}{
		{"defaults", Document{Title: "A title", URI: "https://example.com/1"}, map[string]any{
			"title": "A title", "uri": "https://example.com/1", "clickableuri": "https://example.com/1",
			"source": "Intranet", "syssource": "Intranet", "objecttype": "Page", "filetype": "html", "sysfiletype": "html",
			"collection": "default", "language": []any{"English"},
			"date": 1735689600000.0, "sysdate": 1735689600000.0, "size": 0.0,
		}},
		{"set", document, map[string]any{
			"title": "A title", "uri": "https://example.com/1", "clickableuri": "https://example.com/1",
			"source": "Help", "syssource": "Help", "objecttype": "Article", "filetype": "pdf", "sysfiletype": "pdf",
			"tenant": "acme", "collection": "Archive", "language": []any{"French"},
			"date": 1735689600000.0, "sysdate": 1735689600000.0, "size": 4.0,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := New(Config{Documents: []Document{tc.document}})
			token := p.IssueToken(user(alice))
			count := func(field string, value any) int {
				body, _ := json.Marshal(map[string]string{"aq": fmt.Sprintf("@%s==%q", field, value)})
				_, response := search(t, p, token, string(body))
				return response.TotalCount
			}
			_, response := search(t, p, token, "{}")
			raw := response.Results[0].Raw
			for name, value := range raw {
				if list, ok := value.([]any); ok {
					value = list[0]
				}
				if text, ok := value.(string); ok && count(name, text) != 1 {
					t.Errorf("@%s==%q does not find the document", name, text)
				}
				if count(name, "reserved") != 0 {
					t.Errorf("Fields replaced @%s", name)
				}
			}
			for name, length := range map[string]int{"urihash": 16, "sysurihash": 16, "permanentid": 60} {
				if text, _ := raw[name].(string); len(text) != length {
					t.Errorf("got %s %q, want %d characters", name, text, length)
				}
				delete(raw, name)
			}
			if diff := cmp.Diff(tc.want, raw); diff != "" {
				t.Errorf("raw (-want +got):\n%s", diff)
			}
		})
	}
}
