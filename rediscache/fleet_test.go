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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/rueidis"
	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
	"github.com/searchtoken/searchtoken/searchtokentest"
)

// TestOneCallForAFleet has five instances get requests of all users at once.
func TestOneCallForAFleet(t *testing.T) {
	const users = 20
	redis := redisserver.Start(t)
	issuer := &issuer{delay: 300 * time.Millisecond}
	site := fleet(t, 5, redis.Addr, issuer)
	tokens := make([][5]string, users)
	var wg sync.WaitGroup
	for u := range users {
		for i, instance := range site {
			wg.Go(func() { tokens[u][i] = instance.page(t, fmt.Sprint("user", u)) })
		}
	}
	wg.Wait()
	for u, of := range tokens {
		if of != [5]string{of[0], of[0], of[0], of[0], of[0]} || !strings.HasSuffix(of[0], fmt.Sprint("of user", u)) {
			t.Errorf("user %d got %q", u, of)
		}
	}
	if got := issuer.calls.Load(); got != users {
		t.Errorf("%d calls for %d users", got, users)
	}
	for i, instance := range site {
		if log := instance.log.String(); log != "" {
			t.Errorf("instance %d logged %s", i, log)
		}
	}
}

// TestForgetBeatsFetchesOfAFleet has an instance forget a user while another fetches.
func TestForgetBeatsFetchesOfAFleet(t *testing.T) {
	redis := redisserver.Start(t)
	issuer := &issuer{delay: 500 * time.Millisecond}
	site := fleet(t, 2, redis.Addr, issuer)
	during := make(chan string)
	go func() { during <- site[0].page(t, "ann") }()
	redisserver.Eventually(t, "it fetches", func() bool { return issuer.calls.Load() == 1 })
	if err := site[1].Forget(t.Context(), searchtoken.Email("ann")); err != nil {
		t.Fatal(err)
	}
	after := site[1].page(t, "ann")
	if before := <-during; before != after || issuer.calls.Load() != 2 {
		t.Errorf("tokens %q and %q after %d calls, want one that was fetched after the Forget", before, after, issuer.calls.Load())
	}
}

// TestRenewalsOfAFleet has a user claim at all instances in turn that tokens were
// rejected.
func TestRenewalsOfAFleet(t *testing.T) {
	redis := redisserver.Start(t)
	site := fleet(t, 5, redis.Addr, &issuer{})
	statuses := map[int]int{}
	for range 2 {
		for _, instance := range site {
			statuses[instance.renew(instance.page(t, "ann"), "ann")]++
		}
	}
	// A test of this length is no longer than the 20 seconds to the next.
	if diff := cmp.Diff(map[int]int{200: 3, 429: 7}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

// TestClaims is what searchtoken.SharedCache asks for.
func TestClaims(t *testing.T) {
	redis := redisserver.Start(t)
	secret := newSecret()
	a, b := newCache(t, redis.Addr, secret), newCache(t, redis.Addr, secret)
	key := keyOf("ann", "")
	// claimed waits until c has the claim, and says how long that took.
	claimed := func(c *rediscache.Cache) (release func(), took time.Duration) {
		began := time.Now()
		for {
			if release, err := c.Claim(t.Context(), key); err != nil {
				t.Fatal(err)
			} else if release != nil {
				return release, time.Since(began)
			}
		}
	}

	release, _ := claimed(a)
	if other, err := b.Claim(t.Context(), keyOf("ann", "other")); other == nil || err != nil {
		t.Errorf("another grant cannot be claimed: %v", err)
	} else {
		other()
	}
	const held = 3 * time.Second // longer than the claim of a process that died
	time.AfterFunc(held, release)
	if release, took := claimed(b); took < held-100*time.Millisecond {
		t.Errorf("two have the claim for %v", held-took)
	} else {
		release()
	}

	t.Run("the next is told", func(t *testing.T) {
		const times = 10
		began := time.Now()
		for range times {
			release, _ := claimed(a)
			time.AfterFunc(20*time.Millisecond, release)
			release, _ = claimed(b)
			release()
		}
		if took := time.Since(began); took > times*250*time.Millisecond { // half of what it takes without being told
			t.Errorf("%d times took %v", times, took)
		}
	})

	for name, ends := range map[string]func(){
		"a token is set":        func() { set(t, a, key, tokenOf("secret", time.Hour)) },
		"the user is forgotten": func() { _ = a.Forget(t.Context(), key.User) },
		"it is released":        func() { release() },
		"its cache is closed":   func() { a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			a = newCache(t, redis.Addr, secret)
			release, _ = claimed(a)
			ended := make(chan struct{})
			time.AfterFunc(100*time.Millisecond, func() {
				ends()
				close(ended)
			})
			release, took := claimed(b)
			if took > 1500*time.Millisecond { // less than the claim of the dead
				t.Errorf("the next one waited for %v", took)
			}
			<-ended
			release()
		})
	}
}

// process is an instance in a process of its own.
type process struct {
	command *exec.Cmd
	url     string
}

// The environment of a process.
const (
	processRedis    = "REDISCACHE_TEST_REDIS"
	processSecret   = "REDISCACHE_TEST_SECRET"
	processPlatform = "REDISCACHE_TEST_PLATFORM"
)

func TestMain(m *testing.M) {
	if os.Getenv(processRedis) != "" {
		serve()
	}
	os.Exit(m.Run())
}

// serve is the other process: it prints its URL, and answers each request with the
// token of the user who is its path.
func serve() {
	secret, err := hex.DecodeString(os.Getenv(processSecret))
	if err != nil {
		panic(err)
	}
	c, err := rediscache.New(rediscache.Config{
		Client:  rueidis.ClientOption{InitAddress: []string{os.Getenv(processRedis)}},
		Secrets: [][]byte{secret}, Timeout: 10 * time.Second,
	})
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
	})))
	fmt.Println(server.URL)
	select {}
}

