package site_test

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestPlainPageListsWhatTheUserMaySee(t *testing.T) {
	base, _ := start(t, nil)
	tests := []struct {
		name, user, path string
		want             []string
	}{
		{"anonymous, reviews", "", "/plain?q=review", nil},
		{"alice, reviews", alice, "/plain?q=review", []string{"Alice's performance review"}},
		{"bob, reviews", bob, "/plain?q=review", []string{"Bob's performance review"}},
		{"anonymous, printers", "", "/plain?q=printer", []string{"Connect to the office network from home"}},
		{"alice, printers", alice, "/plain?q=printer", []string{
			"Case 1042: the printer prints in green only", "Connect to the office network from home",
		}},
		{
			name: "anonymous, everything", path: "/plain",
			want: []string{
				"Welcome to the intranet", "Reset your password", "Connect to the office network from home",
				"Holiday calendar",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := newVisitor(t, base)
			if test.user != "" {
				v.logIn(test.user)
			}
			a := v.get(test.path)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("status %d", a.StatusCode)
			}
			if diff := cmp.Diff(test.want, found(a.text)); diff != "" {
				t.Errorf("documents (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlainPageEscapesTheQuery(t *testing.T) {
	base, _ := start(t, nil)
	a := newVisitor(t, base).get("/plain?q=" + url.QueryEscape(`"><script>alert(1)</script>`))
	escaped := strings.Contains(a.text, `value="&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`)
	if !escaped || strings.Contains(a.text, "<script") {
		t.Errorf("the query is missing or not escaped:\n%s", a.text)
	}
}

// A token that Coveo rejects costs no query.
func TestPlainPageReplacesARejectedToken(t *testing.T) {
	unauthorized := searchtokentest.Fault{Kind: searchtokentest.KindSearch, Status: http.StatusUnauthorized, Times: 1}
	tests := []struct {
		name, user string
		reject     func(*searchtokentest.Server)
	}{
		{"419 to alice", alice, func(p *searchtokentest.Server) { p.RejectAll() }},
		{"419 to anonymous", "", func(p *searchtokentest.Server) { p.RejectAll() }},
		{"401 to alice", alice, func(p *searchtokentest.Server) { p.Inject(unauthorized) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base, platform := start(t, nil)
			v := newVisitor(t, base)
			if test.user != "" {
				v.logIn(test.user)
			}
			v.get("/plain")
			test.reject(platform)
			for range 2 {
				a := v.get("/plain?q=welcome")
				if a.StatusCode != http.StatusOK {
					t.Errorf("status %d, want 200", a.StatusCode)
				}
				if diff := cmp.Diff([]string{"Welcome to the intranet"}, found(a.text)); diff != "" {
					t.Errorf("documents (-want +got):\n%s", diff)
				}
			}
			if got := platform.Count(searchtokentest.KindToken); got != 2 {
				t.Errorf("%d tokens, want 2", got)
			}
		})
	}
}

func TestPlainPageWithoutAnAcceptedToken(t *testing.T) {
	var log strings.Builder
	base, platform := start(t, func(cfg *site.Config) {
		cfg.Coveo.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	platform.RejectNew()
	a := newVisitor(t, base).get("/plain?q=welcome")
	if a.StatusCode != http.StatusBadGateway || !strings.Contains(a.text, "Please try again in a minute.") {
		t.Errorf("status %d, page:\n%s", a.StatusCode, a.text)
	}
	if want := "the Search API answered 419"; !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, log.String())
	}
}
