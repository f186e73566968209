package csp_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken/internal/csp"
)

const (
	nonce = "'nonce-bm9uY2U+'"
	cdn   = "https://cdn.example.com"
	api   = "https://api.example.com"
)

func scripts(sources ...string) csp.Requirement {
	return csp.Requirement{Directive: "script-src", Sources: sources, NonceSubstitute: cdn}
}

func styles(sources ...string) csp.Requirement {
	return csp.Requirement{Directive: "style-src", Sources: sources, NonceSubstitute: cdn}
}

var (
	connect    = csp.Requirement{Directive: "connect-src", Sources: []string{api, "'self'"}}
	frames     = csp.Requirement{Directive: "frame-src", Sources: []string{api}}
	attributes = csp.Requirement{Directive: "style-src-attr", Sources: []string{"'unsafe-inline'"}}
	noFallback = csp.Requirement{Directive: "script-src", Sources: []string{nonce}}
)

func TestMerge(t *testing.T) {
	type requirements = []csp.Requirement
	tests := []struct {
		name         string
		policy       string
		requirements requirements
		want         string
	}{
		// The policy as a whole.
		{"an empty policy is default-src 'none'", "", requirements{scripts(nonce), connect},
			"default-src 'none'; script-src " + nonce + "; connect-src " + api + " 'self'"},
		{"white space is an empty policy", " \t", nil, "default-src 'none'"},
		{"nothing is required", "img-src 'self'", nil, "img-src 'self'"},
		{
			name: "nothing is restricted", policy: "frame-ancestors 'none'; upgrade-insecure-requests",
			requirements: requirements{scripts(nonce), styles(nonce), attributes, connect, frames},
			want:         "frame-ancestors 'none'; upgrade-insecure-requests",
		},
		{
			name: "each policy of a list is changed", policy: "connect-src 'self', default-src 'none'",
			requirements: requirements{scripts(nonce), connect},
			want: "connect-src 'self' " + api + ", default-src 'none'; script-src " + nonce + "; connect-src " +
				api + " 'self'",
		},
		{"names in any case, separators in any number", ";;  ; Connect-Src\t'none' ;\t ", requirements{connect},
			"connect-src " + api + " 'self'"},
		{"only ASCII white space separates", "connect-src 'self'\v'none'", requirements{connect},
			"connect-src 'self'\v'none' " + api + " 'self'"},
		{"the first of two directives counts", "connect-src 'self'; connect-src 'none'", requirements{connect},
			"connect-src 'self' " + api + "; connect-src 'none'"},

		// Which directive gets the sources.
		{"the directive itself", "default-src 'none'; connect-src *", requirements{connect},
			"default-src 'none'; connect-src * " + api + " 'self'"},
		{"the directive for elements", "script-src 'none'; script-src-elem 'self'", requirements{scripts(nonce)},
			"script-src 'none'; script-src-elem 'self' " + nonce},
		{"default-src is the fallback", "default-src 'self' " + cdn, requirements{scripts(nonce)},
			"default-src 'self' " + cdn + "; script-src 'self' " + cdn + " " + nonce},
		{
			name: "default-src allows it already", policy: "default-src 'self' " + api,
			requirements: requirements{connect},
			want:         "default-src 'self' " + api,
		},
		{"child-src is the fallback of frame-src", "default-src 'none'; child-src " + cdn, requirements{frames},
			"default-src 'none'; child-src " + cdn + "; frame-src " + cdn + " " + api},
		{"frame-src without child-src", "default-src 'self'", requirements{frames},
			"default-src 'self'; frame-src 'self' " + api},
		{
			name:         "style-src is the fallback of style-src-attr",
			policy:       "default-src 'self' 'unsafe-inline'; style-src " + cdn,
			requirements: requirements{attributes},
			want:         "default-src 'self' 'unsafe-inline'; style-src " + cdn + "; style-src-attr 'unsafe-inline'",
		},
		{"style-src-attr without style-src", "default-src 'self' " + nonce, requirements{attributes},
			"default-src 'self' " + nonce + "; style-src-attr 'unsafe-inline'"},
		{
			name:         "style-src-attr with style-src-elem",
			policy:       "default-src 'self'; style-src-elem 'unsafe-inline'",
			requirements: requirements{attributes},
			want:         "default-src 'self'; style-src-elem 'unsafe-inline'; style-src-attr 'unsafe-inline'",
		},
		{"style-src allows attributes already", "style-src 'self' 'unsafe-inline'", requirements{attributes},
			"style-src 'self' 'unsafe-inline'"},
		{"style-src-attr itself", "style-src 'self'; style-src-attr 'none'", requirements{attributes},
			"style-src 'self'; style-src-attr 'unsafe-inline'"},

		// Which sources it gets.
		{"'none' is removed", "connect-src 'NONE'", requirements{connect}, "connect-src " + api + " 'self'"},
		{"'strict-dynamic' stays", "script-src 'self' 'strict-dynamic'", requirements{scripts(nonce)},
			"script-src 'self' 'strict-dynamic' " + nonce},
		{
			name: "no source twice", policy: "connect-src 'self' " + api + "; script-src " + nonce,
			requirements: requirements{connect, scripts(nonce)},
			want:         "connect-src 'self' " + api + "; script-src " + nonce,
		},
		{"keywords and hosts in any case", "connect-src 'SELF' HTTPS://API.EXAMPLE.COM", requirements{connect},
			"connect-src 'SELF' HTTPS://API.EXAMPLE.COM"},
		{"nonces differ in case", "script-src 'nonce-BM9UY2U+'", requirements{scripts(nonce)},
			"script-src 'nonce-BM9UY2U+' " + nonce},

		// 'unsafe-inline' in the policy.
		{"'unsafe-inline' is in effect", "script-src 'self' 'unsafe-inline'", requirements{scripts(nonce)},
			"script-src 'self' 'unsafe-inline' " + cdn},
		{"'Unsafe-Inline' is in effect", "script-src 'Unsafe-Inline'", requirements{scripts(nonce)},
			"script-src 'Unsafe-Inline' " + cdn},
		{"'unsafe-inline' is in effect in the fallback", "default-src 'unsafe-inline'", requirements{styles(nonce)},
			"default-src 'unsafe-inline'; style-src 'unsafe-inline' " + cdn},
		{
			name:   "'unsafe-inline' is in effect, and no substitute",
			policy: "script-src 'self' 'unsafe-inline'", requirements: requirements{noFallback},
			want: "script-src 'self' 'unsafe-inline'",
		},
		{"a nonce turns it off", "script-src 'unsafe-inline' 'nonce-x'", requirements{scripts(nonce)},
			"script-src 'unsafe-inline' 'nonce-x' " + nonce},
		{"a hash turns it off", "script-src 'unsafe-inline' 'SHA256-QUJD'", requirements{scripts(nonce)},
			"script-src 'unsafe-inline' 'SHA256-QUJD' " + nonce},
		{
			name:   "'strict-dynamic' turns it off for scripts",
			policy: "script-src 'unsafe-inline' 'Strict-Dynamic'", requirements: requirements{scripts(nonce)},
			want: "script-src 'unsafe-inline' 'Strict-Dynamic' " + nonce,
		},
		{
			name:   "'strict-dynamic' means nothing for styles",
			policy: "style-src 'strict-dynamic' 'unsafe-inline'", requirements: requirements{styles(nonce)},
			want: "style-src 'strict-dynamic' 'unsafe-inline' " + cdn,
		},

		// 'unsafe-inline' among the required sources.
		{
			name: "nonces and hashes are removed", policy: "style-src 'self' 'nonce-x' 'sha256-QUJD'",
			requirements: requirements{styles("'unsafe-inline'")},
			want:         "style-src 'self' 'unsafe-inline'",
		},
		{
			name:         "hashes for attributes stay",
			policy:       "style-src 'self' 'sha256-QUJD'; style-src-elem 'nonce-x'",
			requirements: requirements{styles("'unsafe-inline'")},
			want:         "style-src 'self' 'sha256-QUJD'; style-src-elem 'unsafe-inline'",
		},
		{"other sources follow", "style-src 'unsafe-inline'", requirements{styles("'unsafe-inline'", cdn)},
			"style-src 'unsafe-inline' " + cdn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := csp.Merge(tt.policy, tt.requirements)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(tt.want, "; "), strings.Split(got, "; ")); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeAcceptsTheSourcesOfAPolicy(t *testing.T) {
	for _, source := range []string{
		"'self'", "'unsafe-inline'", "'nonce-AZaz09+/_-=='", "'sha256-QUJD='",
		"https://example.com", "http://127.0.0.1:8080", "https://my_host.example.com:8443",
		"https://example.com/a/b-c_d.e/",
	} {
		for _, r := range []csp.Requirement{
			{Directive: "img-src", Sources: []string{source}},
			{Directive: "img-src", NonceSubstitute: source},
		} {
			if _, err := csp.Merge("", []csp.Requirement{r}); err != nil {
				t.Errorf("%+v: %v", r, err)
			}
		}
	}
}

func TestMergeRefusesMalformedSources(t *testing.T) {
	const (
		noSource  = " is not a valid source: its host must be a name or an IPv4 address"
		noKeyword = " is not a valid keyword, nonce or hash"
	)
	tests := []struct{ name, source, want string }{
		{"a second directive", "https://a;script-src", `"https://a;script-src"` + noSource},
		{"a second source", "https://a *", `"https://a *"` + noSource},
		{"a second policy", "https://a,b", `"https://a,b"` + noSource},
		{"a line break", "https://a\n", `"https://a\n"` + noSource},
		{"a query", "https://a/?b", `"https://a/?b"` + noSource},
		{"an IPv6 address", "http://[::1]:9", `"http://[::1]:9"` + noSource},
		{"no host", "https://", `"https://"` + noSource},
		{"another scheme", "data:", `"data:"` + noSource},
		{"a wildcard", "*", `"*"` + noSource},
		{"empty", "", `""` + noSource},
		{"a long one", strings.Repeat("x", 400), `"` + strings.Repeat("x", 300) + `"` + noSource},
		{"a quoted second directive", "'nonce-n'; script-src *", `"'nonce-n'; script-src *"` + noKeyword},
		{"a nonce with a quote", "'nonce-'n'", `"'nonce-'n'"` + noKeyword},
		{"an open quote", "'self", `"'self"` + noKeyword},
		{"a long quoted one", "'" + strings.Repeat("x", 400), `"'` + strings.Repeat("x", 299) + `"` + noKeyword},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requirements := []csp.Requirement{{Directive: "img-src", Sources: []string{"'self'", tt.source}}}
			if tt.source != "" { // an empty substitute is none
				requirements = append(requirements, csp.Requirement{Directive: "img-src", NonceSubstitute: tt.source})
			}
			for _, r := range requirements {
				got, err := csp.Merge("default-src 'self'", []csp.Requirement{connect, r})
				if err == nil {
					t.Fatalf("%+v: got %q and no error", r, got)
				}
				if diff := cmp.Diff(tt.want, err.Error()); got != "" || diff != "" {
					t.Errorf("%+v: got %q and another error (-want +got):\n%s", r, got, diff)
				}
			}
		})
	}
}

func TestMergeDoesNotModifyTheRequirements(t *testing.T) {
	sources := append(make([]string, 0, 9), nonce, "'self'")
	r := csp.Requirement{Directive: "style-src-attr", Sources: sources, NonceSubstitute: cdn}
	if _, err := csp.Merge("style-src-attr 'none'", []csp.Requirement{r, r}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{nonce, "'self'", ""}, sources[:3]); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}
