package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/searchtoken/searchtoken/example/site"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

const (
	password = "password-of-redis"
	alice    = "alice@example.com"
)

var sessionKey = strings.Repeat("2a", 32)

// TestMain lets the tests start this binary as the command.
func TestMain(m *testing.M) {
	if os.Getenv("EXAMPLE_TEST_COMMAND") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a running command.
type process struct {
	url string // of the site, without a slash at the end
	log bytes.Buffer
}

// startProcess starts the command, and interrupts it when the test ends. The
// test fails if the command fails or logs a secret.
func startProcess(t *testing.T, redis string) *process {
	t.Helper()
	p := new(process)
	command := exec.Command(os.Args[0], "-addr", "127.0.0.1:0", "-redis", redis)
	command.Env = append(os.Environ(), "EXAMPLE_TEST_COMMAND=1", "SESSION_KEY="+sessionKey)
	command.Stderr = &p.log
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(command.Process.Signal(os.Interrupt), command.Wait())
		if err != nil {
			t.Errorf("the command failed: %v\n%s", err, p.log.String())
		}
		secrets := regexp.MustCompile(password + "|" + sessionKey + "|eyJ|@example")
		if secret := secrets.FindString(p.log.String()); secret != "" {
			t.Errorf("the command logged %q:\n%s", secret, p.log.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	p.url, _, _ = strings.Cut(strings.TrimPrefix(line, "Search site: "), "/ ")
	if err != nil {
		t.Fatalf("the command printed %q, error %v", line, err)
	}
	return p
}

// browser keeps cookies. As in real browsers, a cookie is valid for all ports.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{t, &http.Client{Jar: jar}}
}

// clone returns a browser with copies of b's cookies for a site.
func (b browser) clone(p *process) browser {
	b.t.Helper()
	c := newBrowser(b.t)
	u, err := url.Parse(p.url)
	if err != nil {
		b.t.Fatal(err)
	}
	c.client.Jar.SetCookies(u, b.client.Jar.Cookies(u))
	return c
}

// text returns the body of a successful response.
func (b browser) text(resp *http.Response, err error) string {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %s, error %v", resp.Request.URL, resp.Status, err)
	}
	return string(body)
}

func (b browser) get(p *process, path string) string {
	b.t.Helper()
	return b.text(b.client.Get(p.url + path))
}

// post sends the login or logout form, and returns the plain page.
func (b browser) post(p *process, path string) string {
	b.t.Helper()
	return b.text(b.client.PostForm(p.url+path, url.Values{"user": {alice}, "page": {"/plain?q=review"}}))
}

// plainPage is the content of the plain page: the user, and the first document.
type plainPage struct{ User, Document string }

func parsePlain(text string) plainPage {
	var parts [2]string
	for i, pattern := range []string{
		`You search as <strong>(.*)</strong>`, `<h2><a href="https://reports\.example\.com/(.*)">`,
	} {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(text); match != nil {
			parts[i] = match[1]
		}
	}
	return plainPage{parts[0], parts[1]}
}

// token is the content of a search token. Its TokenID consists of the ID of the
// platform that issued it and a serial number.
type token struct{ User, Platform, Number string }

// token returns the token on the Headless page or in a renewal.
func (b browser) token(p *process, path string) token {
	b.t.Helper()
	match := regexp.MustCompile(`eyJ[\w-]+\.([\w-]+)\.[\w-]+`).FindStringSubmatch(b.get(p, path))
	if match == nil {
		b.t.Fatalf("no token in %s", path)
	}
	payload, err := base64.RawURLEncoding.DecodeString(match[1])
	var claims searchtokentest.Claims
	if err := errors.Join(err, json.Unmarshal(payload, &claims)); err != nil {
		b.t.Fatal(err)
	}
	dash := strings.LastIndexByte(claims.TokenID, '-')
	return token{claims.UserIDs[0].Name, claims.TokenID[:dash], claims.TokenID[dash+1:]}
}

// Each process has its own stand-in for the platform.
func TestFleetSharesSessionsAndTokens(t *testing.T) {
	redis := redisserver.Start(t)
	redis.Do("CONFIG", "SET", "requirepass", password)
	redisURL := "redis://:" + password + "@" + redis.Addr
	one, two := startProcess(t, redisURL), startProcess(t, redisURL)
	b := newBrowser(t)
	check := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	found := plainPage{alice, "reviews/alice"}
	nobody := plainPage{"anonymous", ""}

	check("login at the first", found, parsePlain(b.post(one, "/login")))
	check("a search at the second", found, parsePlain(b.get(two, "/plain?q=review")))
	first := b.token(one, "/headless")
	check("the first's token", token{alice, first.Platform, "1"}, first)
	check("the second's token", first, b.token(two, "/headless"))

	copied := b.clone(one)
	check("logout at the first", nobody, parsePlain(b.post(one, "/logout")))
	redisserver.Eventually(t, "the second refuses a copy of the cookie", func() bool {
		return parsePlain(copied.get(two, "/plain?q=review")) == nobody
	})
	check("a copy of the cookie at the first", nobody, parsePlain(copied.get(one, "/plain?q=review")))
	anonymous := token{"anonymous", first.Platform, "2"}
	for name, p := range map[string]*process{"first": one, "second": two} {
		check("a renewal with the copy at the "+name, anonymous, copied.token(p, site.RenewURL))
	}

	check("another login, at the second", found, parsePlain(b.post(two, "/login")))
	second := b.token(two, "/headless")
	check("the second's next token", token{alice, second.Platform, "1"}, second)
	check("the same token at the first", second, b.token(one, "/headless"))
	if second.Platform == first.Platform {
		t.Error("both processes use one platform: this test cannot tell who fetched a token")
	}
}

func TestFleetServesAndStartsWithoutRedis(t *testing.T) {
	redis := redisserver.Start(t)
	one := startProcess(t, redis.Addr)
	b := newBrowser(t)
	b.post(one, "/login")

	redis.Kill()
	two := startProcess(t, redis.Addr)
	found := plainPage{alice, "reviews/alice"}
	for name, p := range map[string]*process{"first": one, "second": two} {
		for range 2 {
			if diff := cmp.Diff(found, parsePlain(b.get(p, "/plain?q=review"))); diff != "" {
				t.Errorf("a search at the %s (-want +got):\n%s", name, diff)
			}
		}
	}
	nobody := plainPage{"anonymous", ""}
	if diff := cmp.Diff(nobody, parsePlain(b.post(one, "/logout"))); diff != "" {
		t.Errorf("logout (-want +got):\n%s", diff)
	}

	redis.Start()
	redisserver.Eventually(t, "the second refuses a session that the first ended", func() bool {
		b.post(one, "/login")
		copied := b.clone(one)
		b.post(one, "/logout")
		return parsePlain(copied.get(two, "/plain?q=review")) == nobody
	})
}

func TestJoinFleetReportsWhatIsWrong(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	const malformed = "-redis is neither an address"
	withPassword := "redis://:" + password + "@"
	tests := []struct {
		name    string
		key     []byte
		address string
		want    string
	}{
		{"no session key", nil, "localhost", "SESSION_KEY is required"},
		{"no Redis", key, "", "-redis is required"},
		{"malformed port", key, withPassword + "localhost:port", malformed},
		{"malformed port, no scheme", key, ":" + password + "@localhost:port", malformed},
		{"another scheme", key, "http://:" + password + "@localhost", malformed},
		{"malformed database", key, "redis://localhost/" + password, malformed},
		{"no client-side caching", key, withPassword + redisserver.FreeAddr(t) + "?client_cache=0", "DisableCache"},
		{"unreachable sentinels", key, withPassword + redisserver.FreeAddr(t) + "?master_set=m", "refused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := joinFleet(&site.Config{SessionKey: test.key}, test.address)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), password) {
				t.Errorf("error %v, want one that contains %q and no password", err, test.want)
			}
		})
	}
}

func TestClientOptionParsesAddressesAndURLs(t *testing.T) {
	type summary struct {
		Addresses []string
		Password  string
		Database  int
		TLS       bool
	}
	tests := map[string]summary{
		"redis.example.com:6380":       {[]string{"redis.example.com:6380"}, "", 0, false},
		"redis.example.com":            {[]string{"redis.example.com:6379"}, "", 0, false},
		":6380":                        {[]string{"localhost:6380"}, "", 0, false},
		"[::1]:6380":                   {[]string{"[::1]:6380"}, "", 0, false},
		":word@redis.example.com:6380": {[]string{"redis.example.com:6380"}, "word", 0, false},
		"redis://user:word@redis.example.com:6380/2":     {[]string{"redis.example.com:6380"}, "word", 2, false},
		"rediss://user:word@redis.example.com:6380?db=2": {[]string{"redis.example.com:6380"}, "word", 2, true},
	}
	for address, want := range tests {
		t.Run(address, func(t *testing.T) {
			option, err := clientOption(address)
			if err != nil {
				t.Fatal(err)
			}
			got := summary{option.InitAddress, option.Password, option.SelectDB, option.TLSConfig != nil}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("option (-want +got):\n%s", diff)
			}
		})
	}
}
