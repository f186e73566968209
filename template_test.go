package searchtoken_test

import (
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// calls are a call of each template function.
var calls = map[searchtoken.FrontEnd]string{
	searchtoken.JSUI:       `{{coveoJSUI .}}`,
	searchtoken.Atomic:     `{{coveoAtomic .}}`,
	searchtoken.Headless:   `{{coveoHeadless .}}`,
	searchtoken.IPX:        `{{coveoIPX . "id"}}`,
	searchtoken.IPXBuilder: `{{coveoIPXBuilder . "id"}}`,
}

// proxied are the front ends that work on a page with a ProxyURL.
var proxied = []searchtoken.FrontEnd{searchtoken.JSUI, searchtoken.Atomic, searchtoken.Headless}

// The pages differ in one thing each, and are rendered in turns.
func TestPagesThatDifferHaveDifferentSnippets(t *testing.T) {
	base := searchtoken.Page{
		OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, RenewURL: "/renew",
		SearchHub: "hub", Nonce: "abc+",
	}
	type variant struct {
		name string
		page searchtoken.Page
		args string
	}
	variants := []variant{{"base", base, ""}}
	for name, change := range map[string]func(*searchtoken.Page){
		"token":                 func(p *searchtoken.Page) { p.Token.Value = "d.e.f" },
		"token with a quote":    func(p *searchtoken.Page) { p.Token.Value = `"` },
		"organization":          func(p *searchtoken.Page) { p.OrganizationID = "other" },
		"environment":           func(p *searchtoken.Page) { p.Environment = searchtoken.EnvHIPAA },
		"platform":              func(p *searchtoken.Page) { p.PlatformURL = "https://platform.example.com" },
		"analytics":             func(p *searchtoken.Page) { p.AnalyticsURL = "https://analytics.example.com" },
		"no renewal":            func(p *searchtoken.Page) { p.RenewURL = "" },
		"renewal elsewhere":     func(p *searchtoken.Page) { p.RenewURL = "/other" },
		"through the site":      func(p *searchtoken.Page) { p.ProxyURL = "/coveo" },
		"through another path":  func(p *searchtoken.Page) { p.ProxyURL = "/other" },
		"hub":                   func(p *searchtoken.Page) { p.SearchHub = "other" },
		"hub with a quote":      func(p *searchtoken.Page) { p.SearchHub = `"` },
		"no hub":                func(p *searchtoken.Page) { p.SearchHub = "" },
		"nonce":                 func(p *searchtoken.Page) { p.Nonce = "def=" },
		"no nonce":              func(p *searchtoken.Page) { p.Nonce = "" },
		"delimiters in a value": func(p *searchtoken.Page) { p.SearchHub = "{{.Token.Value}}" },
	} {
		page := base
		change(&page)
		variants = append(variants, variant{name, page, ""})
	}
	variants = append(variants,
		variant{"version", base, `"version" "1"`},
		variant{"assets", base, `"assets" "https://assets.example.com"`},
	)

	for _, f := range proxied {
		variantOf := map[string]string{} // by snippet
		for range 2 {
			for _, v := range variants {
				got, err := render(t, "{{"+string(f)+" . "+v.args+"}}", &v.page)
				if err != nil {
					t.Fatal(err)
				}
				if other, ok := variantOf[got]; ok && other != v.name {
					t.Errorf("%s: the snippets of %q and %q are the same", f, other, v.name)
				}
				variantOf[got] = v.name
			}
		}
		if len(variantOf) != len(variants) {
			t.Errorf("%s: %d different snippets of %d pages, each rendered twice", f, len(variantOf), len(variants))
		}
	}
}

func TestOptionsThatConcatenateAlikeHaveDifferentSnippets(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	one, err := render(t, `{{coveoAtomic . "root" "aversion3"}}`, page)
	if err != nil {
		t.Fatal(err)
	}
	two, err := render(t, `{{coveoAtomic . "root" "a" "version" "3"}}`, page)
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Errorf("both snippets are %s", one)
	}
}

