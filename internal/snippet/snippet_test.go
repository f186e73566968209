package snippet_test

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/snippet"
)

// parse parses a template named "page".
func parse(text string) *template.Template { return template.Must(template.New("page").Parse(text)) }

// compile compiles text with the placeholder of each slot under the slot's
// name.
func compile(t *testing.T, text string, names []string, slots []*snippet.Slot) *snippet.Snippet {
	t.Helper()
	data := map[string]string{}
	for i, name := range names {
		data[name] = slots[i].Placeholder()
	}
	s, err := snippet.Compile(parse(text), "page", data, slots...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFillPutsEachValueIntoItsPlaces(t *testing.T) {
	a, b, c := snippet.Attribute(), snippet.Attribute(), snippet.Attribute()
	tests := []struct {
		name   string
		text   string
		values []string
		want   string
	}{
		{"no places", `<p title="x">`, []string{"1", "2", "3"}, `<p title="x">`},
		{"an empty template", ``, []string{"1", "2", "3"}, ``},
		{"one place", `<p title="{{.A}}">`, []string{"1", "2", "3"}, `<p title="1">`},
		{"several places", `<p title="{{.A}} {{.A}}">{{.A}}`, []string{"1", "2", "3"}, `<p title="1 1">1`},
		{"in another order", `<p title="{{.C}} {{.B}} {{.A}} {{.B}}">`, []string{"1", "2", "3"}, `<p title="3 2 1 2">`},
		{"first and last", `{{.A}}<p>{{.B}}`, []string{"1", "2", "3"}, `1<p>2`},
		{"next to each other", `{{.A}}{{.B}}{{.A}}`, []string{"1", "2", "3"}, `121`},
		{"empty values", `<p title="{{.A}}{{.B}}{{.C}}">`, []string{"", "2", ""}, `<p title="2">`},
		{
			name: "longer than the placeholder", text: `<p title="{{.A}}">`,
			values: []string{strings.Repeat("1", 1000), "2", "3"},
			want:   `<p title="` + strings.Repeat("1", 1000) + `">`,
		},
		{
			name: "the placeholder of another slot", text: `<p title="{{.A}}">`,
			values: []string{b.Placeholder(), "2", "3"},
			want:   `<p title="` + b.Placeholder() + `">`,
		},
		{"an action", `<p title="{{.A}}">`, []string{"{{.B}}", "2", "3"}, `<p title="{{.B}}">`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := compile(t, tt.text, []string{"A", "B", "C"}, []*snippet.Slot{a, b, c})
			for range 2 {
				got, err := s.Fill(tt.values...)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(template.HTML(tt.want), got); diff != "" {
					t.Errorf("Fill (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestFillTakesMoreValuesThanItsArrayHolds(t *testing.T) {
	var text strings.Builder
	var names, values []string
	var slots []*snippet.Slot
	for i := range 10 {
		names, values = append(names, fmt.Sprint("V", i)), append(values, fmt.Sprint(i, ";"))
		slots = append(slots, snippet.Attribute())
		fmt.Fprintf(&text, "{{.V%d}}", i)
	}
	got, err := compile(t, text.String(), names, slots).Fill(values...)
	if want := template.HTML("0;1;2;3;4;5;6;7;8;9;"); got != want || err != nil {
		t.Errorf("Fill = %q, %v, want %q", got, err, want)
	}
}

func TestFillDoesNotModifyTheValues(t *testing.T) {
	values := []string{`"`}
	s := compile(t, `<p title="{{.A}}">`, []string{"A"}, []*snippet.Slot{snippet.Attribute()})
	if _, err := s.Fill(values...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{`"`}, values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

// Each character is filled in alone and among others, and compared with what
// html/template renders from the same template by itself.
func TestFillEscapesAsHTMLTemplateDoes(t *testing.T) {
	values := []string{
		"", "\u2028", "\u2029", "\ufeff", "\xff", "</script>", "<!--", "-->", "{{.}}", "${a}", "日本", "javascript:a",
		"a.b-c_d", "a/b=", "a b", "%41", "&amp;", `\u0022`,
	}
	for c := range rune(0x100) {
		values = append(values, string(c), "a"+string(c)+"b")
	}
	tests := []struct {
		name, text string
		slot       *snippet.Slot
	}{
		{"attribute", `<script nonce="{{.V}}"></script><p title="a {{.V}}" class="{{.V}}">`, snippet.Attribute()},
		{
			name: "URL query",
			text: `<script src="https://example.com/a?b={{.V}}"></script><a href="?b={{.V}}&amp;c={{.V}}#d">`,
			slot: snippet.URLQuery(),
		},
		{
			name: "string in a script",
			text: `<script>const o = {"a":"{{.V}}"}; f("{{.V}}", 'a');</script>` +
				`<script type="module">f("{{.V}}")</script>`,
			slot: snippet.ScriptString(),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			direct := parse(tt.text)
			s := compile(t, tt.text, []string{"V"}, []*snippet.Slot{tt.slot})
			for _, value := range values {
				var want strings.Builder
				if err := direct.Execute(&want, map[string]string{"V": value}); err != nil {
					t.Fatal(err)
				}
				got, err := s.Fill(value)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(template.HTML(want.String()), got); diff != "" {
					t.Errorf("%q (-html/template +got):\n%s", value, diff)
				}
			}
		})
	}
}

func TestPlaceholdersPassEscapersUnchanged(t *testing.T) {
	seen := map[string]bool{}
	for range 10 {
		for _, slot := range []*snippet.Slot{snippet.Attribute(), snippet.URLQuery(), snippet.ScriptString()} {
			p := slot.Placeholder()
			if seen[p] || len(p) < 26 {
				t.Errorf("placeholder %q is known or short: a page may contain it", p)
			}
			seen[p] = true
			if got := url.QueryEscape(p); got != p {
				t.Errorf("placeholder %q: QueryEscape = %q", p, got)
			}
			var b strings.Builder
			tmpl := parse(`<p title="{{.}}"><a href="{{.}}?{{.}}">{{.}}</a>` +
				`<script>const a = {{.}}, b = "{{.}}";</script>`)
			if err := tmpl.Execute(&b, p); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(b.String(), p); got != 6 {
				t.Errorf("placeholder %q is %d times in %s, want 6", p, got, b.String())
			}
		}
	}
}

func TestCompileReturnsTheErrorOfTheTemplate(t *testing.T) {
	tests := []struct{ name, template, want string }{
		{"no such template", "other", `html/template: "other" is undefined`},
		{"a failing template", "page", "index of untyped nil"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := snippet.Compile(parse(`{{index .A 1}}`), tt.template, map[string]any{})
			if s != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Compile = %v, %v, want an error that contains %q", s, err, tt.want)
			}
		})
	}
}
