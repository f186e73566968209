package searchtoken_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestOperationsExplainsEveryLogMessage looks for the messages and the keys of
// log lines in the code, and in docs/operations.md.
func TestOperationsExplainsEveryLogMessage(t *testing.T) {
	explained := map[string]string{} // the text below the heading of each message
	for _, section := range strings.Split(readFile(t, "docs/operations.md"), "\n### ")[1:] {
		heading, text, _ := strings.Cut(section, "\n")
		explained[strings.Trim(heading, "`")] = text
	}
	logged := loggedMessages(t)
	for message, keys := range logged {
		text, ok := explained[message]
		if !ok {
			t.Errorf("docs/operations.md has no heading for the message %q", message)
			continue
		}
		for _, key := range keys {
			if !strings.Contains(text, "`"+key+"`") {
				t.Errorf("docs/operations.md does not name the key `%s` of %q", key, message)
			}
		}
	}
	for message := range explained {
		if logged[message] == nil {
			t.Errorf("docs/operations.md explains %q, which is not logged", message)
		}
	}
	if len(logged) < 9 {
		t.Errorf("found %d messages, want at least 9", len(logged))
	}
}

// loggedMessages returns the messages that the package logs, and their keys.
// The keys stand in the call that writes the line or, if the call has
// variables, in the same function.
func loggedMessages(t *testing.T) map[string][]string {
	t.Helper()
	logged := map[string][]string{}
	eachFunction(t, func(f *ast.FuncDecl) {
		var message string
		var keys []string
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if text, ok := subjectOf(n); ok {
					message = text
				} else {
					keys = append(keys, keysIn(n.Elts)...)
				}
			case *ast.CallExpr:
				switch calledName(n) {
				case "originHint":
					keys = append(keys, "hint")
				case "log", "append", "DebugContext", "InfoContext", "WarnContext", "ErrorContext":
					for _, arg := range n.Args {
						text, ok := subjectOf(arg)
						if literal, isLiteral := stringOf(arg); isLiteral && strings.HasPrefix(literal, "searchtoken: ") {
							text, ok = literal, true
						}
						if ok {
							logged[text] = append(logged[text], keysIn(n.Args)...)
							return false
						}
					}
					keys = append(keys, keysIn(n.Args)...)
				}
			}
			return true
		})
		if message != "" {
			logged[message] = append(logged[message], keys...)
		}
	})
	return logged
}

// subjectOf returns the message of a subject literal.
func subjectOf(expr ast.Expr) (message string, ok bool) {
	literal, ok := expr.(*ast.CompositeLit)
	if !ok || len(literal.Elts) == 0 {
		return "", false
	}
	if name, ok := literal.Type.(*ast.Ident); !ok || name.Name != "subject" {
		return "", false
	}
	first := literal.Elts[0]
	if field, ok := first.(*ast.KeyValueExpr); ok {
		first = field.Value
	}
	message, ok = stringOf(first)
	return "searchtoken: " + message, ok
}

var logKey = regexp.MustCompile(`^[a-z_]+$`)

// keysIn returns the keys of a log line that are literals in list.
func keysIn(list []ast.Expr) (keys []string) {
	for _, expr := range list {
		if text, ok := stringOf(expr); ok && logKey.MatchString(text) {
			keys = append(keys, text)
		}
	}
	return keys
}

// TestOperationsExplainsEveryEvent looks for the kinds and the outcomes of
// events in the first column of the tables.
func TestOperationsExplainsEveryEvent(t *testing.T) {
	text := readFile(t, "docs/operations.md")
	value := regexp.MustCompile(`(?m)^pkg searchtoken, const (?:Event|Outcome)\w+ (?:EventKind|Outcome) = "(\w+)"$`)
	values := value.FindAllStringSubmatch(readFile(t, apiFile), -1)
	for _, match := range values {
		if !strings.Contains(text, "\n| `"+match[1]+"` |") {
			t.Errorf("docs/operations.md has no row for `%s`", match[1])
		}
	}
	if len(values) < 20 {
		t.Errorf("found %d kinds and outcomes, want at least 20", len(values))
	}
}

// eachFunction calls f for each function of the package that is not a test.
func eachFunction(t *testing.T, f func(*ast.FuncDecl)) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok {
				f(function)
			}
		}
	}
}

// stringOf returns the value of a string literal.
func stringOf(expr ast.Expr) (string, bool) {
	literal, ok := expr.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(literal.Value)
	return text, err == nil
}

// calledName returns the name of the function or method that a call calls.
func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
