package searchtoken_test

import (
	"encoding/json"
	"html"
	"html/template"
	"regexp"
	"strings"
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
	tag          = regexp.MustCompile(`<(?:script|link|meta)[^>]*>`)
	pageObject   = regexp.MustCompile(`(?m)^ *const page = (\{.*\});$`)
	proxyObject  = regexp.MustCompile(`(?m)^\}\)\((\{.*\})\);$`)
	assetsObject = regexp.MustCompile(`(?m)^const assets = (\{.*\});$`)
	engineImport = regexp.MustCompile(`window\.coveoEngine = import\("([^"]*)"\)`)
)

// snippet is what a browser gets from a template function.
type snippet struct {
	Tags     []string       // with their attributes, unescaped
	Page     map[string]any // the data of the start-up script
	Proxy    map[string]any // which calls go through the site
	Assets   map[string]any // where Atomic finds its texts and icons
	Engine   string         // URL of the library that builds window.coveoEngine
	Renewals int            // number of scripts that renew the token
}

func parse(t *testing.T, out string) (s snippet) {
	t.Helper()
	for _, tag := range tag.FindAllString(out, -1) {
		s.Tags = append(s.Tags, html.UnescapeString(tag))
	}
	for _, object := range []struct {
		pattern *regexp.Regexp
		value   *map[string]any
	}{{pageObject, &s.Page}, {proxyObject, &s.Proxy}, {assetsObject, &s.Assets}} {
		if m := object.pattern.FindStringSubmatch(out); m != nil {
			if err := json.Unmarshal([]byte(m[1]), object.value); err != nil {
				t.Fatalf("%v in %s", err, m[1])
			}
		}
	}
	if m := engineImport.FindStringSubmatch(out); m != nil {
		s.Engine = m[1]
	}
	s.Renewals = strings.Count(out, "function searchTokenRenewal")
	return s
}

