package searchtoken_test

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"log/slog"
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
		{"user in Params", func(c *config) { c.Params.UserIDs = searchtoken.Email("a").UserIDs }, []string{"Params.UserIDs"}},
		{"refresh after the default expiry", func(c *config) { c.RefreshBefore = 2 * time.Minute }, []string{"RefreshBefore"}},
		{"refresh before the default expiry", func(c *config) { c.RefreshBefore = 2*time.Minute + 1 }, nil},
		{
			"refresh at the expiry",
			func(c *config) { c.MinRemaining, c.RefreshBefore = time.Hour, time.Hour },
			[]string{"RefreshBefore"},
		},
		{"refresh before the expiry", func(c *config) { c.MinRemaining, c.RefreshBefore = time.Hour, time.Hour+1 }, nil},
		{"expiry at half of the life", func(c *config) { c.MinRemaining = 12 * time.Hour }, nil},
		{"expiry before half of the life", func(c *config) { c.MinRemaining = 12*time.Hour + 1 }, []string{"MinRemaining"}},
		{
			"expiry at half of the given life",
			func(c *config) { c.Params.ValidFor, c.MinRemaining = time.Hour, 30*time.Minute },
			nil,
		},
		{
			"expiry before half of the given life",
			func(c *config) { c.Params.ValidFor, c.MinRemaining = time.Hour, 30*time.Minute+1 },
			[]string{"MinRemaining"},
		},
		{"refresh at a quarter of the life", func(c *config) { c.RefreshBefore = 18 * time.Hour }, nil},
		{"refresh before a quarter of the life", func(c *config) { c.RefreshBefore = 18*time.Hour + 1 }, []string{"RefreshBefore"}},
		{
			"refresh at a quarter of the given life",
			func(c *config) { c.Params.ValidFor, c.RefreshBefore = time.Hour, 45*time.Minute },
			nil,
		},
		{
			"refresh before a quarter of the given life",
			func(c *config) { c.Params.ValidFor, c.RefreshBefore = time.Hour, 45*time.Minute+1 },
			[]string{"RefreshBefore"},
		},
		{
			"margins of a day for an hour",
			func(c *config) {
				c.Params.ValidFor, c.MinRemaining, c.RefreshBefore = time.Hour, 8*time.Hour, 12*time.Hour
			},
			[]string{"MinRemaining", "RefreshBefore"},
		},
		{
			"default margins in the shortest life",
			func(c *config) { c.Params.ValidFor = 15 * time.Minute },
			nil,
		},
		{
			"margins that fit a life that is too long",
			func(c *config) { c.Params.ValidFor, c.MinRemaining = 48*time.Hour, 12*time.Hour },
			[]string{"Params.ValidFor"},
		},
		{"proxied path with a slash at its end", func(c *config) { c.ProxyURL = "/coveo/" }, []string{"ProxyURL"}},
		{"proxied path with a query", func(c *config) { c.ProxyURL = "/coveo?a" }, []string{"ProxyURL"}},
		{"proxied path with a wildcard", func(c *config) { c.ProxyURL = "/coveo/*" }, []string{"ProxyURL"}},
		{"proxied path", func(c *config) { c.ProxyURL = "/api/coveo" }, nil},
		{
			"trusted origin with a path",
			func(c *config) { c.TrustedOrigins = []string{"https://app.example.com", "https://app.example.com/"} },
			[]string{"TrustedOrigins"},
		},
		{
			"trusted origins that no browser spells like that",
			func(c *config) {
				c.TrustedOrigins = []string{"https://*.example.com", "https://APP.example.com", "https://app.example.com:443", "ftp://a"}
			},
			[]string{"TrustedOrigins", "TrustedOrigins", "TrustedOrigins", "TrustedOrigins"},
		},
		{
			"base URLs with the start of an API's path",
			func(c *config) {
				c.PlatformURL, c.AnalyticsURL = "https://a.example/rest/search", "https://a.example/rest"
			},
			[]string{"PlatformURL", "AnalyticsURL"},
		},
		{"base URL with a path", func(c *config) { c.PlatformURL = "https://a.example/restful" }, nil},
		{"base URL of a gateway", func(c *config) { c.PlatformURL = "https://a.example/rest/coveo" }, nil},
		{
			"trusted origins",
			func(c *config) { c.TrustedOrigins = []string{"https://app.example.com", "http://localhost:3000"} },
			nil,
		},
		{"nil pointer as Cache", func(c *config) { c.Cache = (*searchtoken.MemoryCache)(nil) }, []string{"Cache"}},
		{
			"nil pointer as Issuer",
			func(c *config) { c.APIKey, c.Issuer = "", (*searchtoken.Client)(nil) },
			[]string{"Issuer"},
		},
		{"name of a route", func(c *config) { c.Name = "Suche für Händler" }, nil},
		{"name of a route with a newline", func(c *config) { c.Name = "search\nlevel=ERROR" }, []string{"Name"}},
		{"name of a route in Latin-1", func(c *config) { c.Name = "H\xe4ndler" }, []string{"Name"}},
		{
			"all at once",
			func(c *config) {
				*c = config{
					OrganizationID: "a.b", Environment: "x", PlatformURL: "http://example.com",
					AnalyticsURL: "http://example.com", APIKey: "a b", MaxInFlight: -1,
					Route: searchtoken.Route{
						Params: searchtoken.TokenParams{ValidFor: 1, UserIDs: searchtoken.Email("a").UserIDs},
						Name:   "\x00", MinRemaining: -1, RefreshBefore: -1, RenewURL: "https://example.com",
						ProxyURL: "https://example.com", TrustedOrigins: []string{"app.example.com"},
					},
				}
			},
			[]string{
				"OrganizationID", "Environment", "PlatformURL", "AnalyticsURL", "Params.ValidFor", "Name", "Params.UserIDs",
				"MinRemaining", "RefreshBefore", "RenewURL", "ProxyURL", "TrustedOrigins", "APIKey", "Identify", "MaxInFlight",
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

func TestMarginThatCannotBeMetIsRefusedWithBothFields(t *testing.T) {
	want := "searchtoken: MinRemaining: 8h0m0s is more than half of Params.ValidFor, 1h0m0s\n" +
		"RefreshBefore: 9h0m0s is more than three quarters of Params.ValidFor, 1h0m0s"
	change := func(r *searchtoken.Route) {
		r.Params.ValidFor, r.MinRemaining, r.RefreshBefore = time.Hour, 8*time.Hour, 9*time.Hour
	}
	_, ofNew := searchtoken.New(validConfig(func(c *searchtoken.Config) { change(&c.Route) }))
	_, ofWith := newMiddleware(t, searchtoken.Config{}).With(change)
	for name, err := range map[string]error{"New": ofNew, "With": ofWith} {
		if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
			t.Errorf("error of %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestConfigHidesItsAPIKey(t *testing.T) {
	cfg := validConfig(func(*searchtoken.Config) {})
	client := searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey}
	show := map[string]func(v any) string{
		"error":    func(v any) string { return fmt.Errorf("configuring %v", v).Error() },
		"text log": logged(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) }),
		"JSON log": logged(func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) }),
		"template": func(v any) string {
			var b strings.Builder
			if err := template.Must(template.New("").Parse(`{{.}}`)).Execute(&b, v); err != nil {
				t.Fatal(err)
			}
			return b.String()
		},
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%-200v"} {
		show[verb] = func(v any) string { return fmt.Sprintf(verb, v) }
	}
	for name, show := range show {
		for _, v := range []any{
			cfg, &cfg, client, &client,
			[]searchtoken.Config{cfg}, map[string]any{"c": client}, struct{ C searchtoken.Config }{cfg},
		} {
			t.Run(fmt.Sprintf("%s of %T", name, v), func(t *testing.T) {
				got := show(v)
				if got == "" {
					t.Error("nothing is shown")
				}
				checkHidden(t, strings.ToLower(got), apiKey, fmt.Sprintf("%x", apiKey))
			})
		}
	}
	if got := fmt.Sprintf("%+v", cfg); !strings.Contains(got, "OrganizationID:acme") || !strings.Contains(got, "APIKey:[redacted]") {
		t.Errorf("%q does not show the other fields", got)
	}
	if got := fmt.Sprintf("%v", searchtoken.ClientConfig{}); strings.Contains(got, "redacted") {
		t.Errorf("%q looks as if there were a key", got)
	}
}