// Pages with and without a nonce and a search hub are rendered in turns.
func TestSnippetsLeaveOutWhatThePageDoesNotHave(t *testing.T) {
	plain := searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	nonce, hub := plain, plain
	nonce.Nonce, hub.SearchHub = "abc+", "hub"
	for _, f := range proxied {
		for _, page := range []*searchtoken.Page{&plain, &nonce, &plain, &hub, &plain} {
			out, err := render(t, calls[f], page)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(out, "nonce"), page.Nonce != ""; got != want {
				t.Errorf("%s: contains a nonce: %v, want %v", f, got, want)
			}
			if got, want := strings.Contains(out, "searchHub"), page.SearchHub != ""; got != want {
				t.Errorf("%s: contains a search hub: %v, want %v", f, got, want)
			}
		}
	}
}

// Each character is put into each value, alone and among others. The same
// snippet as a template of html/template, with actions where the values are,
// says what to expect.
func TestSnippetsEscapeTheirValuesAsHTMLTemplateDoes(t *testing.T) {
	var values []string
	for c := range rune(0x100) {
		values = append(values, string(c), "a"+string(c)+"b")
	}
	values = append(values, "\u2028", "\u2029", "\ufeff", "\xff", "</script>", "<!--", "{{.}}", "${a}", "日本")
	page := func(token, nonce, hub string) *searchtoken.Page {
		return &searchtoken.Page{
			OrganizationID: "acme", RenewURL: "/renew", Token: searchtoken.Token{Value: token},
			Nonce: nonce, SearchHub: hub,
		}
	}
	for f, call := range calls {
		marked, err := render(t, call, page("TOKEN", "NONCE", "HUB"))
		if err != nil {
			t.Fatal(err)
		}
		actions := strings.NewReplacer(
			"TOKEN", "[[[.Token.Value]]]", "NONCE", "[[[.Nonce]]]", "HUB", "[[[.SearchHub]]]",
		).Replace(marked)
		direct := template.Must(template.New("").Delims("[[[", "]]]").Parse(actions))
		ours := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(call))
		for _, v := range values {
			var want, got strings.Builder
			if err := direct.Execute(&want, page(v, v, v)); err != nil {
				t.Fatal(err)
			}
			if err := ours.Execute(&got, page(v, v, v)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("%s of %q (-html/template +got):\n%s", f, v, diff)
			}
		}
	}
}

// TestNoTokenOnAPageWithAProxyURL searches the snippet for any part of the
// token and for its renewal.
func TestNoTokenOnAPageWithAProxyURL(t *testing.T) {
	for name, page := range map[string]searchtoken.Page{
		"plain":     {},
		"full":      {RenewURL: "/renew", SearchHub: "hub", Nonce: "bm9uY2U=", Environment: searchtoken.EnvHIPAA},
		"elsewhere": {PlatformURL: "https://platform.example.com", AnalyticsURL: "https://analytics.example.com"},
	} {
		page.OrganizationID, page.ProxyURL = "acme", "/coveo"
		page.Token.Value = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
		for _, f := range proxied {
			for range 2 { // compiled, and from the cache
				out, err := page.Snippet(f)
				if err != nil {
					t.Fatal(err)
				}
				for _, part := range append(strings.Split(page.Token.Value, "."), "renewAccessToken", "/renew") {
					if strings.Contains(string(out), part) {
						t.Errorf("%s, %s: the snippet contains %q:\n%s", name, f, part, out)
					}
				}
				if !strings.Contains(string(out), `"/coveo`) {
					t.Errorf("%s, %s: the snippet does not contain the ProxyURL:\n%s", name, f, out)
				}
			}
		}
	}
}

// TestExperiencesRefuseAProxyURL with a token and without one.
func TestExperiencesRefuseAProxyURL(t *testing.T) {
	for _, f := range []searchtoken.FrontEnd{searchtoken.IPX, searchtoken.IPXBuilder} {
		want := "searchtoken: " + string(f) + ": needs the token in the page, but the page has a ProxyURL: " +
			"use a route without ProxyURL"
		for name, token := range map[string]string{"with a token": "a.b.c", "without a token": ""} {
			page := &searchtoken.Page{
				OrganizationID: "acme", Token: searchtoken.Token{Value: token}, ProxyURL: "/coveo", Nonce: "bm9uY2U=",
			}
			if out, err := page.Snippet(f, "id"); err == nil || err.Error() != want || strings.Contains(string(out), "<script") {
				t.Errorf("%s, %s: got snippet %q and error %v, want error %q", f, name, out, err, want)
			}
			if policy, err := page.CSP("", f); err == nil || err.Error() != want || policy != "" {
				t.Errorf("%s, %s: got policy %q and error %v, want error %q", f, name, policy, err, want)
			}
		}
	}
}

