package searchtoken_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/searchtoken/searchtoken"
)

// validConfig returns a Config that New accepts, changed by change.
func validConfig(change func(*searchtoken.Config)) searchtoken.Config {
	cfg := searchtoken.Config{OrganizationID: "acme", APIKey: apiKey, Identify: byHeader}
	change(&cfg)
	return cfg
}

func TestNewNamesEveryFault(t *testing.T) {
	type config = searchtoken.Config
	credential := func(context.Context) (string, error) { return "", nil }
	for _, tt := range []struct {
		name   string
		change func(*config)
		want   []string
	}{
		{"API key", func(*config) {}, nil},
		{"Credential", func(c *config) { c.APIKey, c.Credential = "", credential }, nil},
		{"Issuer", func(c *config) { c.APIKey, c.Issuer = "", &issuer{} }, nil},
		{"nothing", func(c *config) { *c = config{} }, []string{"OrganizationID", "APIKey", "Identify"}},
		{"API key and Credential", func(c *config) { c.Credential = credential }, []string{"APIKey, Credential"}},
		{"API key and Issuer", func(c *config) { c.Issuer = &issuer{} }, []string{"Issuer, APIKey, Credential"}},
		{
			"Credential and Issuer",
			func(c *config) { c.APIKey, c.Credential, c.Issuer = "", credential, &issuer{} },
			[]string{"Issuer, APIKey, Credential"},
		},
		{"API key with a newline", func(c *config) { c.APIKey += "\n" }, []string{"APIKey"}},
		{"unknown environment", func(c *config) { c.Environment = "production" }, []string{"Environment"}},
		{
			name:   "user in Params",
			change: func(c *config) { c.Params.UserIDs = searchtoken.Email("a").UserIDs },
			want:   []string{"Params.UserIDs"},
		},
		{
			name:   "refresh after the default expiry",
			change: func(c *config) { c.RefreshBefore = 2 * time.Minute },
			want:   []string{"RefreshBefore"},
		},
		{"refresh before the default expiry", func(c *config) { c.RefreshBefore = 2*time.Minute + 1 }, nil},
		{
			"refresh at the expiry",
			func(c *config) { c.MinRemaining, c.RefreshBefore = time.Hour, time.Hour },
			[]string{"RefreshBefore"},
		},
		{
			name:   "refresh before the expiry",
			change: func(c *config) { c.MinRemaining, c.RefreshBefore = time.Hour, time.Hour+1 },
		},
		{
			"all at once",
			func(c *config) {
				*c = config{
					OrganizationID: "a.b", Environment: "x", PlatformURL: "http://example.com",
					AnalyticsURL: "http://example.com", APIKey: "a b", MaxInFlight: -1,
					Route: searchtoken.Route{
						Params:       searchtoken.TokenParams{ValidFor: 1, UserIDs: searchtoken.Email("a").UserIDs},
						MinRemaining: -1, RefreshBefore: -1, RenewURL: "https://example.com",
					},
				}
			},
			[]string{
				"OrganizationID", "Environment", "PlatformURL", "AnalyticsURL", "Params.ValidFor", "Params.UserIDs",
				"MinRemaining", "RefreshBefore", "RenewURL", "APIKey", "Identify", "MaxInFlight",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := searchtoken.New(validConfig(tt.change))
			if diff := cmp.Diff(tt.want, faultsOf(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if (m == nil) != (err != nil) {
				t.Errorf("New() = %v, %v, want one of them", m, err)
			}
		})
	}
}

func TestWithNamesEveryFaultOfARoute(t *testing.T) {
	m := newMiddleware(t, searchtoken.Config{})
	other, err := m.With(func(r *searchtoken.Route) { r.RenewURL, r.Params.ValidFor, r.MinRemaining = "//evil", 1, -1 })
	if diff := cmp.Diff([]string{"Params.ValidFor", "MinRemaining", "RenewURL"}, faultsOf(t, err)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if other != nil {
		t.Error("With returns a Middleware with its error")
	}
}

func TestRenewURLMustBeAPathOnThisSite(t *testing.T) {
	const ok = true
	for url, want := range map[string]bool{
		"": ok, "/": ok, "/coveo/token": ok, "/coveo/token?hub=a": ok,
		"//evil.example.com": !ok, `/\evil.example.com`: !ok, "/\t/evil.example.com": !ok, "\n//evil": !ok,
		"renew": !ok, "/a b": !ok, "/a#b": !ok, "/a\x7f": !ok,
		"https://evil.example.com/": !ok, "javascript:alert(1)": !ok,
	} {
		t.Run(fmt.Sprintf("%q", url), func(t *testing.T) {
			_, err := searchtoken.New(validConfig(func(c *searchtoken.Config) { c.RenewURL = url }))
			if (err == nil) != want {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func TestOrganizationMustBeADNSLabel(t *testing.T) {
	const ok = true
	for organization, want := range map[string]bool{
		"a": ok, "acme-1": ok, "ACME": ok, strings.Repeat("a", 63): ok, "xx0f6a2b1c": ok,
		"": !ok, "acme.evil.com": !ok, "acme/": !ok, "a b": !ok, "-acme": !ok, "acme-": !ok, "acme#": !ok,
		"acme\n": !ok, "ácme": !ok, "a@b": !ok, `"></script>`: !ok, "\u2028": !ok, "127.0.0.1": !ok, "acme:80": !ok,
		strings.Repeat("a", 64): !ok, apiKey: !ok, strings.ToUpper(apiKey): !ok,
	} {
		t.Run(fmt.Sprintf("%q", organization), func(t *testing.T) {
			_, err := searchtoken.New(validConfig(func(c *searchtoken.Config) { c.OrganizationID = organization }))
			if (err == nil) != want {
				t.Errorf("New: %v", err)
			}
			if err != nil {
				checkHidden(t, strings.ToLower(err.Error()), apiKey)
			}
		})
	}
}

func TestBaseURLMustBeSafeToSendASecretTo(t *testing.T) {
	const ok = true
	for url, want := range map[string]bool{
		"https://platform-eu.cloud.coveo.com": ok, "https://proxy.example.com/coveo/": ok, "https://host:8443": ok,
		"http://127.0.0.1:8080": ok, "http://[::1]:8080": ok, "http://localhost:8080": ok, "http://127.9.9.9": ok,

		"http://coveo.example.com": !ok, "http://127.0.0.1.example.com": !ok, "http://localhost.example.com": !ok,
		"http://10.0.0.1": !ok, "http://0.0.0.0": !ok, "ftp://127.0.0.1": !ok, "javascript:alert(1)": !ok,
		"//host": !ok, "/path": !ok, "host": !ok, "::": !ok, "https://": !ok, "https://:443": !ok, "https://*": !ok,
		"https://.": !ok, "https://a b": !ok, "https://hóst": !ok, "https://host:99999": !ok,
		"https://user:password@host": !ok, "https://host?a=b": !ok, "https://host?": !ok, "https://host#f": !ok,
		"https://host#": !ok, "https://host/#": !ok, "https://host/a b": !ok, `https://host/"`: !ok,
		"https://host/é": !ok,
	} {
		t.Run(fmt.Sprintf("%q", url), func(t *testing.T) {
			var names []string
			if !want {
				names = []string{"PlatformURL", "AnalyticsURL"}
			}
			_, err := searchtoken.New(validConfig(func(c *searchtoken.Config) {
				c.PlatformURL, c.AnalyticsURL = url, url
			}))
			if diff := cmp.Diff(names, faultsOf(t, err)); diff != "" {
				t.Errorf("New: faults (-want +got):\n%s", diff)
			}
			if err != nil {
				checkHidden(t, err.Error(), "password")
			}
			_, err = searchtoken.NewClient(searchtoken.ClientConfig{
				OrganizationID: "acme", APIKey: apiKey, PlatformURL: url,
			})
			if (err == nil) != want {
				t.Errorf("NewClient: %v", err)
			}
		})
	}
}

func TestDefaultEndpointsAreTheOrganizations(t *testing.T) {
	type page struct {
		Environment               searchtoken.Environment
		PlatformURL, AnalyticsURL string
	}
	for _, tt := range []struct {
		name string
		cfg  searchtoken.Config
		want page
	}{
		{
			"default", searchtoken.Config{},
			page{searchtoken.EnvProduction, "https://acme.org.coveo.com", "https://acme.analytics.org.coveo.com"},
		},
		{
			"production", searchtoken.Config{Environment: searchtoken.EnvProduction},
			page{"prod", "https://acme.org.coveo.com", "https://acme.analytics.org.coveo.com"},
		},
		{
			"HIPAA", searchtoken.Config{Environment: searchtoken.EnvHIPAA},
			page{"hipaa", "https://acme.orghipaa.coveo.com", "https://acme.analytics.orghipaa.coveo.com"},
		},
		{
			"staging", searchtoken.Config{Environment: searchtoken.EnvStaging},
			page{"stg", "https://acme.orgstg.coveo.com", "https://acme.analytics.orgstg.coveo.com"},
		},
		{
			"development", searchtoken.Config{Environment: searchtoken.EnvDevelopment},
			page{"dev", "https://acme.orgdev.coveo.com", "https://acme.analytics.orgdev.coveo.com"},
		},
		{
			"platform of a proxy", searchtoken.Config{PlatformURL: "https://proxy.example.com/coveo/"},
			page{"prod", "https://proxy.example.com/coveo", "https://acme.analytics.org.coveo.com"},
		},
		{
			"analytics of a proxy", searchtoken.Config{AnalyticsURL: "https://proxy.example.com//"},
			page{"prod", "https://acme.org.coveo.com", "https://proxy.example.com"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := pageOf(newMiddleware(t, tt.cfg), request("ann"))
			if diff := cmp.Diff(tt.want, page{got.Environment, got.PlatformURL, got.AnalyticsURL}); diff != "" {
				t.Errorf("page (-want +got):\n%s", diff)
			}
		})
	}
}
