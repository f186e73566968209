package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// environment is a getenv.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

// TestRun starts the site as the command does, and uses it as a browser would.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, stdout := io.Pipe()
	var log strings.Builder
	stopped := false
	app := App{Configure: func(cfg *site.Config) (func(), error) {
		cfg.Users = []string{"alice@example.com", "bob@example.com", "carol@example.com"}
		return func() { stopped = true }, nil
	}}
	done := make(chan error, 1)
	go func() {
		err := app.run(ctx, options{addr: "127.0.0.1:0"}, environment{}.get, stdout, &log)
		stdout.CloseWithError(err)
		done <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	baseURL := strings.Fields(strings.TrimPrefix(line, "Search site: "))[0]

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	text := func(resp *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, error %v", resp.Request.URL, resp.Status, err)
		}
		return string(body)
	}
	contains := func(page, want string) {
		t.Helper()
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	for _, path := range []string{"", "jsui", "atomic", "headless", "ipx"} {
		contains(text(client.Get(baseURL+path)), "<strong>anonymous</strong>")
	}
	contains(text(client.Get(baseURL+"plain?q=review")), "Nothing was found.")
	contains(text(client.Get(baseURL)), "Log in as carol@example.com")
	for _, user := range []string{"alice", "bob"} {
		form := url.Values{"user": {user + "@example.com"}, "page": {"/plain?q=review"}}
		contains(text(client.PostForm(baseURL+"login", form)), `<a href="https://reports.example.com/reviews/`+user+`">`)
		contains(text(client.PostForm(baseURL+"logout", nil)), "<strong>anonymous</strong>")
	}

	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if !stopped {
		t.Error("what Configure began has not been stopped")
	}
	if !strings.Contains(log.String(), "sessions end with this process") {
		t.Errorf("the log says:\n%s", log.String())
	}
}

// TestConfigure: what Configure gets, and that its error is that of the command.
func TestConfigure(t *testing.T) {
	tests := map[string]struct {
		env  environment
		want []byte
	}{
		"no session key": {nil, nil},
		"a session key":  {environment{"SESSION_KEY": strings.Repeat("2a", 32)}, bytes.Repeat([]byte("*"), 32)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			failure := errors.New("no")
			var got []byte
			app := App{Configure: func(cfg *site.Config) (func(), error) {
				got = cfg.SessionKey
				return nil, failure
			}}
			if err := app.run(t.Context(), options{addr: "127.0.0.1:0"}, test.env.get, io.Discard, io.Discard); !errors.Is(err, failure) {
				t.Errorf("the error is %v, want %v", err, failure)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("session key (-want +got):\n%s", diff)
			}
		})
	}
}

// TestStandIns: those of one session key take each other's tokens, and the sites
// know them by one name.
func TestStandIns(t *testing.T) {
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
				t.Errorf("%q and %q in browsers, %q and %q here", here.BrowserURL, there.BrowserURL, here.Coveo.PlatformURL, there.Coveo.PlatformURL)
			}
		})
	}
}

func TestDeriveKey(t *testing.T) {
	key, other := bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 32)
	derived := DeriveKey(key, "one")
	tests := map[string]struct {
		got  []byte
		same bool
	}{
		"the same":            {DeriveKey(key, "one"), true},
		"another purpose":     {DeriveKey(key, "two"), false},
		"another session key": {DeriveKey(other, "one"), false},
		"the session key":     {key, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if len(test.got) != 32 || bytes.Equal(test.got, derived) != test.same {
				t.Errorf("got %x, and the first is %x", test.got, derived)
			}
		})
	}
}

func TestRunRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const secret = "a-secret-value"
	tests := []struct {
		name string
		o    options
		env  environment
		want string
	}{
		{"an address that is taken", options{addr: taken.Addr().String()}, nil, taken.Addr().String()},
		{"a malformed session key", options{addr: "127.0.0.1:0"}, environment{"SESSION_KEY": secret}, "SESSION_KEY"},
		{"a short session key", options{addr: "127.0.0.1:0"}, environment{"SESSION_KEY": "c2hvcnQ="}, "SESSION_KEY"},
		{"assets that are no origin", options{addr: "127.0.0.1:0", assets: "ftp://cdn.example.com"}, nil, `"assets"`},
		{"a key without its organization", options{}, environment{"COVEO_API_KEY": secret}, "COVEO_ORGANIZATION_ID"},
		{"an organization without a key", options{}, environment{"COVEO_ORGANIZATION_ID": "acme"}, "COVEO_API_KEY"},
		{"two keys", options{}, environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": secret, "COVEO_ACCESS_TOKEN": secret}, "exclude"},
		{"a developer's token for everybody", options{addr: "0.0.0.0:0"}, environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_ACCESS_TOKEN": secret}, "loopback"},
		{"no such environment", options{addr: "127.0.0.1:0"}, environment{
			"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": secret, "COVEO_ENVIRONMENT": "production",
		}, "Environment"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stderr strings.Builder
			err := App{}.run(t.Context(), test.o, test.env.get, io.Discard, &stderr)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one about %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error()+stderr.String(), secret) {
				t.Errorf("the secret is told: %v, %s", err, stderr.String())
			}
		})
	}
}

