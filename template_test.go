package searchtoken_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// render executes text, a template whose dot is p.
func render(t *testing.T, text string, p *searchtoken.Page) (string, error) {
	t.Helper()
	tmpl, err := template.New("page").Funcs(searchtoken.FuncMap()).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	err = tmpl.Execute(&b, p)
	return b.String(), err
}

var (
	tag        = regexp.MustCompile(`<(?:script|link|meta)[^>]*>`)
	pageObject = regexp.MustCompile(`(?m)^ *const page = (\{.*\});$`)
)

// snippet is what a browser gets of a helper's output.
type snippet struct {
	Tags []string       // with their attributes, unescaped
	Page map[string]any // what the start-up script is given
}

func parse(t *testing.T, out string) (s snippet) {
	t.Helper()
	for _, tag := range tag.FindAllString(out, -1) {
		s.Tags = append(s.Tags, html.UnescapeString(tag))
	}
	if m := pageObject.FindStringSubmatch(out); m != nil {
		if err := json.Unmarshal([]byte(m[1]), &s.Page); err != nil {
			t.Fatalf("%v in %s", err, m[1])
		}
	}
	return s
}

func TestSnippets(t *testing.T) {
	plain := searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	full := searchtoken.Page{
		OrganizationID: "acme", Environment: searchtoken.EnvHIPAA, Token: searchtoken.Token{Value: "a.b.c"},
		PlatformURL: "https://acme.orghipaa.coveo.com", AnalyticsURL: "https://acme.analytics.orghipaa.coveo.com",
		RenewURL: "/coveo/token", SearchHub: "hub", Nonce: "bm9uY2U+",
	}
	standIn := plain
	standIn.PlatformURL, standIn.AnalyticsURL = "http://127.0.0.1:1234", "http://127.0.0.1:5678"
	type object = map[string]any
	const cdn = "https://static.cloud.coveo.com"
	for _, tt := range []struct {
		name string
		text string
		page searchtoken.Page
		want snippet
	}{
		{"JSUI", `{{coveoJSUI .}}`, plain, snippet{
			[]string{`<link rel="stylesheet" href="` + cdn + `/searchui/v2.10126/css/CoveoFullSearch.min.css">`,
				`<script class="coveo-script" src="` + cdn + `/searchui/v2.10126/js/CoveoJsSearch.min.js">`,
				`<script>`},
			object{"root": ".CoveoSearchInterface", "organizationId": "acme", "accessToken": "a.b.c", "restUri": "https://acme.org.coveo.com/rest/search",
				"renewUrl": "", "analytics": object{"endpoint": "https://acme.analytics.org.coveo.com/rest/ua"}},
		}},
		{"JSUI with all", `{{coveoJSUI . "root" "#search > div" "version" "2.10083.9" "assets" "https://cdn.example.com" "culture" "pt-br" "lazy" "true" "integrity" "sha384-QUJD"}}`, full, snippet{
			[]string{`<link rel="stylesheet" href="https://cdn.example.com/searchui/v2.10083.9/css/CoveoFullSearch.min.css" nonce="bm9uY2U+">`,
				`<script class="coveo-script" src="https://cdn.example.com/searchui/v2.10083.9/js/CoveoJsSearch.Lazy.min.js" integrity="sha384-QUJD" crossorigin="anonymous" nonce="bm9uY2U+">`,
				`<script src="https://cdn.example.com/searchui/v2.10083.9/js/cultures/pt-br.js" nonce="bm9uY2U+">`,
				`<script nonce="bm9uY2U+">`},
			object{"root": "#search > div", "organizationId": "acme", "accessToken": "a.b.c", "restUri": "https://acme.orghipaa.coveo.com/rest/search",
				"renewUrl": "/coveo/token", "analytics": object{"endpoint": "https://acme.analytics.orghipaa.coveo.com/rest/ua", "searchHub": "hub"}},
		}},
		{"JSUI on a stand-in", `{{coveoJSUI .}}`, standIn, snippet{
			[]string{`<link rel="stylesheet" href="` + cdn + `/searchui/v2.10126/css/CoveoFullSearch.min.css">`,
				`<script class="coveo-script" src="` + cdn + `/searchui/v2.10126/js/CoveoJsSearch.min.js">`,
				`<script>`},
			object{"root": ".CoveoSearchInterface", "organizationId": "acme", "accessToken": "a.b.c", "restUri": "http://127.0.0.1:1234/rest/search",
				"renewUrl": "", "analytics": object{"endpoint": "http://127.0.0.1:5678/rest/ua"}},
		}},
		{"Atomic", `{{coveoAtomic .}}`, plain, snippet{
			[]string{`<link rel="stylesheet" href="` + cdn + `/atomic/v3/themes/coveo.css">`,
				`<script type="module" src="` + cdn + `/atomic/v3/atomic.esm.js">`,
				`<script type="module">`},
			object{"root": "atomic-search-interface", "renewUrl": "", "configuration": object{"organizationId": "acme", "environment": "prod", "accessToken": "a.b.c",
				"search": object{}, "analytics": object{"analyticsMode": "legacy"}}},
		}},
		{"Atomic with all", `{{coveoAtomic . "root" "#search" "version" "3.41" "assets" "http://localhost:3000"}}`, full, snippet{
			[]string{`<meta name="csp-nonce" content="bm9uY2U+">`,
				`<link rel="stylesheet" href="http://localhost:3000/atomic/v3.41/themes/coveo.css" nonce="bm9uY2U+">`,
				`<script type="module" nonce="bm9uY2U+">`,
				`<script type="module" src="http://localhost:3000/atomic/v3.41/atomic.esm.js" nonce="bm9uY2U+">`,
				`<script type="module" nonce="bm9uY2U+">`},
			object{"root": "#search", "renewUrl": "/coveo/token", "configuration": object{"organizationId": "acme", "environment": "hipaa", "accessToken": "a.b.c",
				"search":    object{"searchHub": "hub", "proxyBaseUrl": "https://acme.orghipaa.coveo.com/rest/search/v2"},
				"analytics": object{"analyticsMode": "legacy", "proxyBaseUrl": "https://acme.analytics.orghipaa.coveo.com"}}},
		}},
		{"Headless on a stand-in", `{{coveoHeadless .}}`, standIn, snippet{
			[]string{`<script>`},
			object{"renewUrl": "", "configuration": object{"organizationId": "acme", "environment": "prod", "accessToken": "a.b.c",
				"search":    object{"proxyBaseUrl": "http://127.0.0.1:1234/rest/search/v2"},
				"analytics": object{"analyticsMode": "legacy", "proxyBaseUrl": "http://127.0.0.1:5678"}}},
		}},
		{"IPX", `{{coveoIPX . "page-id"}}`, plain, snippet{Tags: []string{
			`<script defer src="https://platform.cloud.coveo.com/rest/organizations/acme/pages/page-id/inappwidget/loader?access_token=a.b.c">`}}},
		{"IPX for HIPAA", `{{coveoIPX . "page-id"}}`, full, snippet{Tags: []string{
			`<script defer src="https://platformhipaa.cloud.coveo.com/rest/organizations/acme/pages/page-id/inappwidget/loader?access_token=a.b.c" nonce="bm9uY2U+">`}}},
		{"IPX builder on a stand-in", `{{coveoIPXBuilder . "id"}}`, standIn, snippet{Tags: []string{
			`<script defer src="http://127.0.0.1:1234/rest/organizations/acme/ipxinterface/v1/interfaces/id/loader?access_token=a.b.c">`}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := render(t, tt.text, &tt.page)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, parse(t, out)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			isIPX := strings.Contains(tt.name, "IPX")
			if got := strings.Count(out, "function searchTokenRenewal"); got == 1 != (tt.page.RenewURL != "" && !isIPX) || got > 1 {
				t.Errorf("the script that renews is there %d times", got)
			}
			if got := strings.Contains(out, "renewAccessToken"); got != (tt.page.RenewURL != "" && !isIPX) {
				t.Errorf("renewAccessToken is there: %v", got)
			}
		})
	}
}

