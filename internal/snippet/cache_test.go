package snippet_test

import (
	"errors"
	"fmt"
	"html/template"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/snippet"
)

// text compiles a snippet without places.
func text(s string) (*snippet.Snippet, error) {
	return snippet.Compile(template.Must(template.New("").Parse("{{.}}")), "", template.HTML(s))
}

// has reports whether the cache has a snippet, without adding one.
func has[K comparable](c *snippet.Cache[K], key K) bool {
	errMissing := errors.New("missing")
	_, err := c.Get(key, func() (*snippet.Snippet, error) { return nil, errMissing })
	return err == nil
}

func TestCacheKeepsWhatItsLimitsAllow(t *testing.T) {
	errCompile := errors.New("no such template")
	tests := []struct {
		name      string
		size      int
		err       error
		wantKept  bool
		wantBytes int
	}{
		{"empty", 0, nil, true, 0},
		{"32 KiB", 32 << 10, nil, true, 32 << 10},
		{"more than 32 KiB", 32<<10 + 1, nil, false, 32<<10 + 1},
		{"an error", 1, errCompile, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c snippet.Cache[string]
			s, err := c.Get("key", func() (*snippet.Snippet, error) {
				if tt.err != nil {
					return nil, tt.err
				}
				return text(strings.Repeat("x", tt.size))
			})
			if !errors.Is(err, tt.err) {
				t.Fatalf("the error is %v, want %v", err, tt.err)
			}
			if s != nil {
				got, err := s.Fill()
				if diff := cmp.Diff(template.HTML(strings.Repeat("x", tt.wantBytes)), got); diff != "" || err != nil {
					t.Errorf("Fill: %v (-want +got):\n%s", err, diff)
				}
			}
			if got := has(&c, "key"); got != tt.wantKept {
				t.Errorf("the snippet is kept: %v, want %v", got, tt.wantKept)
			}
		})
	}
}

func TestCacheKeepsTheLast1024Snippets(t *testing.T) {
	var c snippet.Cache[int]
	const added = 3000
	kept := func() (n int) {
		for i := range added {
			if has(&c, i) {
				n++
			}
		}
		return n
	}
	for i := range added {
		if _, err := c.Get(i, func() (*snippet.Snippet, error) { return text("x") }); err != nil {
			t.Fatal(err)
		}
		if !has(&c, i) {
			t.Fatalf("snippet %d is not kept", i)
		}
		if n := i + 1; n == 1024 && kept() != n {
			t.Errorf("of %d snippets, %d are kept, want all", n, kept())
		}
	}
	if got := kept(); got != 1024 {
		t.Errorf("of %d snippets, %d are kept, want 1024", added, got)
	}
}

func TestCacheReturnsTheSnippetOfTheKey(t *testing.T) {
	var c snippet.Cache[int]
	slot := snippet.Attribute()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				key := (7*i + g) % 50
				s, err := c.Get(key, func() (*snippet.Snippet, error) {
					return snippet.Compile(parse(`<p id="{{.Key}}" title="{{.Title}}">`), "page",
						map[string]any{"Key": key, "Title": slot.Placeholder()}, slot)
				})
				if err != nil {
					t.Error(err)
					return
				}
				got, err := s.Fill(fmt.Sprint(g, "&", i))
				want := template.HTML(fmt.Sprintf(`<p id="%d" title="%d&amp;%d">`, key, g, i))
				if got != want || err != nil {
					t.Errorf("Fill = %q, %v, want %q", got, err, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestAKeptSnippetAllocatesItsResultOnly(t *testing.T) {
	type key struct{ a, b string }
	var c snippet.Cache[key]
	slots := []*snippet.Slot{snippet.Attribute(), snippet.URLQuery(), snippet.ScriptString()}
	got := testing.AllocsPerRun(100, func() {
		s, err := c.Get(key{"a", "b"}, func() (*snippet.Snippet, error) {
			return compile(t, `<p title="{{.A}}"><a href="?{{.B}}"></a><script>"{{.C}}"</script>`,
				[]string{"A", "B", "C"}, slots), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fill("a", "b", "c"); err != nil {
			t.Fatal(err)
		}
	})
	if got > 1 {
		t.Errorf("%v allocations, want 1", got)
	}
}