// logged returns what a handler of log/slog writes about a value.
func logged(handler func(io.Writer) slog.Handler) func(v any) string {
	return func(v any) string {
		var b strings.Builder
		slog.New(handler(&b)).Info("a", "b", v)
		return b.String()
	}
}

func TestRenewURLMustBeAPathOnThisSite(t *testing.T) {
	const ok = true
	for url, want := range map[string]bool{
		"": ok, "/": ok, "/coveo/token": ok, "/coveo/token?hub=a": ok,
		"//evil.example.com": !ok, `/\evil.example.com`: !ok, "/\t/evil.example.com": !ok, "\n//evil": !ok, "renew": !ok,
		"/a b": !ok, "/a#b": !ok, "/a\x7f": !ok, "https://evil.example.com/": !ok, "javascript:alert(1)": !ok,
		"/coveo/*": !ok, "/coveo/{rest...}": !ok, "/coveo/:rest": !ok, "/coveo/../token": !ok, "/coveo/.": !ok,
		"/coveo/%2e%2E/token":       !ok,
		"/coveo/token?next=/../:a*": ok, "/.well-known/coveo:token": ok, "/coveo...": ok,
	} {
		t.Run(fmt.Sprintf("%q", url), func(t *testing.T) {
			_, err := searchtoken.New(validConfig(func(c *searchtoken.Config) { c.RenewURL = url }))
			if (err == nil) != want {
				t.Errorf("New: %v", err)
			}
		})
	}
}

