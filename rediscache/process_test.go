package rediscache_test

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// Environment variables of a process that a test starts.
const (
	processRedis    = "REDISCACHE_TEST_REDIS"
	processSecret   = "REDISCACHE_TEST_SECRET"
	processPlatform = "REDISCACHE_TEST_PLATFORM"
)

// TestMain lets the tests start this binary as a site.
func TestMain(m *testing.M) {
	if os.Getenv(processRedis) != "" {
		serve()
	}
	os.Exit(m.Run())
}

// serve runs a site until the process is killed. It prints its URL, and answers
// each request with the token of the user who is named by the path. DELETE
// forgets the user.
func serve() {
	secret, err := hex.DecodeString(os.Getenv(processSecret))
	if err != nil {
		panic(err)
	}
	c, err := rediscache.New(patientConfig(os.Getenv(processRedis), secret))
	if err != nil {
		panic(err)
	}
	m, err := searchtoken.New(searchtoken.Config{
		OrganizationID: searchtokentest.DefaultOrganizationID, APIKey: searchtokentest.DefaultAPIKey,
		PlatformURL: os.Getenv(processPlatform), Cache: c,
		Identify: func(r *http.Request) (searchtoken.Identity, error) { return searchtoken.Email(r.URL.Path), nil },
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(m.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, _ := searchtoken.FromContext(r.Context())
		_, _ = io.WriteString(w, page.Token.Value)
		if r.Method == http.MethodDelete {
			if err := m.Forget(r.Context(), page.Identity); err != nil {
				panic(err)
			}
		}
	})))
	fmt.Println(server.URL)
	select {}
}

// process is a site in another process.
type process struct {
	command *exec.Cmd
	url     string
}

// startProcess starts a site that fetches tokens from platform. The test kills
// it.
func startProcess(t testing.TB, redis, secret, platform string) *process {
	t.Helper()
	p := &process{command: exec.Command(os.Args[0])}
	p.command.Env = append(os.Environ(), processRedis+"="+redis, processSecret+"="+secret, processPlatform+"="+platform)
	p.command.Stderr = os.Stderr
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.url = strings.TrimSpace(line)
	return p
}

// kill sends SIGKILL.
func (p *process) kill() {
	if p.command.ProcessState == nil {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	}
}

// signal sends a signal to the process, such as SIGSTOP and SIGCONT.
func (p *process) signal(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// page returns the token on a page, or an error text.
func (p *process) page(user string) string { return p.do(http.MethodGet, user) }

// do sends a request, and returns the body of the answer or an error text.
func (p *process) do(method, user string) string {
	request, err := http.NewRequest(method, p.url+"/"+user, nil)
	if err != nil {
		return err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusOK {
		return response.Status
	}
	return string(body)
}

func isToken(page string) bool {
	return strings.Count(page, ".") == 2 && strings.HasPrefix(page, "eyJ")
}

func TestProcessesShareTokensAndTakeOverFromADeadOne(t *testing.T) {
	redis, platform := redisserver.Start(t), searchtokentest.NewServer(searchtokentest.Config{})
	t.Cleanup(platform.Close)
	secret := hex.EncodeToString(newSecret())
	var site []*process
	for range 3 {
		site = append(site, startProcess(t, redis.Addr, secret, platform.URL))
	}

	// All processes need one call together.
	first := site[0].page("ann")
	if !isToken(first) {
		t.Fatalf("the first process answers %q, want a token", first)
	}
	for i, p := range site {
		if got := p.page("ann"); got != first {
			t.Errorf("process %d answers %q, want %q", i, got, first)
		}
	}
	if got := platform.Count(searchtokentest.KindToken); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}

	// The process that fetches the next token is killed during the call.
	platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: time.Minute, Times: 1})
	go site[0].page("bob")
	redisserver.Eventually(t, "the first process calls", func() bool {
		return platform.Count(searchtokentest.KindToken) == 2
	})
	var wg sync.WaitGroup
	tokens := make([]string, 2)
	for i := range tokens {
		wg.Go(func() { tokens[i] = site[i+1].page("bob") })
	}
	began := time.Now()
	site[0].kill()
	wg.Wait()
	if tokens[0] != tokens[1] || !isToken(tokens[0]) {
		t.Errorf("the other processes answer %q, want one token", tokens)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the other processes answer after %v", took)
	}
	if got := platform.Count(searchtokentest.KindToken); got != 3 {
		t.Errorf("%d calls, want 3", got)
	}

	// The next process finds the tokens of the dead one.
	if got := startProcess(t, redis.Addr, secret, platform.URL).page("ann"); got != first {
		t.Errorf("a process that starts later answers %q, want %q", got, first)
	}
}

// A process that was stopped answers requests that waited for it before it has
// read Redis's messages.
func TestStoppedProcessServesNoForgottenTokens(t *testing.T) {
	const users, requests = 4, 6 // requests per user
	redis, platform := redisserver.Start(t), searchtokentest.NewServer(searchtokentest.Config{})
	t.Cleanup(platform.Close)
	secret := hex.EncodeToString(newSecret())
	stopped := startProcess(t, redis.Addr, secret, platform.URL)
	other := startProcess(t, redis.Addr, secret, platform.URL)
	before := map[string]string{}
	for u := range users {
		user := fmt.Sprint("user", u)
		before[user] = stopped.page(user)
		if again := stopped.page(user); !isToken(again) || again != before[user] {
			t.Fatalf("the process answers %q and then %q, want a token twice", before[user], again)
		}
	}

	stopped.signal(t, syscall.SIGSTOP)
	at := time.Now()
	for user := range before {
		if got := other.do(http.MethodDelete, user); got != before[user] {
			t.Fatalf("the other process answers %q, want %q", got, before[user])
		}
	}
	redisserver.Eventually(t, "the process was stopped for longer than Forget may take", func() bool {
		return time.Since(at) > 2500*time.Millisecond
	})
	var wg sync.WaitGroup
	for user, token := range before {
		for range requests {
			wg.Go(func() {
				if got := stopped.page(user); got == token || !isToken(got) {
					t.Errorf("%s got %q, want another token than before", user, got)
				}
			})
		}
	}
	redisserver.Eventually(t, "the requests wait", func() bool { return time.Since(at) > 3*time.Second })
	stopped.signal(t, syscall.SIGCONT)
	wg.Wait()
}
