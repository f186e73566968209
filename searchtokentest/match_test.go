package searchtokentest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitWords(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []word
	}{
		{"", nil},
		{" ,;", nil},
		{"One", []word{{"one", highlight{0, 3}}}},
		{" a1-B2.", []word{{"a1", highlight{1, 2}}, {"b2", highlight{4, 2}}}},
		{"Über 😀 straße", []word{{"über", highlight{0, 4}}, {"straße", highlight{8, 6}}}}, // 😀 is two UTF-16 code units
	} {
		t.Run(tc.text, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, splitWords(tc.text), cmp.AllowUnexported(word{})); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMatchNeedsEveryWord(t *testing.T) {
	e := newEntry(Document{Title: "Red and blue", Excerpt: "red paint, RED brush"})
	type want struct {
		Score          int
		Title, Excerpt []highlight
	}
	none := []highlight{}
	for _, tc := range []struct {
		query string
		ok    bool
		want  want
	}{
		{"", true, want{1000, none, none}},
		{"blue", true, want{1100, []highlight{{8, 4}}, none}},
		{"paint", true, want{1010, none, []highlight{{4, 5}}}},
		{"red", true, want{1120, []highlight{{0, 3}}, []highlight{{0, 3}, {11, 3}}}},
		{"brush blue red", true, want{1230, []highlight{{0, 3}, {8, 4}}, []highlight{{0, 3}, {11, 3}, {15, 5}}}},
		{"red green", false, want{}},
		{"re", false, want{}},
	} {
		t.Run(tc.query, func(t *testing.T) {
			m, ok := e.matchWords(splitWords(tc.query))
			got := want{m.score, m.titleHighlights, m.excerptHighlights}
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != tc.ok {
				t.Errorf("got ok %v, want %v; match (-want +got):\n%s", ok, tc.ok, diff)
			}
		})
	}
}
