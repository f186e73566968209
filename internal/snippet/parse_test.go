package snippet_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/snippet"
)

func TestParseFSRemovesIndentationAndBlankLines(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"indentation", "<p>\n  <b>\n    a b\n  </b>\n</p>\n", "<p>\n<b>\na b\n</b>\n</p>\n"},
		{"blank lines", "a\n\n  \nb", "a\nb"},
		{"an action with a trim marker", "a\n  {{- /* not sent\n  either */}}\n  b", "a\nb"},
		{"a value", "  {{.}}  \n", " value  \n"},
		{"a file without lines", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{
				"folder/a.html": {Data: []byte(tt.text)},
				"folder/b.html": {Data: []byte("  another\n")},
				"folder/c.txt":  {Data: []byte("{{")},
			}
			parsed, err := snippet.ParseFS(files, "folder/*.html")
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, name := range []string{"a.html", "b.html"} {
				if err := parsed.ExecuteTemplate(&got, name, " value"); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want+"another\n", got.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseFSReportsErrors(t *testing.T) {
	files := fstest.MapFS{"a.html": {Data: []byte("{{")}}
	if _, err := snippet.ParseFS(files, "*.html"); err == nil || !strings.Contains(err.Error(), "a.html") {
		t.Errorf("got error %v, want one that names the file", err)
	}
	if _, err := snippet.ParseFS(files, "["); err == nil {
		t.Error("got no error for a malformed pattern")
	}
}
