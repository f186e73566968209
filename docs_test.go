package searchtoken_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/importer"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

const (
	modulePath = "github.com/searchtoken/searchtoken"
	apiFile    = "testdata/api.txt"
)

var updateAPI = flag.Bool("update", false, "write the exported API to "+apiFile)

// document is a Markdown file.
type document struct {
	file    string // relative to the root of the repository, with slashes
	lines   []string
	inCode  []bool // whether a line belongs to a code block
	blocks  []codeBlock
	anchors map[string]bool // the fragments that a link to the file may have
}

// codeBlock is a fenced code block.
type codeBlock struct {
	file     string
	line     int    // number of the first line of text
	language string // first word after the opening fence
	argument string // the other words
	text     string
}

// documents returns every Markdown file of the repository.
func documents(t *testing.T) []*document {
	t.Helper()
	var docs []*document
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case entry.Type().IsRegular() && filepath.Ext(path) == ".md":
			docs = append(docs, parseMarkdown(filepath.ToSlash(path), readFile(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

var (
	fence       = regexp.MustCompile("^ {0,3}(```+) *([^ `]*) *([^`]*)$")
	heading     = regexp.MustCompile(`^ {0,3}#{1,6} +(.*?)(?: +#+)? *$`)
	htmlAnchor  = regexp.MustCompile(`<a +(?:id|name)="([^"]+)"`)
	inlineCode  = regexp.MustCompile("`+[^`]*`+")
	inlineLink  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	linkTargets = []*regexp.Regexp{
		regexp.MustCompile(`\]\( *<?([^)\s>]+)`),
		regexp.MustCompile(`^ {0,3}\[[^\]]+\]: *<?([^\s>]+)`),
		regexp.MustCompile(`<[a-z]+ [^>]*(?:src|href)="([^"]+)"`),
	}
)

func parseMarkdown(file, text string) *document {
	doc := &document{file: file, lines: strings.Split(text, "\n"), anchors: map[string]bool{}}
	headings := map[string]int{}
	open := "" // the fence of the current code block
	for i, line := range doc.lines {
		match := fence.FindStringSubmatch(line)
		doc.inCode = append(doc.inCode, open != "" || match != nil)
		switch {
		case open == "" && match != nil:
			open = match[1]
			block := codeBlock{file: file, line: i + 2, language: match[2], argument: strings.TrimSpace(match[3])}
			doc.blocks = append(doc.blocks, block)
		case open != "" && match != nil && len(match[1]) >= len(open) && match[2] == "":
			open = ""
		case open != "":
			doc.blocks[len(doc.blocks)-1].text += line + "\n"
		default:
			for _, anchor := range htmlAnchor.FindAllStringSubmatch(line, -1) {
				doc.anchors[anchor[1]] = true
			}
			if match := heading.FindStringSubmatch(line); match != nil {
				anchor := slug(match[1])
				if n := headings[anchor]; n > 0 {
					doc.anchors[fmt.Sprintf("%s-%d", anchor, n)] = true
				}
				headings[anchor]++
				doc.anchors[anchor] = true
			}
		}
	}
	return doc
}

// slug returns the anchor that GitHub gives a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r), unicode.IsMark(r):
			return unicode.ToLower(r)
		}
		return -1
	}, inlineLink.ReplaceAllString(heading, "$1"))
}