// TestAPIKeyInAnotherFieldIsNotShown has the API key in a field that is not its
// own, as after two variables were mixed up.
func TestAPIKeyInAnotherFieldIsNotShown(t *testing.T) {
	type config = searchtoken.Config
	for field, set := range map[string]func(c *config, value string){
		"OrganizationID": func(c *config, value string) { c.OrganizationID = value },
		"Environment":    func(c *config, value string) { c.Environment = searchtoken.Environment(value) },
		"PlatformURL":    func(c *config, value string) { c.PlatformURL = value },
		"AnalyticsURL":   func(c *config, value string) { c.AnalyticsURL = value },
		"RenewURL":       func(c *config, value string) { c.RenewURL = value },
		"ProxyURL":       func(c *config, value string) { c.ProxyURL = value },
		"TrustedOrigins": func(c *config, value string) { c.TrustedOrigins = []string{value} },
	} {
		for _, value := range []string{apiKey, `"` + apiKey + `"`, "Bearer " + apiKey, apiKey + "\n"} {
			t.Run(fmt.Sprintf("%s %q", field, value), func(t *testing.T) {
				_, err := searchtoken.New(validConfig(func(c *config) { set(c, value) }))
				if diff := cmp.Diff([]string{field}, faultsOf(t, err)); diff != "" {
					t.Errorf("faults (-want +got):\n%s", diff)
				}
				checkHidden(t, fmt.Sprint(err), apiKey)
			})
		}
	}
}

func TestOrganizationMustBeADNSLabel(t *testing.T) {
	const ok = true
	for organization, want := range map[string]bool{
		"a": ok, "acme-1": ok, "ACME": ok, strings.Repeat("a", 63): ok, "xx0f6a2b1c": ok,
		"": !ok, "acme.evil.com": !ok, "acme/": !ok, "a b": !ok, "-acme": !ok, "acme-": !ok, "acme#": !ok, "acme\n": !ok,
		"ácme": !ok, "a@b": !ok, `"></script>`: !ok, "\u2028": !ok, "127.0.0.1": !ok, "acme:80": !ok,
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
		"https://host#": !ok, "https://host/#": !ok, "https://host/a b": !ok, `https://host/"`: !ok, "https://host/é": !ok,
	} {
		t.Run(fmt.Sprintf("%q", url), func(t *testing.T) {
			var names []string
			if !want {
				names = []string{"PlatformURL", "AnalyticsURL"}
			}
			_, err := searchtoken.New(validConfig(func(c *searchtoken.Config) { c.PlatformURL, c.AnalyticsURL = url, url }))
			if diff := cmp.Diff(names, faultsOf(t, err)); diff != "" {
				t.Errorf("New: faults (-want +got):\n%s", diff)
			}
			if err != nil {
				checkHidden(t, err.Error(), "password")
			}
			_, err = searchtoken.NewClient(searchtoken.ClientConfig{OrganizationID: "acme", APIKey: apiKey, PlatformURL: url})
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