func TestSnippetsStartTheFrontEnds(t *testing.T) {
	plain := searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	full := searchtoken.Page{
		OrganizationID: "acme", Environment: searchtoken.EnvHIPAA, Token: searchtoken.Token{Value: "a.b.c"},
		PlatformURL: "https://acme.orghipaa.coveo.com", AnalyticsURL: "https://acme.analytics.orghipaa.coveo.com",
		RenewURL: "/coveo/token", SearchHub: "hub", Nonce: "bm9uY2U+",
	}
	standIn := plain
	standIn.PlatformURL, standIn.AnalyticsURL = "http://127.0.0.1:1234/", "http://127.0.0.1:5678/"
	ownURLs := plain
	ownURLs.Environment = searchtoken.EnvProduction
	ownURLs.PlatformURL, ownURLs.AnalyticsURL = "https://acme.org.coveo.com/", "https://acme.analytics.org.coveo.com/"
	proxied := full
	proxied.ProxyURL = "/coveo"
	slash := plain
	slash.OrganizationID = "a/b?c"
	type object = map[string]any
	const cdn = "https://static.cloud.coveo.com"
	tests := []struct {
		name string
		text string
		page searchtoken.Page
		want snippet
	}{
		{
			name: "JSUI", text: `{{coveoJSUI .}}`, page: plain,
			want: snippet{
				Tags: []string{
					`<link rel="stylesheet" href="` + cdn + `/searchui/v2.10126/css/CoveoFullSearch.min.css">`,
					`<script class="coveo-script" src="` + cdn + `/searchui/v2.10126/js/CoveoJsSearch.min.js">`,
					`<script>`,
				},
				Page: object{
					"root": ".CoveoSearchInterface", "organizationId": "acme", "accessToken": "a.b.c",
					"restUri":  "https://acme.org.coveo.com/rest/search",
					"renewUrl": "", "analytics": object{"endpoint": "https://acme.analytics.org.coveo.com/rest/ua"},
				},
			},
		},
		{
			name: "JSUI with every option",
			text: `{{coveoJSUI . "root" "#search > div" "version" "2.10083.9" "assets" "https://cdn.example.com" ` +
				`"culture" "pt-br" "lazy" "true" "integrity" "sha384-QUJD"}}`,
			page: full,
			want: snippet{
				Tags: []string{
					`<link rel="stylesheet" ` +
						`href="https://cdn.example.com/searchui/v2.10083.9/css/CoveoFullSearch.min.css" ` +
						`nonce="bm9uY2U+">`,
					`<script class="coveo-script" ` +
						`src="https://cdn.example.com/searchui/v2.10083.9/js/CoveoJsSearch.Lazy.min.js" ` +
						`integrity="sha384-QUJD" crossorigin="anonymous" nonce="bm9uY2U+">`,
					`<script src="https://cdn.example.com/searchui/v2.10083.9/js/cultures/pt-br.js" nonce="bm9uY2U+">`,
					`<script nonce="bm9uY2U+">`,
				},
				Page: object{
					"root": "#search > div", "organizationId": "acme", "accessToken": "a.b.c",
					"restUri":  "https://acme.orghipaa.coveo.com/rest/search",
					"renewUrl": "/coveo/token",
					"analytics": object{
						"endpoint": "https://acme.analytics.orghipaa.coveo.com/rest/ua", "searchHub": "hub",
					},
				},
				Renewals: 1,
			},
		},
		{
			name: "JSUI on a stand-in", text: `{{coveoJSUI .}}`, page: standIn,
			want: snippet{
				Tags: []string{
					`<link rel="stylesheet" href="` + cdn + `/searchui/v2.10126/css/CoveoFullSearch.min.css">`,
					`<script class="coveo-script" src="` + cdn + `/searchui/v2.10126/js/CoveoJsSearch.min.js">`,
					`<script>`,
				},
				Page: object{
					"root": ".CoveoSearchInterface", "organizationId": "acme", "accessToken": "a.b.c",
					"restUri":  "http://127.0.0.1:1234/rest/search",
					"renewUrl": "", "analytics": object{"endpoint": "http://127.0.0.1:5678/rest/ua"},
				},
			},
		},
		{"Atomic", `{{coveoAtomic .}}`, plain, snippet{
			Tags: []string{
				`<link rel="stylesheet" href="` + cdn + `/atomic/v3/themes/coveo.css">`,
				`<script type="module" src="` + cdn + `/atomic/v3/atomic.esm.js">`,
				`<script type="module">`,
			},
			Page: object{"root": "atomic-search-interface", "renewUrl": "", "configuration": object{
				"organizationId": "acme", "environment": "prod", "accessToken": "a.b.c",
				"search": object{}, "analytics": object{"analyticsMode": "legacy"},
			}},
		}},
		{
			name: "Atomic with every option",
			text: `{{coveoAtomic . "root" "#search" "version" "3.41" "assets" "http://localhost:3000"}}`,
			page: full,
			want: snippet{
				Tags: []string{
					`<meta name="csp-nonce" content="bm9uY2U+">`,
					`<link rel="stylesheet" href="http://localhost:3000/atomic/v3.41/themes/coveo.css" ` +
						`nonce="bm9uY2U+">`,
					`<script type="module" nonce="bm9uY2U+">`,
					`<script type="module" src="http://localhost:3000/atomic/v3.41/atomic.esm.js" nonce="bm9uY2U+">`,
					`<script type="module" nonce="bm9uY2U+">`,
				},
				Page: object{"root": "#search", "renewUrl": "/coveo/token", "configuration": object{
					"organizationId": "acme", "environment": "hipaa", "accessToken": "a.b.c",
					"search": object{
						"searchHub": "hub", "proxyBaseUrl": "https://acme.orghipaa.coveo.com/rest/search/v2",
					},
					"analytics": object{
						"analyticsMode": "legacy", "proxyBaseUrl": "https://acme.analytics.orghipaa.coveo.com",
					},
				}},
				Assets: object{
					"root": "#search", "language": "http://localhost:3000/atomic/v3.41/lang",
					"icon": "http://localhost:3000/atomic/v3.41/assets",
				},
				Renewals: 1,
			},
		},
		{
			name: "Headless", text: `{{coveoHeadless .}}`, page: full,
			want: snippet{
				Tags: []string{`<script nonce="bm9uY2U+">`},
				Page: object{"renewUrl": "/coveo/token", "configuration": object{
					"organizationId": "acme", "environment": "hipaa", "accessToken": "a.b.c",
					"search": object{
						"searchHub": "hub", "proxyBaseUrl": "https://acme.orghipaa.coveo.com/rest/search/v2",
					},
					"analytics": object{
						"analyticsMode": "legacy", "proxyBaseUrl": "https://acme.analytics.orghipaa.coveo.com",
					},
				}},
				Engine:   cdn + "/headless/v3/headless.esm.js",
				Renewals: 1,
			},
		},
		{
			name: "Headless with every option",
			text: `{{coveoHeadless . "build" "true" "version" "3.50" "assets" "https://cdn.example.com"}}`,
			page: ownURLs,
			want: snippet{
				Tags: []string{`<script>`},
				Page: object{"renewUrl": "", "configuration": object{
					"organizationId": "acme", "environment": "prod", "accessToken": "a.b.c",
					"search": object{}, "analytics": object{"analyticsMode": "legacy"},
				}},
				Engine: "https://cdn.example.com/headless/v3.50/headless.esm.js",
			},
		},
		{"bundled Headless on a stand-in", `{{coveoHeadless . "build" "false"}}`, standIn, snippet{
			Tags: []string{`<script>`},
			Page: object{"renewUrl": "", "configuration": object{
				"organizationId": "acme", "environment": "prod", "accessToken": "a.b.c",
				"search":    object{"proxyBaseUrl": "http://127.0.0.1:1234/rest/search/v2"},
				"analytics": object{"analyticsMode": "legacy", "proxyBaseUrl": "http://127.0.0.1:5678"},
			}},
		}},
		{
			name: "JSUI through the site", text: `{{coveoJSUI .}}`, page: proxied,
			want: snippet{
				Tags: []string{
					`<link rel="stylesheet" href="` + cdn +
						`/searchui/v2.10126/css/CoveoFullSearch.min.css" nonce="bm9uY2U+">`,
					`<script class="coveo-script" src="` + cdn +
						`/searchui/v2.10126/js/CoveoJsSearch.min.js" nonce="bm9uY2U+">`,
					`<script nonce="bm9uY2U+">`,
				},
				Page: object{
					"root": ".CoveoSearchInterface", "organizationId": "acme",
					"restUri":  "/coveo/rest/search",
					"renewUrl": "", "analytics": object{"endpoint": "/coveo/rest/ua", "searchHub": "hub"},
				},
			},
		},
		{
			name: "Atomic through the site", text: `{{coveoAtomic .}}`, page: proxied,
			want: snippet{
				Tags: []string{
					`<meta name="csp-nonce" content="bm9uY2U+">`,
					`<link rel="stylesheet" href="` + cdn + `/atomic/v3/themes/coveo.css" nonce="bm9uY2U+">`,
					`<script nonce="bm9uY2U+">`,
					`<script type="module" src="` + cdn + `/atomic/v3/atomic.esm.js" nonce="bm9uY2U+">`,
					`<script type="module" nonce="bm9uY2U+">`,
				},
				Page: object{"root": "atomic-search-interface", "renewUrl": "", "configuration": object{
					"organizationId": "acme", "environment": "hipaa", "accessToken": "proxied",
					"search":    object{"searchHub": "hub", "proxyBaseUrl": "/coveo/rest/search/v2"},
					"analytics": object{"analyticsMode": "legacy", "proxyBaseUrl": "/coveo"},
				}},
				Proxy: object{"url": "/coveo", "accessToken": "proxied", "direct": []any{
					"https://acme.analytics.orghipaa.coveo.com", "https://acme.orghipaa.coveo.com",
				}},
			},
		},
		{
			name: "Headless on a stand-in through the site", text: `{{coveoHeadless .}}`, page: searchtoken.Page{
				OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, ProxyURL: "/api/coveo",
				PlatformURL: "http://127.0.0.1:1234/", AnalyticsURL: "http://127.0.0.1:5678",
			},
			want: snippet{
				Tags: []string{`<script>`},
				Page: object{"renewUrl": "", "configuration": object{
					"organizationId": "acme", "environment": "prod", "accessToken": "proxied",
					"search":    object{"proxyBaseUrl": "/api/coveo/rest/search/v2"},
					"analytics": object{"analyticsMode": "legacy", "proxyBaseUrl": "/api/coveo"},
				}},
				Proxy: object{"url": "/api/coveo", "accessToken": "proxied", "direct": []any{
					"http://127.0.0.1:1234", "http://127.0.0.1:5678",
					"https://acme.analytics.org.coveo.com", "https://acme.org.coveo.com",
				}},
				Engine: cdn + "/headless/v3/headless.esm.js",
			},
		},
		{
			name: "IPX", text: `{{coveoIPX . "page-id"}}`, page: plain,
			want: snippet{Tags: []string{
				`<script defer ` +
					`src="https://platform.cloud.coveo.com/rest/organizations/acme/pages/page-id/inappwidget/loader` +
					`?access_token=a.b.c">`,
			}},
		},
		{
			name: "IPX of an organization with a slash", text: `{{coveoIPX . "page-id"}}`, page: slash,
			want: snippet{Tags: []string{
				`<script defer ` +
					`src="https://platform.cloud.coveo.com/rest/organizations/a%2Fb%3Fc/pages/page-id/inappwidget` +
					`/loader?access_token=a.b.c">`,
			}},
		},
		{
			name: "IPX for HIPAA", text: `{{coveoIPX . "page-id"}}`, page: full,
			want: snippet{Tags: []string{
				`<script defer ` +
					`src="https://platformhipaa.cloud.coveo.com/rest/organizations/acme/pages/page-id/inappwidget` +
					`/loader?access_token=a.b.c" nonce="bm9uY2U+">`,
			}},
		},
		{
			name: "IPX builder", text: `{{coveoIPXBuilder . "id"}}`, page: ownURLs,
			want: snippet{Tags: []string{
				`<script defer ` +
					`src="https://platform.cloud.coveo.com/rest/organizations/acme/ipxinterface/v1/interfaces/id` +
					`/loader?access_token=a.b.c">`,
			}},
		},
		{
			name: "IPX builder on a stand-in", text: `{{coveoIPXBuilder . "id"}}`, page: standIn,
			want: snippet{Tags: []string{
				`<script defer ` +
					`src="http://127.0.0.1:1234/rest/organizations/acme/ipxinterface/v1/interfaces/id/loader` +
					`?access_token=a.b.c">`,
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := render(t, tt.text, &tt.page)
			if err != nil {
				t.Fatal(err)
			}
			got := parse(t, out)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("snippet (-want +got):\n%s", diff)
			}
			if renews := strings.Contains(out, "renewAccessToken"); renews != (got.Renewals == 1) {
				t.Errorf("the script uses renewAccessToken: %v, and defines it %d times", renews, got.Renewals)
			}
			isHeadless := strings.Contains(tt.text, "coveoHeadless")
			if got := strings.Contains(out, "window.coveoEngineConfiguration = "); got != isHeadless {
				t.Errorf("window.coveoEngineConfiguration is set: %v, want %v", got, isHeadless)
			}
		})
	}
}

