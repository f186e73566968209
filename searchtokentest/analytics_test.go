package searchtokentest

import (
	"strings"
	"testing"
)

func TestAnalyticsAcceptEventsWithAValidTokenOnly(t *testing.T) {
	p := New(Config{})
	valid, rejected := p.IssueToken(user(alice)), p.IssueToken(user(alice))
	p.Reject(rejected)
	const invalid = `{"message":"The provided token is not a valid token.","type":"InvalidToken"}`
	for _, tc := range []struct {
		name, target, token string
		status              int
		want                string // part of the body
	}{
		{"search", "/rest/ua/v15/analytics/search?org=acme", valid, 200, `"visitId"`},
		{"searches", "/rest/ua/v15/analytics/searches", valid, 200, `"searchEventResponses":[{`},
		{"custom, as Atomic sends it", "/rest/v15/analytics/custom", valid, 200, `"visitorId"`},
		{"visit", "/rest/ua/v15/analytics/visit", valid, 200, `"id"`},
		{"top queries", "/rest/ua/v15/stats/topQueries", valid, 200, `[]`},
		{"events", "/rest/organizations/acme/events/v1", valid, 200, `{}`},
		{"another organization", "/rest/ua/v15/analytics/search?org=globex", valid, 404, "OrganizationNotFound"},
		{"events of another organization", "/rest/organizations/globex/events/v1", valid, 404, "OrganizationNotFound"},
		{"status needs no token", "/rest/ua/v15/analytics/status", "", 200, `ok`},
		{"rejected token", "/rest/ua/v15/analytics/click", rejected, 400, invalid},
		{"rejected token for events", "/rest/organizations/acme/events/v1", rejected, 400, invalid},
		{"no token", "/rest/ua/v15/analytics/click", "", 400, invalid},
	} {
		for _, in := range []string{"header", "query"} {
			t.Run(tc.name+", token in "+in, func(t *testing.T) {
				target, header := tc.target, "Bearer "+tc.token
				if in == "query" {
					separator := "?"
					if strings.Contains(target, "?") {
						separator = "&"
					}
					target, header = target+separator+"access_token="+tc.token, ""
				}
				resp, b := send(t, p, "POST", target, `[{}]`, "Authorization", header)
				if resp.StatusCode != tc.status || !strings.Contains(string(b), tc.want) {
					t.Errorf("got status %d and %s, want %d and %s", resp.StatusCode, b, tc.status, tc.want)
				}
			})
		}
	}
	if got, want := p.Count(KindAnalytics), p.Count(); got != want {
		t.Errorf("got %d requests of kind analytics, want all %d", got, want)
	}
}

func TestAnalyticsEventParsesPaths(t *testing.T) {
	for _, tc := range []struct {
		path, event, organization string
		ok                        bool
	}{
		{"/rest/ua/v15/analytics/click", "click", "", true},
		{"/rest/ua/click", "click", "", true},
		{"/rest/v15/analytics/search", "search", "", true},
		{"/rest/analytics/search", "search", "", true},
		{"/rest/organizations/acme/events/v1", "events", "acme", true},
		{"/rest/organizations/acme/events", "", "", false},
		{"/rest/organizations/acme/pages/v1", "", "", false},
		{"/rest/search/v2/analytics", "", "", false},
		{"/api/ua/v15/analytics/click", "", "", false},
		{"/rest/ua", "", "", false},
		{"/", "", "", false},
	} {
		t.Run(tc.path, func(t *testing.T) {
			event, organization, ok := analyticsEvent(tc.path)
			if event != tc.event || organization != tc.organization || ok != tc.ok {
				t.Errorf("got %q, %q, %v, want %q, %q, %v", event, organization, ok, tc.event, tc.organization, tc.ok)
			}
		})
	}
}
