package searchtoken_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

func TestCSP(t *testing.T) {
	const (
		cdn     = "https://static.cloud.coveo.com"
		search  = "https://acme.org.coveo.com"
		events  = "https://acme.analytics.org.coveo.com"
		scripts = "; script-src 'nonce-bm9uY2U+'"
		styles  = "; style-src 'nonce-bm9uY2U+'"
		inline  = "; style-src-attr 'unsafe-inline'"
	)
	page := searchtoken.Page{
		OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, RenewURL: "/coveo/token", Nonce: "bm9uY2U+",
	}
	with := func(change func(*searchtoken.Page)) searchtoken.Page {
		p := page
		change(&p)
		return p
	}
	hipaa := with(func(p *searchtoken.Page) { p.Environment = searchtoken.EnvHIPAA })
	europe := with(func(p *searchtoken.Page) { p.PlatformURL = "https://platform-eu.cloud.coveo.com" })
	standIn := with(func(p *searchtoken.Page) {
		p.PlatformURL, p.AnalyticsURL = "http://127.0.0.1:1234/path", "http://127.0.0.1:1234"
	})
	for _, tt := range []struct {
		name     string
		page     searchtoken.Page
		policy   string
		frontEnd searchtoken.FrontEnd
		options  []string
		want     string
	}{
		// What each front end needs.
		{"JSUI", page, "", searchtoken.JSUI, nil, "default-src 'none'" + scripts + styles + inline +
			"; font-src " + cdn + " https://staticdev.cloud.coveo.com; img-src " + cdn + "; connect-src " + search + " " + events + " 'self'"},
		{"lazy JSUI", page, "", searchtoken.JSUI, []string{"lazy", "true", "version", "2.1"},
			"default-src 'none'" + scripts + " " + cdn + "/searchui/v2.1/js/" + styles + inline +
				"; font-src " + cdn + " https://staticdev.cloud.coveo.com; img-src " + cdn + "; connect-src " + search + " " + events + " 'self'"},
		{"JSUI from elsewhere", page, "", searchtoken.JSUI, []string{"assets", "https://cdn.example.com"}, "default-src 'none'" + scripts + styles + inline +
			"; font-src https://cdn.example.com " + cdn + " https://staticdev.cloud.coveo.com; img-src https://cdn.example.com; connect-src " + search + " " + events + " 'self'"},
		{"Atomic", page, "", searchtoken.Atomic, nil, "default-src 'none'" + scripts + styles + inline +
			"; connect-src " + search + " " + events + " 'self' " + cdn},
		{"Headless", page, "", searchtoken.Headless, nil, "default-src 'none'" + scripts + "; connect-src " + search + " " + events + " 'self'"},
		{"IPX", page, "", searchtoken.IPX, nil, "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
			"; connect-src https://analytics.cloud.coveo.com; frame-src https://search.cloud.coveo.com"},
		{"IPX builder", page, "", searchtoken.IPXBuilder, nil, "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
			"; connect-src " + cdn + " " + search + " " + events},

		// On other pages.
		{"Headless without renewal", with(func(p *searchtoken.Page) { p.RenewURL = "" }), "", searchtoken.Headless, nil,
			"default-src 'none'" + scripts + "; connect-src " + search + " " + events},
		{"Headless for HIPAA", hipaa, "", searchtoken.Headless, nil,
			"default-src 'none'" + scripts + "; connect-src https://acme.orghipaa.coveo.com https://acme.analytics.orghipaa.coveo.com 'self'"},
		{"IPX for HIPAA", hipaa, "", searchtoken.IPX, nil, "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
			"; connect-src https://analyticshipaa.cloud.coveo.com; frame-src https://searchhipaa.cloud.coveo.com"},
		{"IPX builder for HIPAA", hipaa, "", searchtoken.IPXBuilder, nil, "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
			"; connect-src " + cdn + " https://acme.orghipaa.coveo.com https://acme.analytics.orghipaa.coveo.com"},
		{"IPX in a region", europe, "", searchtoken.IPX, nil, "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
			"; connect-src https://analytics-eu.cloud.coveo.com; frame-src https://search-eu.cloud.coveo.com"},
		{"IPX builder in a region", europe, "", searchtoken.IPXBuilder, nil, "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
			"; connect-src " + cdn + " " + search + " " + events},
		{"Headless on a stand-in", standIn, "", searchtoken.Headless, nil, "default-src 'none'" + scripts + "; connect-src http://127.0.0.1:1234 'self'"},
		{"IPX on a stand-in", standIn, "", searchtoken.IPX, nil, "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
			"; connect-src http://127.0.0.1:1234; frame-src http://127.0.0.1:1234"},
		{"IPX builder on a stand-in", standIn, "", searchtoken.IPXBuilder, nil, "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
			"; connect-src " + cdn + " http://127.0.0.1:1234"},
		{"hosts with underscores", with(func(p *searchtoken.Page) { p.PlatformURL = "https://my_proxy.example.com:8443/coveo" }), "", searchtoken.Headless, nil,
			"default-src 'none'" + scripts + "; connect-src https://my_proxy.example.com:8443 " + events + " 'self'"},
		{"no token", with(func(p *searchtoken.Page) { p.Token = searchtoken.Token{} }), "img-src 'self'", searchtoken.Headless, nil, "img-src 'self'"},

		// In other policies.
		{"default-src stands in", page, "default-src 'self' https://cdn.example.com", searchtoken.Headless, nil,
			"default-src 'self' https://cdn.example.com; script-src 'self' https://cdn.example.com 'nonce-bm9uY2U+'; " +
				"connect-src 'self' https://cdn.example.com " + search + " " + events},
		{"child-src stands in", page, "child-src https://video.example.com; img-src *", searchtoken.IPX, nil,
			"child-src https://video.example.com; img-src *; frame-src https://video.example.com https://search.cloud.coveo.com"},
		{"nothing is restricted", page, "frame-ancestors 'none'; upgrade-insecure-requests", searchtoken.Atomic, nil, "frame-ancestors 'none'; upgrade-insecure-requests"},
		{"'none' goes", page, "Script-Src 'NONE' ; connect-src 'none';", searchtoken.Headless, nil,
			"script-src 'nonce-bm9uY2U+'; connect-src " + search + " " + events + " 'self'"},
		{"nothing twice", page, "script-src 'self' 'nonce-bm9uY2U+' 'strict-dynamic'; connect-src 'self' " + search, searchtoken.Headless, nil,
			"script-src 'self' 'nonce-bm9uY2U+' 'strict-dynamic'; connect-src 'self' " + search + " " + events},
		{"the first of two directives counts", page, "connect-src 'self'; connect-src 'none'", searchtoken.Headless, nil,
			"connect-src 'self' " + search + " " + events + "; connect-src 'none'"},
		{"directives for elements", page, "default-src 'self'; script-src 'none'; script-src-elem 'self'; style-src-elem 'self'; connect-src *; img-src *; font-src *", searchtoken.JSUI, nil,
			"default-src 'self'; script-src 'none'; script-src-elem 'self' 'nonce-bm9uY2U+'; style-src-elem 'self' 'nonce-bm9uY2U+'; connect-src * " + search + " " + events +
				" 'self'; img-src * " + cdn + "; font-src * " + cdn + " https://staticdev.cloud.coveo.com; style-src-attr 'unsafe-inline'"},
		{"style elements only", page, "style-src 'self' 'unsafe-hashes' 'sha256-QUJD'; style-src-elem 'self' 'nonce-x'", searchtoken.IPX, nil,
			"style-src 'self' 'unsafe-hashes' 'sha256-QUJD'; style-src-elem 'self' 'unsafe-inline'"},
		{"keywords in any case", page, "script-src 'Unsafe-Inline'; style-src 'SELF'; connect-src 'SELF'", searchtoken.Headless, nil,
			"script-src 'Unsafe-Inline' " + cdn + "; style-src 'SELF'; connect-src 'SELF' " + search + " " + events},
		{"what is bundled", page, "script-src 'self' 'unsafe-inline'; connect-src *", searchtoken.Headless, []string{"build", "false"},
			"script-src 'self' 'unsafe-inline'; connect-src * " + search + " " + events + " 'self'"},
		{"'strict-dynamic' in style-src means nothing", page, "style-src 'strict-dynamic' 'unsafe-inline'", searchtoken.Atomic, nil,
			"style-src 'strict-dynamic' 'unsafe-inline' " + cdn},
		{"no other white space", page, "connect-src 'self'\v'none'", searchtoken.Headless, nil, "connect-src 'self'\v'none' " + search + " " + events + " 'self'"},
		{"'unsafe-inline' in force", page, "script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'", searchtoken.Atomic, nil,
			"script-src 'self' 'unsafe-inline' " + cdn + "; style-src 'unsafe-inline' " + cdn + "; connect-src 'self' " + search + " " + events + " " + cdn},
		{"'unsafe-inline' for old browsers", page, "script-src 'unsafe-inline' 'nonce-bm9uY2U+'; connect-src 'self'", searchtoken.Headless, nil,
			"script-src 'unsafe-inline' 'nonce-bm9uY2U+'; connect-src 'self' " + search + " " + events},
		{"'unsafe-inline' and a loader", page, "script-src 'unsafe-inline'; style-src 'self' 'unsafe-inline'", searchtoken.IPX, nil,
			"script-src 'unsafe-inline' https://platform.cloud.coveo.com; style-src 'self' 'unsafe-inline'"},
		{"what would end 'unsafe-inline'", page, "style-src 'self' 'nonce-x' 'sha256-QUJD'", searchtoken.IPX, nil, "style-src 'self' 'unsafe-inline'"},
		{"style attributes", page, "style-src 'self' 'nonce-bm9uY2U+'; style-src-attr 'none'", searchtoken.Atomic, nil,
			"style-src 'self' 'nonce-bm9uY2U+'; style-src-attr 'unsafe-inline'"},
		{"two policies", page, "connect-src 'self', default-src 'none'", searchtoken.Headless, nil,
			"connect-src 'self' " + search + " " + events + ", default-src 'none'" + scripts + "; connect-src " + search + " " + events + " 'self'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.page.CSP(tt.policy, tt.frontEnd, tt.options...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(tt.want, "; "), strings.Split(got, "; ")); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no page", func(t *testing.T) {
		var p *searchtoken.Page
		if got, err := p.CSP("img-src 'self'", searchtoken.JSUI); got != "img-src 'self'" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestCSPErrors(t *testing.T) {
	page := &searchtoken.Page{OrganizationID: "acme", Token: searchtoken.Token{Value: "a.b.c"}, Nonce: "n"}
	for _, tt := range []struct {
		name     string
		page     *searchtoken.Page
		frontEnd searchtoken.FrontEnd
		options  []string
		want     string
	}{
		{"no such front end", page, "atomic", nil, `searchtoken: CSP: there is no front end "atomic"`},
		{"no such option", page, searchtoken.Atomic, []string{"culture", "fr"}, `searchtoken: coveoAtomic: there is no option "culture"; the options are assets, root, version`},
		{"no options", page, searchtoken.IPX, []string{"assets", "https://cdn.example.com"}, `searchtoken: coveoIPX: there is no option "assets"; the options are none`},
		{"a bad option", page, searchtoken.JSUI, []string{"lazy", "yes"}, `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`},
		{"a bad option, without a page", nil, searchtoken.JSUI, []string{"lazy", "yes"}, `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`},
		{"an organization that is more", &searchtoken.Page{OrganizationID: "acme;script-src", Token: page.Token, Nonce: "n"}, searchtoken.Headless, nil,
			`searchtoken: CSP: "https://acme;script-src.org.coveo.com" cannot stand in a policy: its host must be a name or an IPv4 address`},
		{"an IPv6 address", &searchtoken.Page{OrganizationID: "acme", PlatformURL: "http://[::1]:9", Token: page.Token, Nonce: "n"}, searchtoken.Headless, nil,
			`searchtoken: CSP: "http://[::1]:9" cannot stand in a policy: its host must be a name or an IPv4 address`},
		{"no nonce", &searchtoken.Page{OrganizationID: "acme", Token: page.Token}, searchtoken.JSUI, nil, "searchtoken: CSP: the page's nonce must be base64, and not be empty: set Route.Nonce"},
		{"a nonce that is more", &searchtoken.Page{OrganizationID: "acme", Token: page.Token, Nonce: "n'; script-src *"}, searchtoken.JSUI, nil,
			"searchtoken: CSP: the page's nonce must be base64, and not be empty: set Route.Nonce"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.page.CSP("default-src 'self'", tt.frontEnd, tt.options...)
			if got != "" || err == nil || err.Error() != tt.want {
				t.Errorf("got %q and the error %v, want %s", got, err, tt.want)
			}
		})
	}
}