// TestSnippetsDoNotMix renders pages that differ in one thing each by turns.
func TestSnippetsDoNotMix(t *testing.T) {
	base := searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, RenewURL: "/renew", SearchHub: "hub", Nonce: "abc+"}
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
	variants = append(variants, variant{"version", base, `"version" "1"`}, variant{"assets", base, `"assets" "https://assets.example.com"`})

	for _, f := range []searchtoken.FrontEnd{searchtoken.JSUI, searchtoken.Atomic, searchtoken.Headless} {
		out := map[string]string{} // to the name of the variant
		for range 2 {
			for _, v := range variants {
				got, err := render(t, "{{"+string(f)+" . "+v.args+"}}", &v.page)
				if err != nil {
					t.Fatal(err)
				}
				if other, ok := out[got]; ok && other != v.name {
					t.Errorf("%s: the snippets of %q and %q are the same", f, other, v.name)
				}
				out[got] = v.name
			}
		}
		if len(out) != len(variants) {
			t.Errorf("%s: %d snippets of %d pages, each rendered twice", f, len(out), len(variants))
		}
	}
}

// TestValuesAreEscaped puts each character into each value, alone and among others.
func TestValuesAreEscaped(t *testing.T) {
	var values []string
	for c := range rune(0x100) {
		values = append(values, string(c), "a"+string(c)+"b")
	}
	values = append(values, "\u2028", "\u2029", "\ufeff", "\xff", "</script>", "<!--", "{{.}}", "${a}", "日本")
	for f, args := range map[searchtoken.FrontEnd][]string{
		searchtoken.JSUI: nil, searchtoken.Atomic: nil, searchtoken.Headless: nil, searchtoken.IPX: {"id"}, searchtoken.IPXBuilder: {"id"},
	} {
		call := "{{" + string(f) + " ."
		for _, arg := range args {
			call += fmt.Sprintf(" %q", arg)
		}
		snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(call + "}}"))
		for _, v := range values {
			p := &searchtoken.Page{OrganizationID: "acme", RenewURL: "/renew", Token: searchtoken.Token{Value: v}, Nonce: v, SearchHub: v}
			want, err := searchtoken.RenderByHTMLTemplate(f, p, args...)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if err := snippet.Execute(&got, p); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got.String()); diff != "" {
				t.Errorf("%s of %q (-html/template +got):\n%s", f, v, diff)
			}
		}
	}
}

