package rediscache_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/searchtoken/searchtoken"
	"github.com/searchtoken/searchtoken/rediscache/internal/redisserver"
)

// The tests in this file run several Middlewares as one site, in this process
// or in others, with one Redis, a cluster, or a sentinel.

func TestFleetFetchesEachTokenOnce(t *testing.T) {
	const users = 20
	redis := redisserver.Start(t)
	issuer := &countingIssuer{delay: 300 * time.Millisecond}
	fleet := newFleet(t, 5, patientConfig(redis.Addr, newSecret()), issuer)
	tokens := make([][5]string, users)
	var wg sync.WaitGroup
	for u := range users {
		for i, instance := range fleet {
			wg.Go(func() { tokens[u][i] = instance.page(t, fmt.Sprint("user", u)) })
		}
	}
	wg.Wait()
	for u, got := range tokens {
		if got != [5]string{got[0], got[0], got[0], got[0], got[0]} ||
			!strings.HasSuffix(got[0], fmt.Sprint("of user", u)) {
			t.Errorf("user %d got %q", u, got)
		}
	}
	if got := issuer.calls.Load(); got != users {
		t.Errorf("%d calls for %d users", got, users)
	}
	for i, instance := range fleet {
		if log := instance.log.String(); log != "" {
			t.Errorf("instance %d logged %s", i, log)
		}
	}
}

func TestForgetDiscardsAFetchOfAnotherInstance(t *testing.T) {
	redis := redisserver.Start(t)
	issuer := &countingIssuer{delay: 500 * time.Millisecond}
	fleet := newFleet(t, 2, patientConfig(redis.Addr, newSecret()), issuer)
	during := make(chan string)
	go func() { during <- fleet[0].page(t, "ann") }()
	redisserver.Eventually(t, "the first instance fetches", func() bool { return issuer.calls.Load() == 1 })
	if err := fleet[1].Forget(t.Context(), searchtoken.Email("ann")); err != nil {
		t.Fatal(err)
	}
	after := fleet[1].page(t, "ann")
	if before := <-during; before == "" || before == after {
		t.Errorf("tokens %q and %q, want that of the first call for the request from before only", before, after)
	}
	if later := fleet[0].page(t, "ann"); later != after || issuer.calls.Load() != 2 {
		t.Errorf("the first instance got %q after %d calls, want %q from the second call", later, issuer.calls.Load(), after)
	}
}

// FLUSHALL removes the epoch of the fetch.
func TestFlushDuringAFetchCostsOneMoreFetch(t *testing.T) {
	redis := redisserver.Start(t)
	issuer := &countingIssuer{delay: 300 * time.Millisecond}
	fleet := newFleet(t, 2, patientConfig(redis.Addr, newSecret()), issuer)
	page := make(chan string)
	go func() { page <- fleet[0].page(t, "ann") }()
	redisserver.Eventually(t, "the first instance fetches", func() bool { return issuer.calls.Load() == 1 })
	redis.Do("FLUSHALL")
	here, there := <-page, fleet[1].page(t, "ann")
	if later := fleet[0].page(t, "ann"); here == "" || there == "" || later != there {
		t.Errorf("the instances got %q, %q and later %q, want the second one twice", here, there, later)
	}
	if got := issuer.calls.Load(); got != 2 {
		t.Errorf("%d calls, want 2", got)
	}
}

func TestEvictionCostsOnlyFetches(t *testing.T) {
	redis := redisserver.Start(t, "--maxmemory", "2200kb", "--maxmemory-policy", "allkeys-lru")
	fleet := newFleet(t, 2, patientConfig(redis.Addr, newSecret()), &countingIssuer{})
	for user := range 3000 {
		fleet[0].page(t, fmt.Sprint("user", user))
	}
	if !share(t, fleet, "user2999") {
		t.Error("the last user has two tokens")
	}
	if !share(t, fleet, "user0") {
		t.Error("a user whose entry was evicted has two tokens")
	}
	for i, instance := range fleet {
		if log := instance.log.String(); log != "" {
			t.Errorf("instance %d logged %s", i, log)
		}
	}
	stats := redis.Do("INFO", "stats")
	if !strings.Contains(stats, "evicted_keys:") || strings.Contains(stats, "evicted_keys:0\r") {
		t.Error("Redis has evicted nothing: this test cannot fail")
	}
}

func TestClusterSharesTokensAndSurvivesADeadNode(t *testing.T) {
	const users = 50
	nodes := redisserver.StartCluster(t, 3)
	issuer := &countingIssuer{}
	fleet := newFleet(t, 2, patientConfig(nodes[0].Addr, newSecret()), issuer)
	for user := range users {
		if name := fmt.Sprint("user", user); !share(t, fleet, name) {
			t.Errorf("%s has two tokens", name)
		}
	}
	if got := issuer.calls.Load(); got != users {
		t.Errorf("%d calls for %d users", got, users)
	}
	for i, node := range nodes {
		if keys := node.Do("DBSIZE"); keys == ":0\r\n" {
			t.Errorf("node %d has no entries", i)
		}
	}
	for user := range users {
		name := fmt.Sprint("user", user)
		before := fleet[1].page(t, name)
		if err := fleet[0].Forget(t.Context(), searchtoken.Email(name)); err != nil {
			t.Fatal(err)
		}
		redisserver.Eventually(t, name+" is forgotten", func() bool { return fleet[1].page(t, name) != before })
	}
	for i, instance := range fleet {
		if log := instance.log.String(); log != "" {
			t.Errorf("instance %d logged %s", i, log)
		}
	}

	instance := newInstance(t, newCache(t, defaultConfig(nodes[0].Addr, newSecret())), issuer)
	nodes[2].Kill()
	for user := range users {
		instance.page(t, fmt.Sprint("user", user)) // fails unless the page is served
	}
}

func TestFailoverToAReplica(t *testing.T) {
	primary := redisserver.Start(t)
	host, port, _ := strings.Cut(primary.Addr, ":")
	replica := redisserver.Start(t, "--replicaof", host+" "+port)
	sentinel := redisserver.StartSentinel(t, primary)
	redisserver.Eventually(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(sentinel.Do("SENTINEL", "REPLICAS", redisserver.MasterSet), replica.Addr) &&
			strings.Contains(replica.Do("INFO", "replication"), "master_link_status:up")
	})

	cfg := defaultConfig(sentinel.Addr, newSecret())
	cfg.Client.Sentinel.MasterSet = redisserver.MasterSet
	fleet := newFleet(t, 2, cfg, &countingIssuer{})
	redisserver.Eventually(t, "the instances share a token", func() bool { return share(t, fleet, "before") })

	primary.Kill()
	user := 0
	redisserver.Eventually(t, "the instances share a token again", func() bool {
		user++
		return share(t, fleet, fmt.Sprint("user", user))
	})
	if !strings.Contains(replica.Do("INFO", "replication"), "role:master") {
		t.Error("the replica is not the primary")
	}
	before := fleet[1].page(t, "before")
	redisserver.Eventually(t, "Forget reaches the new primary", func() bool {
		return fleet[0].Forget(t.Context(), searchtoken.Email("before")) == nil
	})
	redisserver.Eventually(t, "the user is forgotten", func() bool { return fleet[1].page(t, "before") != before })
}
