package searchtoken_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

func TestCSPAllowsWhatEachFrontEndNeeds(t *testing.T) {
	const (
		cdn     = "https://static.cloud.coveo.com"
		search  = "https://acme.org.coveo.com"
		events  = "https://acme.analytics.org.coveo.com"
		scripts = "; script-src 'nonce-bm9uY2U+'"
		styles  = "; style-src 'nonce-bm9uY2U+'"
		inline  = "; style-src-attr 'unsafe-inline'"

		inEffect = "script-src 'unsafe-inline'; style-src 'unsafe-inline'"
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
	tests := []struct {
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
		{"JSUI in parts", page, "", searchtoken.JSUI, []string{"lazy", "true", "version", "2.1"},
			"default-src 'none'" + scripts + " " + cdn + "/searchui/v2.1/js/" + styles + inline +
				"; font-src " + cdn + " https://staticdev.cloud.coveo.com; img-src " + cdn + "; connect-src " + search + " " + events + " 'self'"},
		{"JSUI from another host", page, "", searchtoken.JSUI, []string{"assets", "https://cdn.example.com"}, "default-src 'none'" + scripts + styles + inline +
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

		// Instead of the nonce.
		{"JSUI and 'unsafe-inline'", page, inEffect, searchtoken.JSUI, nil, "script-src 'unsafe-inline' " + cdn + "; style-src 'unsafe-inline' " + cdn},
		{"Atomic and 'unsafe-inline'", page, inEffect, searchtoken.Atomic, []string{"assets", "https://cdn.example.com"},
			"script-src 'unsafe-inline' https://cdn.example.com; style-src 'unsafe-inline' https://cdn.example.com"},
		{"Headless and 'unsafe-inline'", page, inEffect, searchtoken.Headless, nil, "script-src 'unsafe-inline' " + cdn + "; style-src 'unsafe-inline'"},
		{"bundled Headless and 'unsafe-inline'", page, inEffect, searchtoken.Headless, []string{"build", "false"}, inEffect},
		{"IPX and 'unsafe-inline'", page, inEffect, searchtoken.IPX, nil, "script-src 'unsafe-inline' https://platform.cloud.coveo.com; style-src 'unsafe-inline'"},
		{"IPX builder and 'unsafe-inline'", page, inEffect, searchtoken.IPXBuilder, nil,
			"script-src 'unsafe-inline' https://platform.cloud.coveo.com " + cdn + "; style-src 'unsafe-inline' " + cdn},
		{"IPX and a nonce", page, "style-src 'self' 'nonce-x' 'sha256-QUJD'", searchtoken.IPX, nil, "style-src 'self' 'unsafe-inline'"},

		// In other policies.
		{"default-src is the fallback", page, "default-src 'self' https://cdn.example.com", searchtoken.Headless, nil,
			"default-src 'self' https://cdn.example.com; script-src 'self' https://cdn.example.com 'nonce-bm9uY2U+'; " +
				"connect-src 'self' https://cdn.example.com " + search + " " + events},
		{"directives for elements", page, "default-src 'self'; script-src 'none'; script-src-elem 'self'; style-src-elem 'self'; connect-src *; img-src *; font-src *", searchtoken.JSUI, nil,
			"default-src 'self'; script-src 'none'; script-src-elem 'self' 'nonce-bm9uY2U+'; style-src-elem 'self' 'nonce-bm9uY2U+'; connect-src * " + search + " " + events +
				" 'self'; img-src * " + cdn + "; font-src * " + cdn + " https://staticdev.cloud.coveo.com; style-src-attr 'unsafe-inline'"},
		{"two policies", page, "connect-src 'self', default-src 'none'", searchtoken.Headless, nil,
			"connect-src 'self' " + search + " " + events + ", default-src 'none'" + scripts + "; connect-src " + search + " " + events + " 'self'"},
	}
	for _, tt := range tests {
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
}

func TestCSPOfAPageWithoutATokenAddsNothing(t *testing.T) {
	for name, page := range map[string]*searchtoken.Page{
		"no page":  nil,
		"no token": {OrganizationID: "acme", Nonce: "n"},
		"an error": {OrganizationID: "acme", Nonce: "n", Err: searchtoken.ErrNoIdentity},
	} {
		for f := range calls {
			if got, err := page.CSP("img-src 'self'", f); got != "img-src 'self'" || err != nil {
				t.Errorf("%s, %s: %q, %v", name, f, got, err)
			}
		}
	}
}

func TestCSPRefusesWhatCannotStandInAPolicy(t *testing.T) {
	const (
		noNonce  = "searchtoken: CSP: the page has no nonce, or one that is not base64: set Route.Nonce"
		noSource = " is not a valid source: its host must be a name or an IPv4 address"
	)
	token := searchtoken.Token{Value: "a.b.c"}
	page := &searchtoken.Page{OrganizationID: "acme", Token: token, Nonce: "n"}
	tests := []struct {
		name     string
		page     *searchtoken.Page
		frontEnd searchtoken.FrontEnd
		options  []string
		want     string
	}{
		{"unknown front end", page, "atomic", nil, `searchtoken: unknown front end "atomic"`},
		{"long name of a front end", page, searchtoken.FrontEnd(strings.Repeat("x", 400)), nil, `searchtoken: unknown front end "` + strings.Repeat("x", 300) + `…"`},
		{"unknown option", page, searchtoken.Atomic, []string{"culture", "fr"}, `searchtoken: coveoAtomic: unknown option "culture"; the options are assets, root, version`},
		{"an option of IPX", page, searchtoken.IPX, []string{"assets", "https://cdn.example.com"}, `searchtoken: coveoIPX: takes no options`},
		{"an option of the IPX builder", page, searchtoken.IPXBuilder, []string{"id"}, `searchtoken: coveoIPXBuilder: takes no options`},
		{"bad option", page, searchtoken.JSUI, []string{"lazy", "yes"}, `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`},
		{"bad option without a page", nil, searchtoken.JSUI, []string{"lazy", "yes"}, `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`},
		{"organization with a directive", &searchtoken.Page{OrganizationID: "acme;script-src", Token: token, Nonce: "n"}, searchtoken.Headless, nil,
			`searchtoken: CSP: "https://acme;script-src.org.coveo.com"` + noSource},
		{"URL that does not parse", &searchtoken.Page{OrganizationID: "acme", AnalyticsURL: "https://a\n", Token: token, Nonce: "n"}, searchtoken.Headless, nil,
			`searchtoken: CSP: "https://a\n"` + noSource},
		{"IPv6 address", &searchtoken.Page{OrganizationID: "acme", PlatformURL: "http://[::1]:9", Token: token, Nonce: "n"}, searchtoken.Headless, nil,
			`searchtoken: CSP: "http://[::1]:9"` + noSource},
		{"no nonce", &searchtoken.Page{OrganizationID: "acme", Token: token}, searchtoken.JSUI, nil, noNonce},
		{"nonce with a directive", &searchtoken.Page{OrganizationID: "acme", Token: token, Nonce: "n'; script-src *"}, searchtoken.JSUI, nil, noNonce},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.page.CSP("default-src 'self'", tt.frontEnd, tt.options...)
			if err == nil {
				t.Fatalf("got %q and no error", got)
			}
			if diff := cmp.Diff(tt.want, err.Error()); got != "" || diff != "" {
				t.Errorf("got %q and another error (-want +got):\n%s", got, diff)
			}
		})
	}
}
