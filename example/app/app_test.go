package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
)

// environment implements getenv.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

// visitor is a browser without JavaScript.
type visitor struct {
	t       *testing.T
	baseURL string
	client  *http.Client
}

func newVisitor(t *testing.T, baseURL string) visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	t.Cleanup(client.CloseIdleConnections)
	return visitor{t, baseURL, client}
}

// get fails the test unless the page contains want.
func (v visitor) get(path, want string) {
	v.t.Helper()
	resp, err := v.client.Get(v.baseURL + path)
	v.check(resp, err, want)
}

// post fails the test unless the page that it leads to contains want.
func (v visitor) post(path string, form url.Values, want string) {
	v.t.Helper()
	resp, err := v.client.PostForm(v.baseURL+path, form)
	v.check(resp, err, want)
}

func (v visitor) check(resp *http.Response, err error, want string) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		v.t.Fatalf("%s: %s, error %v", resp.Request.URL, resp.Status, err)
	}
	if !strings.Contains(string(body), want) {
		v.t.Errorf("%s does not contain %q", resp.Request.URL, want)
	}
}

func TestRunServesTheSiteUntilItIsStopped(t *testing.T) {
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
		err := app.run(ctx, options{addr: "127.0.0.1:0", assets: "https://cdn.example.com"}, environment{}.get, stdout,
			&log)
		stdout.CloseWithError(err)
		done <- err
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	baseURL := strings.Fields(strings.TrimPrefix(line, "Search site: "))[0]

	v := newVisitor(t, baseURL)
	for _, path := range []string{"", "jsui", "atomic", "headless", "ipx"} {
		v.get(path, "<strong>anonymous</strong>")
	}
	v.get("plain?q=review", "Nothing was found.")
	v.get("", "with 8 documents")
	v.get("", "Log in as carol@example.com")
	v.get("jsui", "from https://cdn.example.com")
	for _, user := range []string{"alice", "bob"} {
		form := url.Values{"user": {user + "@example.com"}, "page": {"/plain?q=review"}}
		v.post("login", form, `<a href="https://reports.example.com/reviews/`+user+`">`)
		v.post("logout", nil, "<strong>anonymous</strong>")
	}

	r, err := http.NewRequest(http.MethodGet, baseURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	resp, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a request for another host: %s, want 421", resp.Status)
	}

	stop()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if !stopped {
		t.Error("the stop function of Configure was not called")
	}
	if !strings.Contains(log.String(), "all sessions end when this process ends") {
		t.Errorf("the log does not say when sessions end:\n%s", log.String())
	}
	if conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(baseURL, "http://"), "/")); err == nil {
		conn.Close()
		t.Error("the address still accepts connections")
	}
}

func TestConfigureGetsTheSessionKeyOfTheEnvironment(t *testing.T) {
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
			var got site.Config
			app := App{Configure: func(cfg *site.Config) (func(), error) {
				got = *cfg
				return nil, failure
			}}
			o := options{addr: "127.0.0.1:0", assets: "https://cdn.example.com", proxy: true, secure: true}
			if err := app.run(t.Context(), o, test.env.get, io.Discard, io.Discard); !errors.Is(err, failure) {
				t.Errorf("run: %v, want the error of Configure", err)
			}
			if diff := cmp.Diff(test.want, got.SessionKey); diff != "" {
				t.Errorf("session key (-want +got):\n%s", diff)
			}
			if got.Assets != o.assets || got.Proxy != o.proxy || got.Secure != o.secure {
				t.Errorf("assets %q, proxy %v and secure %v, want those of the flags", got.Assets, got.Proxy, got.Secure)
			}
		})
	}
}

func TestRunRefusesWrongSettings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const secret = "a-secret-value"
	anyPort := options{addr: "127.0.0.1:0"}
	tests := []struct {
		name string
		o    options
		env  environment
		want string
	}{
		{"an address that is taken", options{addr: taken.Addr().String()}, nil, taken.Addr().String()},
		{"a malformed session key", anyPort, environment{"SESSION_KEY": secret}, "SESSION_KEY"},
		{"a short session key", anyPort, environment{"SESSION_KEY": "c2hvcnQ="}, "SESSION_KEY"},
		{"assets with another scheme", options{addr: "127.0.0.1:0", assets: "ftp://cdn.example.com"}, nil, `"assets"`},
		{
			name: "a key without its organization", env: environment{"COVEO_API_KEY": secret},
			want: "COVEO_ORGANIZATION_ID is not set",
		},
		{
			name: "an organization without a key",
			env:  environment{"COVEO_ORGANIZATION_ID": "acme"},
			want: "COVEO_API_KEY is not set",
		},
		{
			name: "two keys",
			env:  environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": secret, "COVEO_ACCESS_TOKEN": secret},
			want: "are both set",
		},
		{
			"a developer's token on a public address", options{addr: "0.0.0.0:0"},
			environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_ACCESS_TOKEN": secret}, "loopback",
		},
		{
			name: "an unknown environment", o: anyPort,
			env:  environment{"COVEO_ORGANIZATION_ID": "acme", "COVEO_API_KEY": secret, "COVEO_ENVIRONMENT": "foo"},
			want: "Environment",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stderr strings.Builder
			err := App{}.run(t.Context(), test.o, test.env.get, io.Discard, &stderr)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want one about %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error()+stderr.String(), secret) {
				t.Errorf("the secret is in the error or the log: %v, %s", err, stderr.String())
			}
		})
	}
}