// TestSnippetsOfTheSameParts renders pages with and without a nonce and a hub by
// turns, and options that read the same one after the other.
func TestSnippetsOfTheSameParts(t *testing.T) {
	plain := searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	nonce, hub := plain, plain
	nonce.Nonce, hub.SearchHub = "abc+", "hub"
	for _, f := range []searchtoken.FrontEnd{searchtoken.JSUI, searchtoken.Atomic, searchtoken.Headless} {
		for _, page := range []*searchtoken.Page{&plain, &nonce, &plain, &hub, &plain} {
			out, err := render(t, "{{"+string(f)+" .}}", page)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(out, "nonce"), page.Nonce != ""; got != want {
				t.Errorf("%s: a nonce is there: %v, want %v", f, got, want)
			}
			if got, want := strings.Contains(out, "searchHub"), page.SearchHub != ""; got != want {
				t.Errorf("%s: a hub is there: %v, want %v", f, got, want)
			}
		}
	}
	one, err := render(t, `{{coveoAtomic . "root" "aversion3"}}`, &plain)
	if err != nil {
		t.Fatal(err)
	}
	two, err := render(t, `{{coveoAtomic . "root" "a" "version" "3"}}`, &plain)
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("other options, and the same snippet")
	}
}

// TestSnippetAllocatesLittle: what does not change is not rendered again.
func TestSnippetAllocatesLittle(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, SearchHub: "hub", Nonce: "bm9uY2U="}
	snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse("{{coveoJSUI .}}"))
	got := testing.AllocsPerRun(1000, func() {
		if err := snippet.Execute(io.Discard, page); err != nil {
			t.Fatal(err)
		}
	})
	const most = 12 // of which html/template takes all but 1
	if got > most {
		t.Errorf("a snippet that has been rendered before allocates %v times, want %d at most", got, most)
	}
}

// TestSnippetsSideBySide renders the pages of several organizations from goroutines
// side by side.
func TestSnippetsSideBySide(t *testing.T) {
	snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse("{{coveoHeadless .}}"))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				organization := fmt.Sprint("organization", (7*i+g)%50)
				p := &searchtoken.Page{OrganizationID: organization, Token: searchtoken.Token{Value: fmt.Sprintf("token-%d-%d", g, i)}}
				var out strings.Builder
				if err := snippet.Execute(&out, p); err != nil {
					t.Error(err)
				}
				if !strings.Contains(out.String(), `"`+organization+`"`) || !strings.Contains(out.String(), `"`+p.Token.Value+`"`) {
					t.Errorf("the snippet of %s with %s is another's: %s", organization, p.Token.Value, out.String())
				}
			}
		})
	}
	wg.Wait()
}

