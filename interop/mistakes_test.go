package interop_test

import (
	"bytes"
	"html/template"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gorilla/sessions"

	"github.com/searchtoken/searchtoken"
)

const troubleshooting = "../docs/troubleshooting.md"

// TestTroubleshootingTemplates compares the errors of templates with those in
// the documentation.
func TestTroubleshootingTemplates(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "token"}}
	execute := func(text string, data any) error {
		return template.Must(template.New("search.html").Funcs(searchtoken.FuncMap()).Parse(text)).Execute(io.Discard, data)
	}
	file := filepath.Join(t.TempDir(), "search.html")
	if err := os.WriteFile(file, []byte("{{coveoAtomic .}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		do         func() error
	}{
		{"no FuncMap", `function "coveoAtomic" not defined`, func() error {
			_, err := template.New("search.html").Parse("{{coveoAtomic .}}")
			return err
		}},
		{"a copy of the page", "expected *searchtoken.Page; got searchtoken.Page", func() error {
			return execute("{{coveoAtomic .}}", *page)
		}},
		{"nil under the key", "expected *searchtoken.Page; got interface {}", func() error {
			return execute("{{coveoAtomic .Coveo}}", map[string]any{"Coveo": nil})
		}},
		{"the whole data", "expected *searchtoken.Page; got map[string]interface {}", func() error {
			return execute("{{coveoAtomic .}}", map[string]any{"Coveo": page})
		}},
		{"a key of the page", "can't evaluate field Coveo in type *searchtoken.Page", func() error {
			return execute("{{coveoAtomic .Coveo}}", page)
		}},
		{"the name of another file", `"page" is an incomplete or empty template`, func() error {
			tmpl := template.Must(template.New("page").Funcs(searchtoken.FuncMap()).ParseFiles(file))
			return tmpl.Execute(io.Discard, page)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.do()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want %s", err, tt.want)
			}
			expectDocumented(t, tt.want)
		})
	}
}

// TestTroubleshootingStores compares the log lines about stores that are set up
// wrongly with those in the documentation.
func TestTroubleshootingStores(t *testing.T) {
	const page, withCookie = "", "session=a"
	var none *sessions.CookieStore
	withoutKey := sessions.NewCookieStore()
	emptyKey := sessions.NewCookieStore([]byte(""))
	keyed := sessions.NewCookieStore(sessionKey)
	for _, tt := range []struct {
		name, session string
		store         sessions.Store
		cookie        string
		status, want  string
	}{
		{"no store", "session", nil, page, "500", "SessionIdentity was given no store"},
		{"nil pointer", "session", none, page, "500", "the store panicked: "},
		{"no name", "", keyed, page, "500", "sessions: invalid character in cookie name"},
		{"space in the name", "my session", keyed, page, "500", "sessions: invalid character in cookie name"},
		{"no key", "session", withoutKey, withCookie, "500", "securecookie: no codecs provided"},
		{"no key and no cookie", "session", withoutKey, page, "401", ""},
		{"empty key", "session", emptyKey, withCookie, "500", "securecookie: hash key is not set"},
		{"empty key and no cookie", "session", emptyKey, page, "401", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			cfg, _ := newConfig()
			cfg.Identify = searchtoken.SessionEmail(tt.store, tt.session, "email")
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			got := visit(t, newCoveo(t, cfg).Handler(searchPage)).do("GET /search", "Cookie", tt.cookie)
			check(t, "answer", tt.status, got.String())
			if !strings.Contains(log.String(), tt.want) || tt.want == "" && log.Len() > 0 {
				t.Errorf("the log is %q, want %q", &log, tt.want)
			}
			expectDocumented(t, tt.want)
		})
	}
}

func expectDocumented(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(readFile(t, troubleshooting), text) {
		t.Errorf("%s does not have %q", troubleshooting, text)
	}
}
