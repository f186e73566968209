package interop_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the recipes into the documentation")

// maxRecipe is the maximum number of lines of a recipe.
const maxRecipe = 15

var (
	region = regexp.MustCompile(`(?ms)^(\t*)// recipe: (\S+)\n(.*?)^\t*// end recipe$`)
	block  = regexp.MustCompile("(?ms)^```go(?: recipe=(\\S+))?\n(.*?)^```$")
)

// forReaders replaces what only a test can call.
var forReaders = strings.NewReplacer("t.Fatal(", "log.Fatal(", "t.Error(", "log.Print(")

// TestRecipes compares the code blocks of the documentation that are marked
// "recipe=NAME" with the regions of the tests in this directory.
func TestRecipes(t *testing.T) {
	recipes := map[string]string{}
	tests, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tests {
		for _, match := range region.FindAllStringSubmatch(readFile(t, file), -1) {
			indent, name, code := match[1], match[2], match[3]
			if recipes[name] != "" {
				t.Errorf("%s: a second recipe has the name %q", file, name)
			}
			code = forReaders.Replace(strings.ReplaceAll("\n"+code, "\n"+indent, "\n"))
			recipes[name] = strings.Trim(code, "\n") + "\n"
			if n := strings.Count(recipes[name], "\n"); n > maxRecipe {
				t.Errorf("%s: the recipe %q has %d lines, want at most %d", file, name, n, maxRecipe)
			}
		}
	}

	used := map[string]bool{}
	for _, file := range []string{"../docs/recipes.md", "../docs/frontends.md"} {
		text := readFile(t, file)
		want := block.ReplaceAllStringFunc(text, func(text string) string {
			name := block.FindStringSubmatch(text)[1]
			code, ok := recipes[name]
			if !ok {
				t.Errorf("%s: no test has the recipe %q of this block:\n%s", file, name, text)
				return text
			}
			used[name] = true
			return "```go recipe=" + name + "\n" + code + "```"
		})
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			text = want
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(text, "\n")); diff != "" {
			t.Errorf("%s differs from the tests; run\n\tgo test -run TestRecipes -update\n(-want +got):\n%s", file, diff)
		}
	}
	for name := range recipes {
		if !used[name] {
			t.Errorf("no page has the recipe %q", name)
		}
	}
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
