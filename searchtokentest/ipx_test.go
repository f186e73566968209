package searchtokentest

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// embeddedConfig matches the configuration at the end of a loader, or at the
// beginning of the framed page's script.
var embeddedConfig = regexp.MustCompile(`(?:\)\(|const config = )(\{.*\})\)?;`)

func TestExperiencesSearchWithTheTokenInTheURL(t *testing.T) {
	p := New(Config{})
	valid, rejected := p.IssueToken(user(alice)), p.IssueToken(user(alice))
	p.Reject(rejected)
	p.SetTokenLife(-1)
	expired := p.IssueToken(user(alice))
	p.SetTokenLife(0)
	foreign := New(Config{}).IssueToken(user(alice))

	const (
		script = "text/javascript; charset=utf-8"
		page   = "text/html; charset=utf-8"

		badToken     = "The access token is not valid."
		expiredToken = "The access token has expired."
		unknown      = "The organization does not exist."
	)
	for _, part := range []struct {
		name, prefix, suffix, contentType, errorType string
	}{
		{"classic", "/rest/organizations/", "/pages/6f9d/inappwidget/loader", script, "application/json"},
		{"builder", "/rest/organizations/", "/ipxinterface/v1/interfaces/6f9d/loader", script, "application/json"},
		{"page", "/pages/", "/inappwidget/6f9d", page, page},
	} {
		for _, tc := range []struct {
			name, method, organization, token string
			status                            int
			user                              string // of the token in the response
			message                           string // part of the body
		}{
			{"valid token", "GET", "acme", valid, 200, alice, ""},
			{"no token", "GET", "acme", "", 200, "anonymous", ""},
			{"expired", "GET", "acme", expired, 403, "", expiredToken},
			{"rejected", "GET", "acme", rejected, 403, "", expiredToken},
			{"foreign", "GET", "acme", foreign, 400, "", badToken},
			{"garbage", "GET", "acme", "x", 400, "", badToken},
			{"another organization", "GET", "globex", valid, 404, "", unknown},
			{"HEAD", "HEAD", "acme", valid, 200, "", ""},
			{"HEAD expired", "HEAD", "acme", expired, 403, "", ""},
			{"POST", "POST", "acme", valid, 405, "", "Use GET."},
		} {
			t.Run(part.name+", "+tc.name, func(t *testing.T) {
				resp, b := send(t, p, tc.method, part.prefix+tc.organization+part.suffix+query("access_token", tc.token), "")
				if resp.StatusCode != tc.status {
					t.Errorf("got status %d, want %d", resp.StatusCode, tc.status)
				}
				contentType := part.contentType
				if tc.status != 200 {
					contentType = part.errorType
				}
				want := http.Header{"Cache-Control": {"private, no-store"}, "Content-Type": {contentType}}
				if part.name == "page" {
					want.Set("Referrer-Policy", "no-referrer")
				}
				if tc.status == 405 {
					want.Set("Allow", "GET, HEAD")
				}
				// The last two headers would forbid frames.
				got := http.Header{}
				for _, name := range []string{
					"Allow", "Cache-Control", "Content-Type", "Referrer-Policy", "X-Frame-Options", "Content-Security-Policy",
				} {
					if values, ok := resp.Header[name]; ok {
						got[name] = values
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				if !strings.Contains(string(b), tc.message) {
					t.Errorf("got body %s, want %q", b, tc.message)
				}
				if tc.method == "HEAD" && len(b) != 0 {
					t.Errorf("got body %s, want none", b)
				}
				if got := userOf(t, p, b); got != tc.user {
					t.Errorf("got a token for %q, want %q", got, tc.user)
				}
			})
		}
	}
	if got, want := p.Count(KindIPX), p.Count(); got != want {
		t.Errorf("got %d requests of kind ipx, want all %d", got, want)
	}
}

// userOf returns the user of the token in a loader or in the framed page, or ""
// if there is no token.
func userOf(t *testing.T, p *Platform, body []byte) string {
	t.Helper()
	match := embeddedConfig.FindSubmatch(body)
	if match == nil {
		return ""
	}
	var config ipxConfig
	decode(t, match[1], &config)
	if diff := cmp.Diff(ipxConfig{OrganizationID: "acme", ID: "6f9d", Token: config.Token}, config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	claims, err := p.tokens.verify(config.Token)
	if err != nil {
		t.Fatal(err)
	}
	return claims.UserIDs[0].Name
}

// The id comes from a URL, so it may contain markup.
func TestExperienceIDStaysAString(t *testing.T) {
	p := New(Config{})
	for _, tc := range []struct {
		name, target string
		status       int
		want         string // the id, if the status is 200
	}{
		{"markup in loader", "/rest/organizations/acme/pages/%3C!--%3Cb%3E%22'/inappwidget/loader", 200, `<!--<b>"'`},
		{"markup in builder", "/rest/organizations/acme/ipxinterface/v1/interfaces/%3Cscript%3E/loader", 200, `<script>`},
		{"markup in page", "/pages/acme/inappwidget/%3C!--%3Cb%3E%22'%E2%80%A8", 200, "<!--<b>\"'\u2028"},
		{"slash in loader", "/rest/organizations/acme/pages/%3C%2Fscript%3E/inappwidget/loader", 404, ""},
		{"slash in page", "/pages/acme/inappwidget/%3C%2Fscript%3E", 404, ""},
		{"no id in loader", "/rest/organizations/acme/pages//inappwidget/loader", 404, ""},
		{"no id in page", "/pages/acme/inappwidget/", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, b := send(t, p, "GET", tc.target, "")
			if resp.StatusCode != tc.status {
				t.Fatalf("got status %d, want %d", resp.StatusCode, tc.status)
			}
			if tc.status != 200 {
				return
			}
			embedded := embeddedConfig.FindSubmatch(b)[1]
			var config ipxConfig
			if err := json.Unmarshal(embedded, &config); err != nil || config.ID != tc.want {
				t.Errorf("got id %q and error %v, want %q", config.ID, err, tc.want)
			}
			if strings.ContainsAny(string(embedded), "<>\u2028") {
				t.Errorf("got %s, want no character that can end a script or a string", embedded)
			}
		})
	}
}

func TestParseExperience(t *testing.T) {
	for _, tc := range []struct {
		path string
		want experience
		ok   bool
	}{
		{"/rest/organizations/acme/pages/1/inappwidget/loader", experience{"acme", "1", classicLoader}, true},
		{"/rest/organizations/acme/ipxinterface/v1/interfaces/1/loader", experience{"acme", "1", builderLoader}, true},
		{"/pages/acme/inappwidget/1", experience{"acme", "1", framedPage}, true},
		{"/pages//inappwidget/1", experience{}, false},
		{"/pages/acme/inappwidget/", experience{}, false},
		{"/pages/acme/inappwidget/1/2", experience{}, false},
		{"/pages/acme/inappwidget", experience{}, false},
		{"/page/acme/inappwidget/1", experience{}, false},
		{"/rest/organizations/acme/pages/1/inappwidget/load", experience{}, false},
		{"/", experience{}, false},
	} {
		t.Run(tc.path, func(t *testing.T) {
			got, ok := parseExperience(tc.path)
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(experience{})); diff != "" || ok != tc.ok {
				t.Errorf("got ok %v, want %v; experience (-want +got):\n%s", ok, tc.ok, diff)
			}
		})
	}
}
