package app

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

func TestStandInsWithOneSessionKeyAcceptEachOthersTokens(t *testing.T) {
	key, other := bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 32)
	tests := map[string]struct {
		key    []byte
		status int
	}{
		"the same session key": {key, http.StatusOK},
		"another session key":  {other, http.StatusUnauthorized},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			here, there := site.Config{SessionKey: key}, site.Config{SessionKey: test.key}
			issuer, platform := startStandIn(&here), startStandIn(&there)
			defer issuer.Close()
			defer platform.Close()
			token := issuer.IssueToken(searchtokentest.Claims{})
			resp, err := http.Get(there.BrowserURL + "/rest/search/v2?access_token=" + token)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("status %d, want %d", resp.StatusCode, test.status)
			}
			if here.Coveo.PlatformURL != there.Coveo.PlatformURL || here.BrowserURL == there.BrowserURL {
				t.Errorf("platform URLs %q and %q, want equal ones; browser URLs %q and %q, want different ones",
					here.Coveo.PlatformURL, there.Coveo.PlatformURL, here.BrowserURL, there.BrowserURL)
			}
		})
	}
}

func TestStandInKeepsWhatIsConfigured(t *testing.T) {
	type summary struct {
		Users           []string
		Page, Interface string
	}
	tests := map[string]struct{ configured, want summary }{
		"nothing": {summary{}, summary{[]string{"alice@example.com", "bob@example.com"}, "stand-in", ""}},
		"users": {
			configured: summary{Users: []string{"c@example.com"}},
			want:       summary{[]string{"c@example.com"}, "stand-in", ""},
		},
		"a page":         {summary{Page: "p"}, summary{[]string{"alice@example.com", "bob@example.com"}, "p", ""}},
		"an interface":   {summary{Interface: "i"}, summary{[]string{"alice@example.com", "bob@example.com"}, "", "i"}},
		"everything set": {summary{[]string{"c@example.com"}, "p", "i"}, summary{[]string{"c@example.com"}, "p", "i"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := test.configured
			cfg := site.Config{Users: c.Users, IPXPageID: c.Page, IPXInterfaceID: c.Interface}
			startStandIn(&cfg).Close()
			if diff := cmp.Diff(test.want, summary{cfg.Users, cfg.IPXPageID, cfg.IPXInterfaceID}); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}