// TestLinksResolve checks every relative link, and its anchor, in every
// Markdown file.
func TestLinksResolve(t *testing.T) {
	docs := documents(t)
	byFile := map[string]*document{}
	for _, doc := range docs {
		byFile[doc.file] = doc
	}
	checked := 0
	for _, doc := range docs {
		for i, line := range doc.lines {
			if doc.inCode[i] {
				continue
			}
			line = inlineCode.ReplaceAllString(line, "code")
			for _, target := range linkTargets {
				for _, match := range target.FindAllStringSubmatch(line, -1) {
					checked++
					if err := checkLink(byFile, doc.file, match[1]); err != nil {
						t.Errorf("%s:%d: %s: %v", doc.file, i+1, match[1], err)
					}
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("found %d links in %d files, want at least 20", checked, len(docs))
	}
}

func checkLink(docs map[string]*document, from, target string) error {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return err
	case u.Scheme == "mailto", u.Scheme == "https", u.Hostname() == "localhost":
		return nil
	case u.Scheme != "" || u.Host != "":
		return errors.New("must be https, or relative")
	}
	file := from
	if u.Path != "" {
		file = filepath.Join(filepath.Dir(from), filepath.FromSlash(u.Path))
		if !filepath.IsLocal(file) {
			return errors.New("leads out of the repository")
		}
		if _, err := os.Stat(file); err != nil {
			return errors.New("there is no such file")
		}
	}
	doc := docs[filepath.ToSlash(file)]
	if u.Fragment != "" && (doc == nil || !doc.anchors[u.Fragment]) {
		return fmt.Errorf("%s has no such heading", file)
	}
	return nil
}

// TestTablesFit checks that no row of a table is over 120 columns.
func TestTablesFit(t *testing.T) {
	for _, doc := range documents(t) {
		for i, line := range doc.lines {
			if n := utf8.RuneCountInString(line); strings.HasPrefix(line, "|") && !doc.inCode[i] && n > 120 {
				t.Errorf("%s:%d: the table row has %d columns, want at most 120", doc.file, i+1, n)
			}
		}
	}
}

// scopePackages are the packages that a Go block may use without an import,
// unless it is a whole file.
var scopePackages = []string{
	"bytes", "context", "crypto/rand", "encoding/hex", "encoding/json", "errors", "expvar", "fmt", "html/template",
	"io", "log", "log/slog", "net/http", "net/http/httptest", "net/url", "os", "os/signal", "strconv", "strings",
	"sync", "syscall", "testing", "testing/synctest", "time",
	"github.com/gorilla/sessions", modulePath, modulePath + "/searchtokentest",
}

// scopeVariables are the variables that such a block may use: names and types.
var scopeVariables = [][2]string{
	{"coveo", "*searchtoken.Middleware"}, {"store", "sessions.Store"}, {"mux", "*http.ServeMux"},
	{"searchPage", "http.Handler"}, {"w", "http.ResponseWriter"}, {"r", "*http.Request"}, {"ctx", "context.Context"},
	{"logger", "*slog.Logger"}, {"page", "*searchtoken.Page"}, {"tmpl", "*template.Template"},
	{"cfg", "searchtoken.Config"}, {"err", "error"},
}

// TestCodeBlocksCompile checks the format and the types of every Go block in
// every Markdown file. A block is a whole file, declarations, or statements. A
// block that is marked "go module=rediscache" may use that module, too; the
// same goes for otelsearchtoken. A block that is marked "go recipe=NAME" is a
// part of a test in interop, which compares them.
func TestCodeBlocksCompile(t *testing.T) {
	packages := map[string][]string{
		"": scopePackages,
		"module=rediscache": slices.Concat(scopePackages,
			[]string{modulePath + "/rediscache", "github.com/redis/rueidis"}),
		"module=otelsearchtoken": slices.Concat(scopePackages, []string{modulePath + "/otelsearchtoken",
			"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "go.opentelemetry.io/otel",
			"go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/exporters/prometheus",
			"go.opentelemetry.io/otel/sdk/metric", "github.com/prometheus/client_golang/prometheus/promhttp"}),
	}
	importers := map[string]types.Importer{}
	checked := 0
	for _, doc := range documents(t) {
		for _, block := range doc.blocks {
			if block.language != "go" || strings.HasPrefix(block.argument, "recipe=") {
				continue
			}
			checked++
			scope, ok := packages[block.argument]
			if !ok {
				t.Errorf("%s:%d: a Go block must not be marked %q", block.file, block.line-1, block.argument)
				continue
			}
			if importers[block.argument] == nil {
				importers[block.argument] = newImporter(t, strings.TrimPrefix(block.argument, "module="), scope)
			}
			for _, err := range block.check(importers[block.argument], scope) {
				t.Error(err)
			}
		}
	}
	if checked < 10 {
		t.Errorf("found %d Go blocks, want at least 10", checked)
	}
}

// newImporter compiles packages in the module in dir, and returns an importer
// for them and for all that they import.
func newImporter(t *testing.T, dir string, packages []string) types.Importer {
	t.Helper()
	list := exec.Command("go", append([]string{"list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"},
		packages...)...)
	list.Dir = dir
	var stderr strings.Builder
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	files := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		files[path] = file
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if files[path] == "" {
			return nil, errors.New("no Go block may import it")
		}
		return os.Open(files[path])
	})
}

// check returns what is wrong with b.
func (b codeBlock) check(imports types.Importer, scope []string) (errs []error) {
	if formatted, err := format.Source([]byte(b.text)); err == nil && string(formatted) != b.text {
		errs = append(errs, fmt.Errorf("%s:%d: gofmt formats the block as\n%s", b.file, b.line, formatted))
	}
	fset := token.NewFileSet()
	file, whole, err := b.parse(fset, scope)
	if err != nil {
		return append(errs, err)
	}
	conf := types.Config{Importer: imports, Error: func(err error) {
		// That a part of a program leaves an import or a variable unused is a
		// soft error.
		var typeErr types.Error
		if errors.As(err, &typeErr) && (whole || !typeErr.Soft) {
			position := fset.Position(typeErr.Pos)
			errs = append(errs, fmt.Errorf("%s:%d: %s", position.Filename, position.Line, typeErr.Msg))
		}
	}}
	_, _ = conf.Check(file.Name.Name, fset, []*ast.File{file}, nil) // conf.Error gets the errors
	return errs
}