// TestUsage holds the help against what is read.
func TestUsage(t *testing.T) {
	for _, arg := range []string{"-h", "-nonsense", "argument"} {
		t.Run(arg, func(t *testing.T) {
			var stderr strings.Builder
			app := App{About: "It has a hat.\n", Flags: func(flags *flag.FlagSet) { flags.Bool("hat", false, "with a hat") }}
			_, err := app.parseArgs([]string{arg}, &stderr)
			if errors.Is(err, flag.ErrHelp) != (arg == "-h") || err == nil {
				t.Errorf("the error is %v", err)
			}
			wants := []string{"-addr", "-assets", "-hat", "-secure"}
			_, err = readSettings(func(name string) string {
				wants = append(wants, name+" ")
				return ""
			}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range wants {
				if !strings.Contains(stderr.String(), "  "+want) {
					t.Errorf("%s is not in the help:\n%s", want, stderr.String())
				}
			}
			if !strings.Contains(stderr.String(), "\n"+app.About+"With these") {
				t.Errorf("what the command adds is not in the help:\n%s", stderr.String())
			}
		})
	}
	o, err := App{}.parseArgs([]string{"-addr", "127.0.0.1:1", "-secure"}, io.Discard)
	want := options{addr: "127.0.0.1:1", assets: site.DefaultAssets, secure: true}
	if diff := cmp.Diff(want, o, cmp.AllowUnexported(options{})); diff != "" || err != nil {
		t.Errorf("error %v, options (-want +got):\n%s", err, diff)
	}
}

func TestListen(t *testing.T) {
	// Whether the port was free or is now taken, the second has another.
	for range 2 {
		listener, err := listen("", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
	}
}

func TestSettings(t *testing.T) {
	type summary struct {
		Organization, APIKey, Environment string
		Users                             []string
		Page, Interface                   string
		OwnIssuer, StandIn                bool
	}
	tests := []struct {
		name string
		env  environment
		want summary
	}{
		{"nothing", nil, summary{StandIn: true}},
		{"users of the stand-in", environment{"EXAMPLE_USERS": "carol@example.com"}, summary{Users: []string{"carol@example.com"}, StandIn: true}},
		{"the real platform", environment{
			"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": "xx1", "COVEO_ENVIRONMENT": "hipaa", "EXAMPLE_USERS": " a@example.com, b@example.com,",
			"COVEO_IPX_PAGE_ID": "p", "COVEO_IPX_INTERFACE_ID": "i",
		}, summary{"acme", "xx1", "hipaa", []string{"a@example.com", "b@example.com"}, "p", "i", false, false}},
		{"a developer's token", environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_ACCESS_TOKEN": "xx2"}, summary{Organization: "acme", OwnIssuer: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := readSettings(test.env.get, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			c := s.site.Coveo
			got := summary{
				c.OrganizationID, c.APIKey, string(c.Environment), s.site.Users,
				s.site.IPXPageID, s.site.IPXInterfaceID, c.Issuer != nil, s.standIn,
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSessionKey(t *testing.T) {
	key := []byte("\xff\xfe 34 bytes, not text in UTF-8 ....")
	tests := map[string]string{
		"hexadecimal":          hex.EncodeToString(key),
		"base64":               base64.StdEncoding.EncodeToString(key),
		"base64 for URLs":      base64.URLEncoding.EncodeToString(key),
		"base64, not padded":   base64.RawStdEncoding.EncodeToString(key),
		"hexadecimal, capital": strings.ToUpper(hex.EncodeToString(key)),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := sessionKey(text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(key, got); diff != "" {
				t.Errorf("key (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyLoopbackNames(t *testing.T) {
	handler := onlyLoopbackNames(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	tests := map[string]int{
		"localhost":                 http.StatusOK,
		"localhost:8080":            http.StatusOK,
		"LOCALHOST:8080":            http.StatusOK,
		"127.0.0.1:8080":            http.StatusOK,
		"[::1]:8080":                http.StatusOK,
		"[::1]":                     http.StatusOK,
		"rebound.example:8080":      http.StatusMisdirectedRequest,
		"192.0.2.1:8080":            http.StatusMisdirectedRequest,
		"localhost.evil.example:80": http.StatusMisdirectedRequest,
		"":                          http.StatusMisdirectedRequest,
	}
	for host, want := range tests {
		t.Run(host, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = host
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
		})
	}
}