// TestSnippetsAreBounded renders the pages of many organizations, and some that are
// long.
func TestSnippetsAreBounded(t *testing.T) {
	snippet := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse("{{coveoHeadless .}}"))
	renderAll := func(n int, renewURL string) {
		for i := range n {
			p := &searchtoken.Page{OrganizationID: fmt.Sprint("organization", i), RenewURL: renewURL, Token: searchtoken.Token{Value: "a.b.c"}}
			if err := snippet.Execute(io.Discard, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	renderAll(1024, "/renew")
	before := heapInUse()
	renderAll(1800, "/renew")
	renderAll(100, "/"+strings.Repeat("x", 64<<10))
	if grown := heapInUse() - before; grown > 2<<20 {
		t.Errorf("the snippets of more organizations take %d KB more", grown>>10)
	}
}

func TestHeadlessBuild(t *testing.T) {
	page := searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	for _, tt := range []struct {
		text string
		want bool
	}{
		{`{{coveoHeadless .}}`, true},
		{`{{coveoHeadless . "build" "true"}}`, true},
		{`{{coveoHeadless . "build" "false"}}`, false},
	} {
		t.Run(tt.text, func(t *testing.T) {
			out, err := render(t, tt.text, &page)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out, "window.coveoEngineConfiguration = ") {
				t.Error("no configuration")
			}
			if got := strings.Contains(out, `window.coveoEngine = import("https://static.cloud.coveo.com/headless/v3/headless.esm.js")`); got != tt.want {
				t.Errorf("engine: %v, want %v", got, tt.want)
			}
		})
	}
}

// hostile are values that would do harm if they were not escaped.
var hostile = []string{
	`"`, `'`, "`", `</script>`, `</script><script>alert(1)</script>`, `<!--`, `-->`, `]]>`, `\`, `\u0022`, "\u2028", "\u2029", "\x00", "\n", `${alert(1)}`,
	`{{.}}`, `{{"{{"}}`, `" onload="alert(1)`, `' onload='alert(1)`, `><img src=x onerror=alert(1)>`, `javascript:alert(1)`, `);alert(1);(`, `../..`, `a@evil.example.com`, "\xff",
}

func TestHostileValues(t *testing.T) {
	texts := []string{`{{coveoJSUI .}}`, `{{coveoAtomic .}}`, `{{coveoHeadless .}}`, `{{coveoIPX . "id"}}`, `{{coveoIPXBuilder . "id"}}`}
	page := func(value string) *searchtoken.Page {
		return &searchtoken.Page{
			Token: searchtoken.Token{Value: value}, OrganizationID: value, Environment: searchtoken.Environment(value), PlatformURL: value,
			AnalyticsURL: value, RenewURL: value, SearchHub: value, Nonce: value,
		}
	}
	// What breaks out of its place changes the number of these.
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
					t.Errorf("(-benign +hostile):\n%s\n%s", diff, out)
				}
				for _, tag := range tag.FindAllString(out, -1) {
					if strings.Contains(tag, `src="javascript:`) {
						t.Errorf("a script of the value's own: %s", tag)
					}
				}
			})
		}
	}
	t.Run("IPX query", func(t *testing.T) {
		for _, value := range hostile {
			p := page("acme")
			p.Token.Value, p.PlatformURL, p.OrganizationID = value, "https://platform.example.com", "acme"
			out, err := render(t, `{{coveoIPX . "id"}}`, p)
			if err != nil {
				t.Fatal(err)
			}
			src := regexp.MustCompile(`src="([^"]*)"`).FindStringSubmatch(out)[1]
			u, err := url.Parse(html.UnescapeString(src))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(url.Values{"access_token": {value}}, u.Query()); diff != "" || u.Path != "/rest/organizations/acme/pages/id/inappwidget/loader" {
				t.Errorf("%s: query (-want +got):\n%s", u, diff)
			}
		}
	})
}