// A snippet is compiled once, not for each request.
func TestSnippetAllocatesLittle(t *testing.T) {
	direct := &searchtoken.Page{
		OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, SearchHub: "hub", Nonce: "bm9uY2U=",
	}
	throughTheSite := *direct
	throughTheSite.ProxyURL = "/coveo"
	for _, f := range proxied {
		snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(calls[f]))
		for name, page := range map[string]*searchtoken.Page{"direct": direct, "through the site": &throughTheSite} {
			got := testing.AllocsPerRun(1000, func() {
				if err := snippet.Execute(io.Discard, page); err != nil {
					t.Fatal(err)
				}
			})
			const most = 12 // html/template makes 11 of them
			if got > most {
				t.Errorf("%s, %s: a compiled snippet makes %v allocations, want at most %d", f, name, got, most)
			}
		}
	}
}

// TestSnippetsHaveNoIndentation: the source of the scripts is indented, and may
// have no template literals, which would lose theirs.
func TestSnippetsHaveNoIndentation(t *testing.T) {
	page := &searchtoken.Page{
		OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, RenewURL: "/renew", Nonce: "bm9uY2U=",
	}
	throughTheSite := *page
	throughTheSite.ProxyURL = "/coveo"
	snippets := map[searchtoken.FrontEnd]string{}
	for f, call := range calls {
		out, err := render(t, call, page)
		if err != nil {
			t.Fatal(err)
		}
		snippets[f] = out
	}
	for _, f := range proxied {
		out, err := throughTheSite.Snippet(f)
		if err != nil {
			t.Fatal(err)
		}
		snippets[f+" through the site"] = string(out)
	}
	for f, out := range snippets {
		for line := range strings.Lines(out) {
			if strings.TrimSpace(line) == "" || line[0] == ' ' || strings.Contains(line, "`") {
				t.Errorf("%s: got a line that is empty, is indented or has a template literal: %q", f, line)
			}
		}
	}
}

func TestTemplateFunctionsAreSafeForConcurrentUse(t *testing.T) {
	snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(calls[searchtoken.Headless]))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				organization := fmt.Sprint("organization", (7*i+g)%50)
				p := &searchtoken.Page{
					OrganizationID: organization, Token: searchtoken.Token{Value: fmt.Sprintf("token-%d-%d", g, i)},
				}
				var out strings.Builder
				if err := snippet.Execute(&out, p); err != nil {
					t.Error(err)
				}
				if !strings.Contains(out.String(), `"`+organization+`"`) ||
					!strings.Contains(out.String(), `"`+p.Token.Value+`"`) {
					t.Errorf("the snippet of %s with %s is that of another page: %s", organization, p.Token.Value,
						out.String())
				}
			}
		})
	}
	wg.Wait()
}

// hostile are values that would do harm if they were not escaped.
var hostile = []string{
	`"`, `'`, "`", `</script>`, `</script><script>alert(1)</script>`, `<!--`, `-->`, `]]>`, `\`, `\u0022`, "\u2028",
	"\u2029", "\x00", "\n", `${alert(1)}`,
	`{{.}}`, `{{"{{"}}`, `" onload="alert(1)`, `' onload='alert(1)`, `><img src=x onerror=alert(1)>`,
	`javascript:alert(1)`, `);alert(1);(`, `../..`, `a@evil.example.com`, "\xff",
}

func TestHostileValuesChangeNoMarkup(t *testing.T) {
	page := func(value string) *searchtoken.Page {
		return &searchtoken.Page{
			Token: searchtoken.Token{Value: value}, OrganizationID: value, Environment: searchtoken.Environment(value),
			PlatformURL: value, AnalyticsURL: value, RenewURL: value, SearchHub: value, Nonce: value,
		}
	}
	// A value that breaks out of its place changes the number of these.
	count := func(s string) map[string]int {
		n := map[string]int{}
		for _, c := range []string{"<", ">", "<script", "</script>", "<!--"} {
			n[c] = strings.Count(s, c)
		}
		scripts := tag.ReplaceAllString(s, "")
		n["line separators in scripts"] = strings.Count(scripts, "\u2028") + strings.Count(scripts, "\u2029")
		for _, tag := range tag.FindAllString(s, -1) {
			n[`" in tags`] += strings.Count(tag, `"`)
			n["' in tags"] += strings.Count(tag, "'")
		}
		return n
	}
	texts := slices.Collect(maps.Values(calls))
	for _, f := range proxied {
		texts = append(texts, `{{with throughTheSite .}}`+calls[f]+`{{end}}`)
	}
	funcs := template.FuncMap{"throughTheSite": func(p *searchtoken.Page) *searchtoken.Page {
		proxied := *p
		proxied.ProxyURL = p.RenewURL
		return &proxied
	}}
	render := func(t *testing.T, text string, p *searchtoken.Page) (string, error) {
		t.Helper()
		tmpl := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Funcs(funcs).Parse(text))
		var b strings.Builder
		err := tmpl.Execute(&b, p)
		return b.String(), err
	}
	for _, text := range texts {
		benign, err := render(t, text, page("benign"))
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range hostile {
			t.Run(fmt.Sprintf("%s with %q", text, value), func(t *testing.T) {
				out, err := render(t, text, page(value))
				if err != nil {
					t.Fatal(err)
				}
				want, got := count(benign), count(out)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("markup (-benign +hostile):\n%s\n%s", diff, out)
				}
				for _, tag := range tag.FindAllString(out, -1) {
					if strings.Contains(tag, `src="javascript:`) {
						t.Errorf("the value is a script: %s", tag)
					}
				}
			})
		}
	}
}

