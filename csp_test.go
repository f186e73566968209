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
	proxied := with(func(p *searchtoken.Page) { p.ProxyURL = "/coveo" })
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
		{
			name: "JSUI", page: page, frontEnd: searchtoken.JSUI,
			want: "default-src 'none'" + scripts + styles + inline +
				"; font-src " + cdn + " https://staticdev.cloud.coveo.com; img-src " + cdn + "; connect-src " + search +
				" " + events + " 'self'",
		},
		{
			name: "JSUI in parts", page: page, frontEnd: searchtoken.JSUI,
			options: []string{"lazy", "true", "version", "2.1"},
			want: "default-src 'none'" + scripts + " " + cdn + "/searchui/v2.1/js/" + styles + inline +
				"; font-src " + cdn + " https://staticdev.cloud.coveo.com; img-src " + cdn + "; connect-src " + search +
				" " + events + " 'self'",
		},
		{
			name: "JSUI from another host", page: page, frontEnd: searchtoken.JSUI,
			options: []string{"assets", "https://cdn.example.com"},
			want: "default-src 'none'" + scripts + styles + inline +
				"; font-src https://cdn.example.com " + cdn +
				" https://staticdev.cloud.coveo.com; img-src https://cdn.example.com; connect-src " + search + " " +
				events + " 'self'",
		},
		{"Atomic", page, "", searchtoken.Atomic, nil, "default-src 'none'" + scripts + styles + inline +
			"; connect-src " + search + " " + events + " 'self' " + cdn},
		{
			name: "Headless", page: page, frontEnd: searchtoken.Headless,
			want: "default-src 'none'" + scripts + "; connect-src " + search + " " + events + " 'self'",
		},
		{"IPX", page, "", searchtoken.IPX, nil, "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
			"; connect-src https://analytics.cloud.coveo.com; frame-src https://search.cloud.coveo.com"},
		{
			name: "IPX builder", page: page, frontEnd: searchtoken.IPXBuilder,
			want: "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
				"; connect-src " + cdn + " " + search + " " + events,
		},

		// On other pages.
		{"Headless without renewal", with(func(p *searchtoken.Page) { p.RenewURL = "" }), "", searchtoken.Headless, nil,
			"default-src 'none'" + scripts + "; connect-src " + search + " " + events},
		{
			name: "Headless for HIPAA", page: hipaa, frontEnd: searchtoken.Headless,
			want: "default-src 'none'" + scripts +
				"; connect-src https://acme.orghipaa.coveo.com https://acme.analytics.orghipaa.coveo.com 'self'",
		},
		{
			name: "IPX for HIPAA", page: hipaa, frontEnd: searchtoken.IPX,
			want: "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
				"; connect-src https://analyticshipaa.cloud.coveo.com; frame-src https://searchhipaa.cloud.coveo.com",
		},
		{
			name: "IPX builder for HIPAA", page: hipaa, frontEnd: searchtoken.IPXBuilder,
			want: "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
				"; connect-src " + cdn + " https://acme.orghipaa.coveo.com https://acme.analytics.orghipaa.coveo.com",
		},
		{
			name: "IPX in a region", page: europe, frontEnd: searchtoken.IPX,
			want: "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
				"; connect-src https://analytics-eu.cloud.coveo.com; frame-src https://search-eu.cloud.coveo.com",
		},
		{
			name: "IPX builder in a region", page: europe, frontEnd: searchtoken.IPXBuilder,
			want: "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
				"; connect-src " + cdn + " " + search + " " + events,
		},
		{
			name: "Headless on a stand-in", page: standIn, frontEnd: searchtoken.Headless,
			want: "default-src 'none'" + scripts + "; connect-src http://127.0.0.1:1234 'self'",
		},
		{
			name: "IPX on a stand-in", page: standIn, frontEnd: searchtoken.IPX,
			want: "default-src 'none'" + scripts + "; style-src 'unsafe-inline'" +
				"; connect-src http://127.0.0.1:1234; frame-src http://127.0.0.1:1234",
		},
		{
			name: "IPX builder on a stand-in", page: standIn, frontEnd: searchtoken.IPXBuilder,
			want: "default-src 'none'" + scripts + " " + cdn + "; style-src 'unsafe-inline' " + cdn +
				"; connect-src " + cdn + " http://127.0.0.1:1234",
		},
		{
			name:     "hosts with underscores",
			page:     with(func(p *searchtoken.Page) { p.PlatformURL = "https://my_proxy.example.com:8443/coveo" }),
			frontEnd: searchtoken.Headless,
			want: "default-src 'none'" + scripts + "; connect-src https://my_proxy.example.com:8443 " + events +
				" 'self'",
		},

		// Through the site.
		{
			name: "JSUI through the site", page: proxied, frontEnd: searchtoken.JSUI,
			want: "default-src 'none'" + scripts + styles + inline +
				"; font-src " + cdn + " https://staticdev.cloud.coveo.com; img-src " + cdn + "; connect-src 'self'",
		},
		{
			name: "Atomic through the site", page: proxied, frontEnd: searchtoken.Atomic,
			want: "default-src 'none'" + scripts + styles + inline + "; connect-src 'self' " + cdn,
		},
		{
			name: "Atomic and its texts and icons through the site", page: proxied, policy: "default-src 'self'",
			frontEnd: searchtoken.Atomic, options: []string{"assets", "https://www.example.com"},
			want: "default-src 'self'; script-src 'self' 'nonce-bm9uY2U+'; style-src 'self' 'nonce-bm9uY2U+'" + inline +
				"; connect-src 'self' https://www.example.com",
		},
		{
			name: "Headless through the site", page: proxied, frontEnd: searchtoken.Headless,
			want: "default-src 'none'" + scripts + "; connect-src 'self'",
		},
		{
			name:   "Headless of HIPAA through the site, which allows itself",
			page:   with(func(p *searchtoken.Page) { p.Environment, p.ProxyURL = searchtoken.EnvHIPAA, "/coveo" }),
			policy: "connect-src 'self'", frontEnd: searchtoken.Headless,
			want: "connect-src 'self'",
		},

		// Instead of the nonce.
		{
			name: "JSUI and 'unsafe-inline'", page: page, policy: inEffect, frontEnd: searchtoken.JSUI,
			want: "script-src 'unsafe-inline' " + cdn + "; style-src 'unsafe-inline' " + cdn,
		},
		{
			name: "Atomic and 'unsafe-inline'", page: page, policy: inEffect, frontEnd: searchtoken.Atomic,
			options: []string{"assets", "https://cdn.example.com"},
			want: "script-src 'unsafe-inline' https://cdn.example.com; " +
				"style-src 'unsafe-inline' https://cdn.example.com",
		},
		{
			name: "Headless and 'unsafe-inline'", page: page, policy: inEffect, frontEnd: searchtoken.Headless,
			want: "script-src 'unsafe-inline' " + cdn + "; style-src 'unsafe-inline'",
		},
		{
			name: "bundled Headless and 'unsafe-inline'", page: page, policy: inEffect,
			frontEnd: searchtoken.Headless, options: []string{"build", "false"},
			want: inEffect,
		},
		{
			name: "IPX and 'unsafe-inline'", page: page, policy: inEffect, frontEnd: searchtoken.IPX,
			want: "script-src 'unsafe-inline' https://platform.cloud.coveo.com; style-src 'unsafe-inline'",
		},
		{
			name: "IPX builder and 'unsafe-inline'", page: page, policy: inEffect,
			frontEnd: searchtoken.IPXBuilder,
			want: "script-src 'unsafe-inline' https://platform.cloud.coveo.com " + cdn +
				"; style-src 'unsafe-inline' " + cdn,
		},
		{
			name: "IPX and a nonce", page: page, policy: "style-src 'self' 'nonce-x' 'sha256-QUJD'",
			frontEnd: searchtoken.IPX,
			want:     "style-src 'self' 'unsafe-inline'",
		},

		// In other policies.
		{"default-src is the fallback", page, "default-src 'self' https://cdn.example.com", searchtoken.Headless, nil,
			"default-src 'self' https://cdn.example.com; script-src 'self' https://cdn.example.com 'nonce-bm9uY2U+'; " +
				"connect-src 'self' https://cdn.example.com " + search + " " + events},
		{
			name: "directives for elements", page: page,
			policy: "default-src 'self'; script-src 'none'; script-src-elem 'self'; style-src-elem 'self'; " +
				"connect-src *; img-src *; font-src *",
			frontEnd: searchtoken.JSUI,
			want: "default-src 'self'; script-src 'none'; script-src-elem 'self' 'nonce-bm9uY2U+'; " +
				"style-src-elem 'self' 'nonce-bm9uY2U+'; connect-src * " + search + " " + events +
				" 'self'; img-src * " + cdn + "; font-src * " + cdn +
				" https://staticdev.cloud.coveo.com; style-src-attr 'unsafe-inline'",
		},
		{
			name: "two policies", page: page, policy: "connect-src 'self', default-src 'none'",
			frontEnd: searchtoken.Headless,
			want: "connect-src 'self' " + search + " " + events + ", default-src 'none'" + scripts +
				"; connect-src " + search + " " + events + " 'self'",
		},
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
		noNonce = "searchtoken: CSP: the page has no nonce, or one that is not base64: set Route.Nonce," +
			" and put the middleware that makes the nonce outside of Handler"
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
		{"unknown front end", page, "atomic", nil, `searchtoken: unknown front end "atomic"; use a constant, for example searchtoken.Atomic`},
		{
			name: "long name of a front end", page: page,
			frontEnd: searchtoken.FrontEnd(strings.Repeat("x", 400)),
			want:     `searchtoken: unknown front end "` + strings.Repeat("x", 300) + `…"; use a constant, for example searchtoken.Atomic`,
		},
		{
			name: "unknown option", page: page, frontEnd: searchtoken.Atomic,
			options: []string{"culture", "fr"},
			want:    `searchtoken: coveoAtomic: unknown option "culture"; the options are assets, root, version`,
		},
		{
			name: "an option of IPX", page: page, frontEnd: searchtoken.IPX,
			options: []string{"assets", "https://cdn.example.com"},
			want:    `searchtoken: coveoIPX: takes no options; CSP does not need the id`,
		},
		{
			name: "an option of the IPX builder", page: page, frontEnd: searchtoken.IPXBuilder,
			options: []string{"id"},
			want:    `searchtoken: coveoIPXBuilder: takes no options; CSP does not need the id`,
		},
		{
			name: "bad option", page: page, frontEnd: searchtoken.JSUI, options: []string{"lazy", "yes"},
			want: `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`,
		},
		{
			name: "bad option without a page", frontEnd: searchtoken.JSUI, options: []string{"lazy", "yes"},
			want: `searchtoken: coveoJSUI: option "lazy": must be "true" or "false"`,
		},
		{
			name:     "organization with a directive",
			page:     &searchtoken.Page{OrganizationID: "acme;script-src", Token: token, Nonce: "n"},
			frontEnd: searchtoken.Headless,
			want:     `searchtoken: CSP: "https://acme;script-src.org.coveo.com"` + noSource,
		},
		{
			name:     "URL that does not parse",
			page:     &searchtoken.Page{OrganizationID: "acme", AnalyticsURL: "https://a\n", Token: token, Nonce: "n"},
			frontEnd: searchtoken.Headless,
			want:     `searchtoken: CSP: "https://a\n"` + noSource,
		},
		{
			name: "IPv6 address",
			page: &searchtoken.Page{
				OrganizationID: "acme", PlatformURL: "http://[::1]:9", Token: token, Nonce: "n",
			},
			frontEnd: searchtoken.Headless,
			want:     `searchtoken: CSP: "http://[::1]:9"` + noSource,
		},
		{"no nonce", &searchtoken.Page{OrganizationID: "acme", Token: token}, searchtoken.JSUI, nil, noNonce},
		{
			name:     "nonce with a directive",
			page:     &searchtoken.Page{OrganizationID: "acme", Token: token, Nonce: "n'; script-src *"},
			frontEnd: searchtoken.JSUI,
			want:     noNonce,
		},
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
