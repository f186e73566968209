//go:build linux

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

const (
	users       = 100
	connections = 64 // connections of the load generator
)

// peer is a server in a separate process.
type peer struct {
	name     string
	dir      string // working directory
	command  []string
	path     string // path of the page
	ownToken bool   // each user has a different token

	url   string // URL of the page
	pid   int
	bytes int // size of the page
	runs  []run
}

// newPeers returns the platform and the servers to compare, the limit first.
// self is the path of this command.
func newPeers(self string) (platform *peer, servers []*peer) {
	platform = &peer{name: "platform", command: []string{self, "-serve", "platform"}, path: "/calls"}
	return platform, []*peer{
		{
			name:    "limit: session and page as in searchtoken, one token for all",
			command: []string{self, "-serve", "limit"}, path: "/",
		},
		{
			name:    "limit without the snippet: a template with the token only",
			command: []string{self, "-serve", "plain"}, path: "/",
		},
		{name: "searchtoken", command: []string{self, "-serve", "searchtoken"}, path: "/", ownToken: true},
		{
			name: "Coveo's documentation, Express: one user, no session",
			dir:  "peers/express", command: []string{"node", "index.js"}, path: "/",
		},
		{
			name: "Coveo's search-token-server: one user, no session, the token as JSON instead of a page",
			// The package contains TypeScript, but not all of its types, so do
			// not check types.
			dir:     "peers/express/node_modules/@coveo/search-token-server",
			command: []string{"node", "--require", "ts-node/register/transpile-only", "server.ts"}, path: "/token",
		},
	}
}

// start starts the server, and waits until it listens. The server ends with the
// thread that called start, so that must be the main thread.
func (p *peer) start(platformURL string) {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	address := l.Addr().String()
	l.Close()
	p.url = "http://" + address + p.path
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Dir, cmd.Stderr = p.dir, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "NODE_ENV=production", "PORT="+port,
		// A live heap of about 1 MB, as these servers have it, would keep the
		// garbage collector running most of the time. In a real site it rarely
		// runs.
		"GOGC=800",
		// search-token-server reads these variables.
		"PLATFORM_URL="+platformURL, "SERVER_PORT="+port, "USER_EMAIL="+email(0),
		"ORGANIZATION_ID="+searchtokentest.DefaultOrganizationID, "API_KEY="+searchtokentest.DefaultAPIKey)
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	go func() { log.Fatalf("%s: the server ended: %v", p.name, cmd.Wait()) }()
	for range 600 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	log.Fatalf("%s: the server does not listen at %s", p.name, address)
}

var jwt = regexp.MustCompile(`eyJ[\w-]+\.([\w-]+)\.[\w-]+`)

// check ends the command unless the pages of the first and the last user
// contain the right tokens. It also sets p.bytes.
func (p *peer) check() {
	for _, i := range []int{0, users - 1} {
		page := p.get(i)
		var claims searchtokentest.Claims
		if m := jwt.FindSubmatch(page); m != nil {
			payload, _ := base64.RawURLEncoding.DecodeString(string(m[1]))
			_ = json.Unmarshal(payload, &claims)
		}
		user := email(0)
		if p.ownToken {
			user = email(i)
		}
		if len(claims.UserIDs) != 1 || claims.UserIDs[0].Name != user {
			log.Fatalf("%s: got a page without a token for %s:\n%s", p.name, user, page)
		}
		p.bytes = len(page)
	}
}

// get returns the page for the i-th user.
func (p *peer) get(i int) []byte {
	r := must(http.NewRequest(http.MethodGet, p.url, nil))
	r.Header.Set("Cookie", cookie(i))
	resp := must(http.DefaultClient.Do(r))
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))
	if resp.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s: %s", p.name, resp.Status, body)
	}
	return body
}

// email returns the email address of the i-th user.
func email(i int) string { return fmt.Sprintf("user%d@example.com", i) }

// cookie returns the session cookie of the i-th user, as a browser sends it.
func cookie(i int) string {
	values := map[any]any{sessionKey: email(i)}
	return sessionName + "=" + must(securecookie.EncodeMulti(sessionName, values, store.Codecs...))
}
