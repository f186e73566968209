package site_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
)

func TestPagesSendThePolicyOfTheirFrontEnd(t *testing.T) {
	const (
		common    = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
		scripts   = "; script-src 'nonce-NONCE'"
		queries   = "; connect-src PLATFORM ANALYTICS 'self'"
		cdn       = "https://static.cloud.coveo.com"
		analytics = "https://analytics.example.com"
	)
	tests := []struct {
		path    string
		scripts bool
		policy  string
	}{
		{"/", false, common + "style-src 'self'; img-src 'self'"},
		{"/plain", false, common + "style-src 'self'; img-src 'self'"},
		{"/nowhere", false, common + "style-src 'self'; img-src 'self'"},
		{"/jsui", true, common + "style-src 'self' 'nonce-NONCE'; img-src 'self' " + cdn + scripts +
			"; style-src-attr 'unsafe-inline'; font-src " + cdn + " https://staticdev.cloud.coveo.com" + queries},
		{"/atomic", true, common + "style-src 'self' 'nonce-NONCE'; img-src 'self'" + scripts +
			"; style-src-attr 'unsafe-inline'" + queries + " " + cdn},
		{"/headless", true, common + "style-src 'self'; img-src 'self'" + scripts + queries},
		{"/ipx", true, common + "style-src 'self' 'unsafe-inline'; img-src 'self'" + scripts +
			"; connect-src PLATFORM; frame-src PLATFORM"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			base, platform := start(t, func(cfg *site.Config) { cfg.Coveo.AnalyticsURL = analytics + "/path" })
			v := newVisitor(t, base)
			a := v.get(test.path)

			nonces := capture(`nonce="([^"]*)"`, a.text)
			if got := len(nonces) > 0; got != test.scripts {
				t.Fatalf("a nonce on the page: %v, want %v", got, test.scripts)
			}
			for _, n := range nonces {
				if n != nonces[0] {
					t.Errorf("two nonces, %q and %q", nonces[0], n)
				}
			}
			for _, tag := range capture(`(<script[^>]*>)`, a.text) {
				if !strings.Contains(tag, "nonce=") && !strings.Contains(tag, `type="text/html"`) {
					t.Errorf("%s has no nonce", tag)
				}
			}
			policy := a.Header.Get("Content-Security-Policy")
			if test.scripts {
				if again := capture(`nonce="([^"]*)"`, v.get(test.path).text); again[0] == nonces[0] {
					t.Errorf("two requests have the nonce %q", nonces[0])
				}
				names := strings.NewReplacer(nonces[0], "NONCE", platform.URL, "PLATFORM", analytics, "ANALYTICS")
				policy = names.Replace(policy)
			}
			if diff := cmp.Diff(strings.Split(test.policy, "; "), strings.Split(policy, "; ")); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResponsesHaveSecurityHeaders(t *testing.T) {
	base, _ := start(t, nil)
	const private = "private, no-store"
	cacheControl := map[string]string{
		"/": private, "/jsui": private, "/plain": private, "/nowhere": "", "/static/style.css": "",
	}
	for path, want := range cacheControl {
		t.Run(path, func(t *testing.T) {
			header := newVisitor(t, base).get(path).Header
			got := []string{
				header.Get("X-Content-Type-Options"), header.Get("Referrer-Policy"), header.Get("Cache-Control"),
			}
			if diff := cmp.Diff([]string{"nosniff", "same-origin", want}, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPolicyCoversAllFrontEndsOfThePage(t *testing.T) {
	const platformURL = "http://127.0.0.1:3000"
	sources := func(pageID, interfaceID string) map[string]bool {
		base, _ := start(t, func(cfg *site.Config) {
			cfg.IPXPageID, cfg.IPXInterfaceID, cfg.BrowserURL = pageID, interfaceID, platformURL
		})
		a := newVisitor(t, base).get("/ipx")
		policy := a.Header.Get("Content-Security-Policy")
		set := make(map[string]bool)
		for directive := range strings.SplitSeq(policy, "; ") {
			name, list, _ := strings.Cut(directive, " ")
			for source := range strings.FieldsSeq(list) {
				if !strings.HasPrefix(source, "'nonce-") {
					set[name+" "+source] = true
				}
			}
		}
		return set
	}
	none, want, builder := sources("", ""), sources("page", ""), sources("", "interface")
	if len(want) <= len(none) || len(builder) <= len(none) {
		t.Errorf("%d sources without a front end, %d with IPX, %d with the IPX builder", len(none), len(want),
			len(builder))
	}
	maps.Copy(want, builder)
	if diff := cmp.Diff(want, sources("page", "interface")); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}