func TestTheIPXLoaderGetsTheTokenUnchanged(t *testing.T) {
	for _, value := range hostile {
		p := &searchtoken.Page{
			OrganizationID: "acme", PlatformURL: "https://platform.example.com",
			Token: searchtoken.Token{Value: value},
		}
		out, err := render(t, `{{coveoIPX . "id"}}`, p)
		if err != nil {
			t.Fatal(err)
		}
		src := regexp.MustCompile(`src="([^"]*)"`).FindStringSubmatch(out)[1]
		u, err := url.Parse(html.UnescapeString(src))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(url.Values{"access_token": {value}}, u.Query()); diff != "" ||
			u.Path != "/rest/organizations/acme/pages/id/inappwidget/loader" {
			t.Errorf("%s: query (-want +got):\n%s", u, diff)
		}
	}
}

func TestWithoutATokenASnippetIsACommentThatSaysWhy(t *testing.T) {
	secretErr := errors.New("secret --> <script>")
	tests := []struct {
		name string
		page *searchtoken.Page
		want string
	}{
		{
			name: "no middleware",
			want: "the request did not pass through Middleware.Handler, or the template did not get its *Page",
		},
		{
			name: "nobody",
			page: &searchtoken.Page{Err: fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, secretErr)},
			want: "nobody is logged in",
		},
		{
			name: "unavailable",
			page: &searchtoken.Page{Err: fmt.Errorf("%w: %w", searchtoken.ErrUnavailable, secretErr)},
			want: "no token is available right now (Service Unavailable)",
		},
		{
			name: "refused",
			page: &searchtoken.Page{Err: &searchtoken.APIError{StatusCode: 403, Message: "secret"}},
			want: "no token is available right now (Bad Gateway)",
		},
		{"another error", &searchtoken.Page{Err: secretErr}, "no token is available right now (Internal Server Error)"},
		{"empty token", &searchtoken.Page{}, "the page has no token"},
	}
	for _, tt := range tests {
		for _, text := range calls {
			t.Run(tt.name+" "+text, func(t *testing.T) {
				out, err := render(t, text, tt.page)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff("<!-- searchtoken: no search here: "+tt.want+" -->", out); diff != "" {
					t.Errorf("snippet (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestATemplateWithoutThePageGetsAComment(t *testing.T) {
	tmpl := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(`{{coveoJSUI .Coveo}}`))
	var b strings.Builder
	if err := tmpl.Execute(&b, map[string]any{}); err != nil || !strings.Contains(b.String(), "did not pass through") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestExperiencesOfOnePageDiffer renders two ids on pages that are equal
// otherwise.
func TestExperiencesOfOnePageDiffer(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	for _, frontEnd := range []searchtoken.FrontEnd{searchtoken.IPX, searchtoken.IPXBuilder} {
		for _, id := range []string{"first", "second"} {
			out, err := render(t, "{{"+string(frontEnd)+" . \""+id+"\"}}", page)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out, "/"+id+"/") {
				t.Errorf("%s of %q loads another experience: %s", frontEnd, id, out)
			}
		}
	}
}
