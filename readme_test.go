package searchtoken_test

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// TestREADME builds and starts the program in the README, without its
// configuration, as a reader would.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README has no program")
	}
	program := block[1]
	if n := strings.Count(string(program), "\n"); n > 30 {
		t.Errorf("the program has %d lines, more than 30", n)
	}
	if formatted, err := format.Source(program); err != nil || string(formatted) != string(program) {
		t.Errorf("the program is not formatted: %v", err)
	}

	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const module = "github.com/searchtoken/searchtoken"
	write("main.go", string(program))
	write("go.sum", read("go.sum"))
	write("go.mod", strings.Replace(read("go.mod"), "module "+module, "module site", 1)+
		"require "+module+" v0.0.0\nreplace "+module+" => "+root+"\n")
	build := exec.Command("go", "build", "-mod=mod", "-o", "site", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	site := exec.Command(filepath.Join(dir, "site"))
	site.Env = []string{}
	out, err := site.CombinedOutput()
	if err == nil {
		t.Error("the program starts without a configuration")
	}
	_, got, _ := strings.Cut(string(out), "searchtoken: ")
	want := "OrganizationID: is required\nAPIKey: is required, unless Credential is set\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what it says (-want +got):\n%s", diff)
	}
}

func TestREADMEListsAllOptions(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{searchtoken.Config{}, searchtoken.Route{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if !strings.Contains(string(readme), "`"+field.Name+"`") {
				t.Errorf("the README does not name %s.%s", reflect.TypeOf(v).Name(), field.Name)
			}
		}
	}
	if n := strings.Count(string(readme), "\n"); n > 150 {
		t.Errorf("the README has %d lines, more than 150", n)
	}
}