func TestTemplateErrors(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	cases := map[string][]string{ // template to what its error says
		`{{coveoJSUI . "colour" "red"}}`:             {"coveoJSUI", `"colour"`, "assets, culture, integrity, lazy, root, version"},
		`{{coveoAtomic . "culture" "fr"}}`:           {"coveoAtomic", `"culture"`, "assets, root, version"},
		`{{coveoHeadless . "root" "x"}}`:             {"coveoHeadless", `"root"`, "assets, build, version"},
		`{{coveoJSUI . "root"}}`:                     {"coveoJSUI", "pairs", "assets, culture"},
		`{{coveoJSUI . "version" "2.x"}}`:            {"version", "digits and dots"},
		`{{coveoJSUI . "version" ""}}`:               {"version"},
		`{{coveoJSUI . "version" "../../evil"}}`:     {"version"},
		`{{coveoJSUI . "lazy" "yes"}}`:               {"lazy"},
		`{{coveoHeadless . "build" "1"}}`:            {"build"},
		`{{coveoJSUI . "root" " "}}`:                 {"root"},
		`{{coveoJSUI . "integrity" "md5-x"}}`:        {"integrity"},
		`{{coveoJSUI . "culture" "../x"}}`:           {"culture"},
		`{{coveoJSUI . "assets" "http://evil.com"}}`: {"assets", "https"},
		`{{coveoJSUI . "assets" "https://a.com/b"}}`: {"assets", "origin"},
		`{{coveoJSUI . "assets" "//evil.com"}}`:      {"assets"},
		`{{coveoIPX . ""}}`:                          {"coveoIPX", "id"},
		`{{coveoIPX . "a/b"}}`:                       {"coveoIPX", "id"},
		`{{coveoIPXBuilder . ".."}}`:                 {"coveoIPXBuilder", "id"},
		`{{coveoIPX . "id" "version" "3"}}`:          {"coveoIPX"},
	}
	for text, want := range cases {
		for name, page := range map[string]*searchtoken.Page{"with a token": page, "without": nil} {
			t.Run(text+" "+name, func(t *testing.T) {
				_, err := render(t, text, page)
				if err == nil {
					t.Fatal("no error")
				}
				for _, part := range want {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q does not say %s", err, part)
					}
				}
			})
		}
	}
}

func TestSnippetsWithoutToken(t *testing.T) {
	secretErr := errors.New("secret --> <script>")
	for _, tt := range []struct {
		name string
		page *searchtoken.Page
		want string
	}{
		{"no middleware", nil, "did not pass through"},
		{"nobody", &searchtoken.Page{Err: fmt.Errorf("%w: %w", searchtoken.ErrNoIdentity, secretErr)}, "nobody is logged in"},
		{"unavailable", &searchtoken.Page{Err: fmt.Errorf("%w: %w", searchtoken.ErrUnavailable, secretErr)}, "Service Unavailable"},
		{"refused", &searchtoken.Page{Err: &searchtoken.APIError{StatusCode: 403, Message: "secret"}}, "Bad Gateway"},
		{"another error", &searchtoken.Page{Err: secretErr}, "Internal Server Error"},
		{"empty token", &searchtoken.Page{}, "no token"},
	} {
		for _, text := range []string{`{{coveoJSUI .}}`, `{{coveoAtomic .}}`, `{{coveoHeadless .}}`, `{{coveoIPX . "id"}}`, `{{coveoIPXBuilder . "id"}}`} {
			t.Run(tt.name+" "+text, func(t *testing.T) {
				out, err := render(t, text, tt.page)
				if err != nil {
					t.Fatal(err)
				}
				if !regexp.MustCompile(`^<!-- searchtoken: [^<>]* -->$`).MatchString(out) || strings.Contains(out[4:len(out)-3], "--") {
					t.Errorf("%q is not one comment", out)
				}
				if !strings.Contains(out, tt.want) || strings.Contains(out, "secret") {
					t.Errorf("%q does not say %q, or too much", out, tt.want)
				}
			})
		}
	}
	t.Run("a map without the page", func(t *testing.T) {
		tmpl := template.Must(template.New("").Funcs(searchtoken.FuncMap()).Parse(`{{coveoJSUI .Coveo}}`))
		var b strings.Builder
		if err := tmpl.Execute(&b, map[string]any{}); err != nil || !strings.Contains(b.String(), "did not pass through") {
			t.Errorf("%q, %v", b.String(), err)
		}
	})
}