var beginsWithDeclaration = regexp.MustCompile(`\A(//.*\n)*(func|type|var|const) `)

// parse returns b as a file of Go, and whether b is a whole file by itself.
func (b codeBlock) parse(fset *token.FileSet, scope []string) (file *ast.File, whole bool, err error) {
	parse := func(before, after string) (*ast.File, error) {
		text := fmt.Sprintf("%s//line %s:%d\n%s%s", before, b.file, b.line, b.text, after)
		file, err := parser.ParseFile(fset, "", text, parser.SkipObjectResolution)
		var syntax scanner.ErrorList
		if errors.As(err, &syntax) {
			err = fmt.Errorf("%s:%d: %s", syntax[0].Pos.Filename, syntax[0].Pos.Line, syntax[0].Msg)
		}
		return file, err
	}
	if strings.HasPrefix(b.text, "package ") {
		file, err = parse("", "")
		return file, true, err
	}
	before := "package p\n"
	for _, path := range scope {
		before += fmt.Sprintf("import %q\n", path)
	}
	for _, v := range scopeVariables {
		// A block may declare such a variable itself.
		if !regexp.MustCompile(`(?m)^(var|func) ` + v[0] + `\b`).MatchString(b.text) {
			before += fmt.Sprintf("var %s %s\n", v[0], v[1])
		}
	}
	if beginsWithDeclaration.MatchString(b.text) {
		file, err = parse(before, "")
		return file, false, err
	}
	file, err = parse(before+"func _() {\n", "}\n")
	return file, false, err
}