// startProcess starts a process of the site that searches platform.
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

// kill is kill -9.
func (p *process) kill() {
	if p.command.ProcessState == nil {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	}
}

// page is the token of a page, or why there is none.
func (p *process) page(user string) string {
	response, err := http.Get(p.url + "/" + user)
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

// TestProcesses has three processes at one platform, of which the one that fetches
// dies.
func TestProcesses(t *testing.T) {
	redis, platform := redisserver.Start(t), searchtokentest.NewServer(searchtokentest.Config{})
	t.Cleanup(platform.Close)
	secret := hex.EncodeToString(newSecret())
	var site []*process
	for range 3 {
		site = append(site, startProcess(t, redis.Addr, secret, platform.URL))
	}

	// Together they make one call.
	first := site[0].page("ann")
	for _, p := range site {
		if got := p.page("ann"); got != first {
			t.Errorf("%q and %q", got, first)
		}
	}
	if got := platform.Count(searchtokentest.KindToken); got != 1 {
		t.Errorf("%d calls, want 1", got)
	}

	// Of the next, the call hangs, until the process is killed.
	platform.Inject(searchtokentest.Fault{Kind: searchtokentest.KindToken, Delay: time.Minute, Times: 1})
	go site[0].page("bob")
	redisserver.Eventually(t, "it calls", func() bool { return platform.Count(searchtokentest.KindToken) == 2 })
	var wg sync.WaitGroup
	tokens := make([]string, 2)
	for i := range tokens {
		wg.Go(func() { tokens[i] = site[i+1].page("bob") })
	}
	began := time.Now()
	site[0].kill()
	wg.Wait()
	if tokens[0] != tokens[1] || strings.Count(tokens[0], ".") != 2 {
		t.Errorf("the others got %q", tokens)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("they took over after %v", took)
	}
	if got := platform.Count(searchtokentest.KindToken); got != 3 {
		t.Errorf("%d calls, want one more", got)
	}

	// What the dead process knew, its successor finds in Redis.
	successor := startProcess(t, redis.Addr, secret, platform.URL)
	if got := successor.page("ann"); got != first {
		t.Errorf("%q and %q", got, first)
	}
}
