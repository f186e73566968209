package app

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
)

func TestReadSettings(t *testing.T) {
	type summary struct {
		Organization, APIKey, Environment    string
		Users                                []string
		Page, Interface                      string
		AccessToken, StandIn, Notice, Warned bool
	}
	tests := []struct {
		name string
		env  environment
		want summary
	}{
		{"nothing", nil, summary{StandIn: true}},
		{
			"users of the stand-in",
			environment{"EXAMPLE_USERS": "carol@example.com"},
			summary{Users: []string{"carol@example.com"}, StandIn: true},
		},
		{
			name: "the real platform",
			env: environment{
				"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": "xx1", "COVEO_ENVIRONMENT": "hipaa",
				"EXAMPLE_USERS": " a@example.com, b@example.com,", "COVEO_IPX_PAGE_ID": "p",
				"COVEO_IPX_INTERFACE_ID": "i",
			},
			want: summary{
				Organization: "acme", APIKey: "xx1", Environment: "hipaa",
				Users: []string{"a@example.com", "b@example.com"}, Page: "p", Interface: "i",
			},
		},
		{
			"the real platform without users",
			environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": "xx1"},
			summary{Organization: "acme", APIKey: "xx1", Warned: true},
		},
		{
			name: "a developer's token",
			env: environment{
				"COVEO_ORGANIZATION_ID": "acme", "COVEO_ACCESS_TOKEN": "xx2", "EXAMPLE_USERS": "a@example.com",
			},
			want: summary{
				Organization: "acme", Users: []string{"a@example.com"}, AccessToken: true, Notice: true, Warned: true,
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var log strings.Builder
			s, err := readSettings(test.env.get, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			c := s.site.Coveo
			got := summary{
				Organization: c.OrganizationID, APIKey: c.APIKey, Environment: string(c.Environment),
				Users: s.site.Users, Page: s.site.IPXPageID, Interface: s.site.IPXInterfaceID,
				AccessToken: c.Issuer != nil && s.developersToken, StandIn: s.standIn,
				Notice: s.site.Notice != "", Warned: strings.Contains(log.String(), "level=WARN"),
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckPublicAddr(t *testing.T) {
	tests := map[string]struct {
		s          settings
		err, warns string // parts of the error and of the log
	}{
		"a developer's token": {settings{developersToken: true}, "every visitor searches as you", ""},
		"the stand-in":        {settings{standIn: true}, "", "only use the plain page"},
		"the stand-in with calls through the site": {
			settings{standIn: true, site: site.Config{Proxy: true}}, "", "cannot use the IPX page",
		},
		"the real platform": {settings{}, "", "without a password"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			err := test.s.checkPublicAddr(slog.New(slog.NewTextHandler(&log, nil)))
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("the error is %v, want %q", err, test.err)
			}
			if (log.Len() > 0) != (test.warns != "") || !strings.Contains(log.String(), test.warns) {
				t.Errorf("the log is %q, want %q", log.String(), test.warns)
			}
		})
	}
}
