package searchtokentest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFilter(t *testing.T) {
	for _, tc := range []struct {
		expression string
		want       []condition
		err        error
	}{
		{"", nil, nil},
		{"  ", nil, nil},
		{"@source==Help", []condition{{"source", "Help"}}, nil},
		{" @Source==alice@example.com ", []condition{{"source", "alice@example.com"}}, nil},
		{`@a=="b c" AND @d==e`, []condition{{"a", "b c"}, {"d", "e"}}, nil},
		{"@a==b\n@c==d", []condition{{"a", "b"}, {"c", "d"}}, nil},
		{`@a==""`, []condition{{"a", ""}}, nil},
		{"@a==AND", []condition{{"a", "AND"}}, nil},
		{"@a==b OR @c==d", nil, errFilter},
		{"NOT @a==b", nil, errFilter},
		{"@a==b AND", nil, errFilter},
		{"@a==b AND AND @c==d", nil, errFilter},
		{"@a==b AND@c==d", nil, errFilter},
		{"AND @a==b", nil, errFilter},
		{"@a=b", nil, errFilter},
		{"@a<>b", nil, errFilter},
		{"@a == b", nil, errFilter},
		{"@a==(b,c)", nil, errFilter},
		{"(@a==b)", nil, errFilter},
		{`@a=="b"c`, nil, errFilter},
		{`@a=="b\"c"`, nil, errFilter},
		{`@a=="b`, nil, errFilter},
		{"@a==b*", nil, errFilter},
		{"@a==", nil, errFilter},
		{"word", nil, errFilter},
	} {
		t.Run(tc.expression, func(t *testing.T) {
			got, err := parseFilter(tc.expression)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(condition{})); diff != "" || !errors.Is(err, tc.err) {
				t.Errorf("got error %v, want %v; conditions (-want +got):\n%s", err, tc.err, diff)
			}
		})
	}
}

func TestConditionHoldsForDocumentsWithTheValue(t *testing.T) {
	e := newEntry(Document{Fields: map[string]string{"tenant": "Acme", "blank": ""}})
	for _, tc := range []struct {
		condition condition
		want      bool
	}{
		{condition{"tenant", "Acme"}, true},
		{condition{"tenant", "aCME"}, true},
		{condition{"tenant", "globex"}, false},
		{condition{"blank", ""}, true},
		{condition{"missing", ""}, false},
	} {
		t.Run(tc.condition.field+"=="+tc.condition.value, func(t *testing.T) {
			if got := tc.condition.holdsFor(e); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