func TestSnippetsAcceptEveryGoodValueOfAnOption(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	for option, values := range map[string][]string{
		"assets":    {"https://a.example:8443", "http://127.0.0.1:80", "http://localhost"},
		"culture":   {"fr", "zh-cn"},
		"integrity": {"sha256-QUJD", "sha384-a/b+", "sha512-QUI=", "sha256-QUJD sha512-QUI="},
		"lazy":      {"true", "false"},
		"root":      {"#a", " > b"},
		"version":   {"2", "2.10126", "3.41.0"},
	} {
		for _, value := range values {
			if _, err := render(t, `{{coveoJSUI . "`+option+`" "`+value+`"}}`, page); err != nil {
				t.Errorf("%s %q: %v", option, value, err)
			}
		}
	}
	for _, id := range []string{"0e5ae9d9-4f4a-4f4c-8b2c-0b2f2f9b5b3e", "A_1", strings.Repeat("x", 64)} {
		if _, err := render(t, `{{coveoIPX . "`+id+`"}}`, page); err != nil {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

func TestBadArgumentsEndTheTemplateWithAnError(t *testing.T) {
	const (
		jsuiNames = "assets, culture, integrity, lazy, root, version"
		notAnID   = " is not an id (letters, digits, hyphens and underscores)"
		noURL     = `searchtoken: coveoJSUI: option "assets": `
	)
	tests := []struct{ text, want string }{
		{
			text: `{{coveoJSUI . "colour" "red"}}`,
			want: `searchtoken: coveoJSUI: unknown option "colour"; the options are ` + jsuiNames,
		},
		{
			text: `{{coveoAtomic . "culture" "fr"}}`,
			want: `searchtoken: coveoAtomic: unknown option "culture"; the options are assets, root, version`,
		},
		{
			text: `{{coveoHeadless . "root" "x"}}`,
			want: `searchtoken: coveoHeadless: unknown option "root"; the options are assets, build, version`,
		},
		{
			text: `{{coveoJSUI . "root"}}`,
			want: `searchtoken: coveoJSUI: options must be pairs of a name and a value; the names are ` + jsuiNames,
		},
		{
			text: `{{coveoJSUI . "version" "2.x"}}`,
			want: `searchtoken: coveoJSUI: option "version": must consist of digits and dots`,
		},
		{`{{coveoJSUI . "version" ""}}`, `searchtoken: coveoJSUI: option "version": must consist of digits and dots`},
		{`{{coveoJSUI . "version" "1."}}`, `searchtoken: coveoJSUI: option "version": must consist of digits and dots`},
		{
			text: `{{coveoJSUI . "version" "../../evil"}}`,
			want: `searchtoken: coveoJSUI: option "version": must consist of digits and dots`,
		},
		{`{{coveoJSUI . "lazy" "yes"}}`, `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`},
		{`{{coveoHeadless . "build" "1"}}`, `searchtoken: coveoHeadless: option "build": must be "true" or "false"`},
		{`{{coveoAtomic . "root" " "}}`, `searchtoken: coveoAtomic: option "root": must be a CSS selector`},
		{
			text: `{{coveoJSUI . "integrity" "md5-x"}}`,
			want: `searchtoken: coveoJSUI: option "integrity": must be a hash, "sha384-…"`,
		},
		{
			text: `{{coveoJSUI . "culture" "../x"}}`,
			want: `searchtoken: coveoJSUI: option "culture": must be one of JSUI's languages, such as "fr" or "pt-br"`,
		},
		{`{{coveoJSUI . "assets" "http://evil.com"}}`, noURL + `must be https; http is allowed on loopback only`},
		{`{{coveoJSUI . "assets" "https://a.com/b"}}`, noURL + `must be an origin, without a path`},
		{`{{coveoJSUI . "assets" "https://a.com/"}}`, noURL + `must be an origin, without a path`},
		{`{{coveoJSUI . "assets" "//evil.com"}}`, noURL + `must start with https://, or http:// on loopback`},
		{`{{coveoIPX . ""}}`, `searchtoken: coveoIPX: ""` + notAnID},
		{`{{coveoIPX . "a/b"}}`, `searchtoken: coveoIPX: "a/b"` + notAnID},
		{
			text: `{{coveoIPX . "` + strings.Repeat("x", 65) + `"}}`,
			want: `searchtoken: coveoIPX: "` + strings.Repeat("x", 65) + `"` + notAnID,
		},
		{
			text: `{{coveoIPX . "` + strings.Repeat("x", 400) + `"}}`,
			want: `searchtoken: coveoIPX: "` + strings.Repeat("x", 300) + `…"` + notAnID,
		},
		{`{{coveoIPXBuilder . ".."}}`, `searchtoken: coveoIPXBuilder: ".."` + notAnID},
		{`{{coveoIPX . "id" "version" "3"}}`, `searchtoken: coveoIPX: takes one argument, an id, but got 3`},
		{`{{coveoIPXBuilder .}}`, `searchtoken: coveoIPXBuilder: takes one argument, an id, but got 0`},
		{
			text: `{{coveoJSUI . "` + strings.Repeat("x", 400) + `" "red"}}`,
			want: `searchtoken: coveoJSUI: unknown option "` + strings.Repeat("x", 300) + `…"; the options are ` +
				jsuiNames,
		},
	}
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}}
	for _, tt := range tests {
		for name, page := range map[string]*searchtoken.Page{"with a token": page, "without a page": nil} {
			t.Run(tt.text+" "+name, func(t *testing.T) {
				out, err := render(t, tt.text, page)
				if err == nil {
					t.Fatalf("no error, but %s", out)
				}
				// html/template says first where in the template the function
				// was called.
				got := err.Error()
				if i := strings.Index(got, "searchtoken: "); i >= 0 {
					got = got[i:]
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
			})
		}
	}
}