// TestREADMEShowsAtomicsPolicy checks that the policy in the README is the one
// that Page.CSP returns.
func TestREADMEShowsAtomicsPolicy(t *testing.T) {
	page := searchtoken.Page{
		OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, RenewURL: "/coveo/token", Nonce: "NONCE",
	}
	policy, err := page.CSP("default-src 'self'; object-src 'none'", searchtoken.Atomic)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(policy, "; ", ";\n") + "\n"
	var got string
	for _, block := range parseMarkdown("README.md", readFile(t, "README.md")).blocks {
		if strings.HasPrefix(block.text, "default-src ") {
			got = block.text
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the policy (-want +got):\n%s", diff)
	}
}

// TestQuickStart builds the program of the README, and uses it as the
// transcript below it does.
func TestQuickStart(t *testing.T) {
	addr := freeAddr(t)
	dir, transcript := quickStart(t, addr)
	start := func(env ...string) *exec.Cmd {
		site := exec.Command(filepath.Join(dir, "site"))
		site.Dir, site.Env = dir, append([]string{}, env...) // nothing of the test's own environment
		return site
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	defer client.CloseIdleConnections()
	answer := func(resp *http.Response, err error) (status int, body string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	site := "http://" + addr
	commands := map[string]func() (output string){
		"go run . &": func() string {
			command := start()
			stderr, err := command.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = command.Process.Kill()
				_ = command.Wait()
			})
			line, err := bufio.NewReader(stderr).ReadString('\n')
			if err != nil {
				t.Fatalf("the program wrote %q: %v", line, err)
			}
			awaitServer(t, addr)
			return line
		},
		`curl -w '%{http_code}\n' ` + addr: func() string {
			status, body := answer(client.Get(site))
			return fmt.Sprintf("%s%d\n", body, status)
		},
		"curl -c jar -d email=alice@example.com " + addr + "/login": func() string {
			status, body := answer(client.PostForm(site+"/login", url.Values{"email": {"alice@example.com"}}))
			if status != http.StatusSeeOther {
				t.Errorf("POST /login: status %d, want 303", status)
			}
			return body
		},
		"curl -s -b jar " + addr + ` | grep -o '"accessToken":"eyJ'`: func() string {
			_, body := answer(client.Get(site))
			return strings.Join(regexp.MustCompile(`"accessToken":"eyJ`).FindAllString(body, -1), "\n") + "\n"
		},
		"COVEO_ORGANIZATION_ID=acme_corp go run .": func() string {
			out, err := start("COVEO_ORGANIZATION_ID=acme_corp").CombinedOutput()
			return fmt.Sprintf("%s%v\n", out, err)
		},
	}
	date := regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `)
	for _, step := range strings.Split("\n"+transcript, "\n$ ")[1:] {
		command, want, _ := strings.Cut(strings.TrimSuffix(step, "\n")+"\n", "\n")
		run := commands[command]
		if run == nil {
			t.Fatalf("the test cannot run the README's command %q", command)
		}
		delete(commands, command)
		if diff := cmp.Diff(date.ReplaceAllString(want, ""), date.ReplaceAllString(run(), "")); diff != "" {
			t.Errorf("%s (-README +got):\n%s", command, diff)
		}
	}
	for command := range commands {
		t.Errorf("the README does not run %q", command)
	}
	// Those who use a browser need the form.
	if status, body := answer(client.Get(site + "/login")); status != http.StatusOK ||
		!strings.Contains(body, `name="email"`) {
		t.Errorf("GET /login: status %d, body %q", status, body)
	}
}

// quickStart builds the program of the README in dir, with addr as its address.
func quickStart(t *testing.T, addr string) (dir, transcript string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, block := range parseMarkdown("README.md", readFile(t, "README.md")).blocks {
		text := strings.ReplaceAll(block.text, "localhost:3000", addr)
		name, isFile := strings.CutPrefix(block.argument, "file=")
		switch {
		case isFile:
			write(name, text)
		case strings.HasPrefix(text, "package main\n"):
			write("main.go", text)
		case strings.HasPrefix(text, "$ go run . "):
			transcript = text
		}
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", readFile(t, "go.sum"))
	write("go.mod", strings.Replace(readFile(t, "go.mod"), "module "+modulePath, "module site", 1)+
		"require "+modulePath+" v0.0.0\nreplace "+modulePath+" => "+root+"\n")
	build := exec.Command("go", "build", "-mod=mod", "-o", "site", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir, transcript
}

// freeAddr returns an address on loopback on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// awaitServer returns when a server listens on addr.
func awaitServer(t *testing.T, addr string) {
	t.Helper()
	for range 100_000 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("nobody listens on %s", addr)
}

// TestExportedAPI compares the exported API with a list that changes only on
// purpose.
func TestExportedAPI(t *testing.T) {
	packages := []string{modulePath, modulePath + "/searchtokentest"}
	imports := newImporter(t, "", packages)
	var lines []string
	for _, path := range packages {
		pkg, err := imports.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, exportedAPI(pkg)...)
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	if *updateAPI {
		if err := os.WriteFile(apiFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(strings.Split(readFile(t, apiFile), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the exported API differs from %s. If that is intended, run\n"+
			"\tgo test -run TestExportedAPI -update\nand write the change into CHANGELOG.md (-want +got):\n%s", apiFile,
			diff)
	}
}

// exportedAPI returns a line for each exported name, field and method of pkg,
// in the form of the files in Go's own api directory.
func exportedAPI(pkg *types.Package) (lines []string) {
	add := func(format string, args ...any) {
		lines = append(lines, "pkg "+pkg.Name()+", "+fmt.Sprintf(format, args...))
	}
	typeName := func(t types.Type) string {
		return types.TypeString(t, func(other *types.Package) string {
			if other == pkg {
				return ""
			}
			return other.Name()
		})
	}
	signature := func(f *types.Func) string {
		return strings.TrimPrefix(typeName(withoutNames(f.Signature())), "func")
	}
	for _, name := range pkg.Scope().Names() {
		object := pkg.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		switch object := object.(type) {
		case *types.Const:
			add("const %s %s = %s", name, typeName(object.Type()), object.Val())
		case *types.Var:
			add("var %s %s", name, typeName(object.Type()))
		case *types.Func:
			add("func %s%s", name, signature(object))
		case *types.TypeName:
			switch underlying := object.Type().Underlying().(type) {
			case *types.Struct:
				add("type %s struct", name)
				for field := range underlying.Fields() {
					switch {
					case field.Exported() && field.Embedded():
						add("type %s struct, embedded %s", name, typeName(field.Type()))
					case field.Exported():
						add("type %s struct, %s %s", name, field.Name(), typeName(field.Type()))
					}
				}
			case *types.Interface:
				add("type %s interface", name)
				for method := range underlying.Methods() {
					add("type %s interface, %s%s", name, method.Name(), signature(method))
				}
				continue
			default:
				add("type %s %s", name, typeName(underlying))
			}
			methods := types.NewMethodSet(types.NewPointer(object.Type()))
			for selection := range methods.Methods() {
				method := selection.Obj().(*types.Func)
				if promoted := len(selection.Index()) > 1; method.Exported() && !promoted {
					add("method (%s) %s%s", typeName(method.Signature().Recv().Type()), method.Name(),
						signature(method))
				}
			}
		}
	}
	return lines
}

// withoutNames returns s without the names of its parameters and results.
func withoutNames(s *types.Signature) *types.Signature {
	unnamed := func(tuple *types.Tuple) *types.Tuple {
		var vars []*types.Var
		for v := range tuple.Variables() {
			vars = append(vars, types.NewVar(token.NoPos, nil, "", v.Type()))
		}
		return types.NewTuple(vars...)
	}
	return types.NewSignatureType(nil, nil, nil, unnamed(s.Params()), unnamed(s.Results()), s.Variadic())
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
